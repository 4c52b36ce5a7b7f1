package client

import (
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"time"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// Server is where to connect to, and as whom.
type Server struct {
	// Host is host or host:port.
	Host string
	// BasePath is what comes before spectro-packs/archive in the names of repositories, as consoles know it of OCI
	// registries; empty for none.
	BasePath           string
	Username, Password string
	// Insecure accepts any certificate, and plain HTTP from a server that speaks no TLS.
	Insecure bool
	// PlainHTTP speaks no TLS at all; HTTPS speaks nothing else, Insecure or not.
	PlainHTTP, HTTPS bool
	// CAFile holds certificates of CAs to trust besides the system's.
	CAFile string
	// UploadsDir is the folder in which is noted where uploads of large packs go on, should this process end; empty for none.
	UploadsDir string
	// Dial connects, where it is not the network's usual way: through a tunnel, or another network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// ConnectTimeout is how long connecting may take (10 s by default), and StallTimeout how long nothing may be sent and
	// nothing come (30 s). AnswerTimeout is how long the answer to what was sent may take (5 min): the server validates it, and writes
	// it to its disks.
	ConnectTimeout, StallTimeout, AnswerTimeout time.Duration
	// OnRetry is called before a request is sent again, with the reason.
	OnRetry func(reason string, wait time.Duration)
	// OnDownload is called when content of a pack begins to come. What it returns takes how many bytes of how many came, and the end.
	OnDownload func(name string) (came func(came, total int64), done func())

	// credential looks up what Username and Password do not hold, when the server asks for it.
	credential func(ctx context.Context) (auth.Credential, error)
}

const (
	connectTimeout = 10 * time.Second
	stallTimeout   = 30 * time.Second
	answerTimeout  = 5 * time.Minute
)

// ParseServer takes host, host:port, a URL of these, or oci://host/base/path.
func ParseServer(name string) (Server, error) {
	bare := !strings.Contains(name, "://")
	if bare {
		name = "https://" + name
	}
	u, err := url.Parse(name)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Server{}, errServerName
	}
	s := Server{Host: u.Host}
	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "oci":
		s.BasePath = path
		return s, nil
	case "http":
		s.PlainHTTP = true
	case "https":
		s.HTTPS = !bare
	default:
		return Server{}, errServerName
	}
	if path != "" && path != "v1" && path != "v2" { // as keys of other programs' logins end
		return Server{}, errServerName
	}
	return s, nil
}

var errServerName = errors.New("name the server as host or host:port, such as packs.example.com:443; " +
	"or an OCI registry with a base path as oci://host/path")

// Name is how the server is named on a command line.
func (s Server) Name() string {
	if s.BasePath != "" {
		return "oci://" + s.Host + "/" + s.BasePath
	}
	return s.Host
}

func (s Server) credentials(ctx context.Context) (auth.Credential, error) {
	if s.Username != "" || s.Password != "" || s.credential == nil {
		return auth.Credential{Username: s.Username, Password: s.Password}, nil
	}
	return s.credential(ctx)
}
