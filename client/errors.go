package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"packregistry.dev/pack"
)

// The kinds of errors that a program may want to tell apart; packctl has an exit code for each. Any other error is a failure
// that may pass: of the network, of a disk, of the registry.
var (
	// ErrRefused: the registry's rules, or those of a pack, do not allow it. Asking again changes nothing.
	ErrRefused = errors.New("refused")
	// ErrDenied: the registry does not know the user, or the user may not do that.
	ErrDenied = errors.New("denied")
	// ErrNotFound: the pack, the version or the tag is not there.
	ErrNotFound = errors.New("not found")
)

// ErrExists is returned for a version that is there with other content. It is an ErrRefused.
var ErrExists error = &kindError{ErrRefused, errors.New("the version exists already, with other content; " +
	"replace it with --force and --message, or give the pack a new version")}

// kindError is an error of one of the kinds above, which its text need not name.
type kindError struct {
	kind error
	error
}

func (e *kindError) Is(target error) bool { return target == e.kind }
func (e *kindError) Unwrap() error        { return e.error }

func refused(format string, args ...any) error {
	return &kindError{ErrRefused, fmt.Errorf(format, args...)}
}
func denied(format string, args ...any) error {
	return &kindError{ErrDenied, fmt.Errorf(format, args...)}
}
func notFound(format string, args ...any) error {
	return &kindError{ErrNotFound, fmt.Errorf(format, args...)}
}

// explain says of an error of a request what it means and what to do.
func (c *Client) explain(err error) error {
	if err == nil || errors.Is(err, ErrRefused) || errors.Is(err, ErrDenied) || errors.Is(err, ErrNotFound) {
		return err
	}
	var response *errcode.ErrorResponse
	switch {
	case errors.As(err, &response):
		return c.explainResponse(response)
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return denied("%s asks for credentials; log in with: packctl registry login %s", c.server.Host, c.server.Host)
	case errors.Is(err, context.Canceled):
		return err
	}
	return explainConnection(c.server, err)
}

func (c *Client) explainResponse(r *errcode.ErrorResponse) error {
	message := http.StatusText(r.StatusCode)
	if len(r.Errors) > 0 && r.Errors[0].Message != "" {
		message = r.Errors[0].Message
	}
	host := c.server.Host
	if lost(r) {
		return fmt.Errorf("%s lacks what was sent before: %s; push it again", host, message)
	}
	switch r.StatusCode {
	case http.StatusUnauthorized:
		if c.server.Username == "" {
			return denied("%s does not let everybody in; log in with: packctl registry login %s", host, host)
		}
		return denied("%s does not take the password of user %s; log in again with: packctl registry login %s", host, c.server.Username, host)
	case http.StatusForbidden:
		right, name := c.right(r)
		return denied("%s lacks the right to %s%s at %s: %s", c.who(), right, name, host, message)
	case http.StatusNotFound:
		if len(r.Errors) == 0 {
			return notFound("%s answers, but not as a registry (%d for %s); check the name and the port", host, r.StatusCode, r.URL.Path)
		}
		return notFound("%s: %s", host, message)
	case http.StatusBadRequest:
		if len(r.Errors) == 0 && r.URL.Scheme == "http" {
			return fmt.Errorf("%s does not take plain HTTP, so it most likely speaks HTTPS; name it without http://", host)
		}
		return refused("%s refused it: %s", host, message)
	}
	if refuses(r.StatusCode) {
		return refused("%s refused it: %s", host, message)
	}
	if len(r.Errors) == 0 {
		return fmt.Errorf("%s answered %d %s to %s %s", host, r.StatusCode, http.StatusText(r.StatusCode), r.Method, r.URL.Path)
	}
	return fmt.Errorf("%s answered %d: %s", host, r.StatusCode, message)
}

// refuses says whether an answer stays the same however often it is asked for. Others below 500 may pass: a registry is busy (429),
// what was sent did not come in time (408).
func refuses(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// lost says whether a registry no longer has what the same push brought: the begin of an upload, or the content of a manifest. The
// status differs from registry to registry.
func lost(r *errcode.ErrorResponse) bool {
	for _, e := range r.Errors {
		if e.Code == errcode.ErrorCodeManifestBlobUnknown || e.Code == errcode.ErrorCodeBlobUploadUnknown {
			return true
		}
	}
	return false
}

func (c *Client) who() string {
	if c.server.Username == "" {
		return "who is not logged in"
	}
	return "user " + c.server.Username
}

// right names what a request that was forbidden needed.
func (c *Client) right(r *errcode.ErrorResponse) (right, name string) {
	path := r.URL.Path
	for _, prefix := range []string{"/v2/" + c.prefix(), "/v1/"} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			for _, end := range []string{"/manifests/", "/blobs/", "/tags/"} {
				if n, _, ok := strings.Cut(rest, end); ok {
					name = " " + n
					break
				}
			}
			break
		}
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if name == "" {
			return "list packs", ""
		}
		return "pull", name
	case http.MethodDelete:
		return "delete from", name
	}
	return "push to", name
}

// explainConnection says what to do where no answer came.
func explainConnection(s Server, err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("%s: x509: certificate signed by unknown authority; trust its CA with --ca-file FILE or as %s/%s/ca.crt, "+
			"or accept any certificate with --insecure (-i)", s.Host, certificateDirs[0], s.Host)
	case errors.As(err, &host):
		return explainHostname(s, host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%s: %s; renew the certificate, or set this machine's clock", s.Host, invalid.Error())
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Errorf("%s speaks HTTP, not HTTPS; if everybody on the way may read the password, use --insecure (-i)", s.Host)
	case isPlainAnswer(err):
		return fmt.Errorf("%s speaks HTTPS, not HTTP; name it without http://", s.Host)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%s: connection refused: nothing listens there; check the name and the port", s.Host)
	case errors.As(err, &dns):
		return fmt.Errorf("%s: no such host; check the name (%s)", s.Host, dns.Err)
	}
	return withoutQueries{err}
}

// withoutQueries is an error whose text shows no query of a URL: registries send clients on to storage with a signature there.
type withoutQueries struct{ error }

var query = regexp.MustCompile(`(https?://[^\s"?]*)\?[^\s"]*`)

func (e withoutQueries) Error() string { return query.ReplaceAllString(e.error.Error(), "$1") }
func (e withoutQueries) Unwrap() error { return e.error }

// isPlainAnswer: a TLS server answers a plain request with an alert, which is no HTTP.
func isPlainAnswer(err error) bool {
	return strings.Contains(err.Error(), "malformed HTTP response \"\\x15\\x03")
}

// explainHostname tells a certificate without names, as old instructions make them, from one of another server.
func explainHostname(s Server, err x509.HostnameError) error {
	c := err.Certificate
	if len(c.DNSNames) > 0 || len(c.IPAddresses) > 0 {
		return fmt.Errorf("%s: x509: %s; use a name that the certificate holds, or make one for this name", s.Host, err.Error())
	}
	kind := "DNS"
	if net.ParseIP(strings.Trim(err.Host, "[]")) != nil {
		kind = "IP"
	}
	name := strings.Trim(err.Host, "[]")
	return fmt.Errorf("%s: x509: the certificate has a Common Name only, no Subject Alternative Names (SANs), which TLS needs. Make one that has:\n"+
		"  openssl req -x509 -newkey rsa:4096 -nodes -days 365 -keyout tls.key -out tls.crt -subj /CN=%s -addext subjectAltName=%s:%s",
		s.Host, name, kind, name)
}

// explainPush shows what the registry found wrong with a pack.
func (c *Client) explainPush(name, tag string, err error) error {
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) || len(response.Errors) == 0 {
		return c.explain(err)
	}
	if response.StatusCode == http.StatusConflict && response.Errors[0].Code == "TAG_EXISTS" {
		return fmt.Errorf("%s:%s: %w", name, tag, ErrExists)
	}
	if lost(response) || !refuses(response.StatusCode) {
		return c.explain(err)
	}
	return refused("the server refused %s:%s: %s", name, tag, response.Errors[0].Message)
}

// missing says whether the pack or its version is missing.
func (c *Client) missing(ctx context.Context, name, reference string) error {
	tags, err := c.tags(ctx, name)
	if err != nil {
		return err
	}
	if len(tags) == 0 {
		return notFound("there is no pack %s at %s", name, c.server.Host)
	}
	if strings.Contains(reference, ":") {
		return notFound("there is no %s@%s; `packctl pack ls %s` lists its versions", name, reference, name)
	}
	pack.SortTags(tags)
	return notFound("there is no %s:%s; the newest there are: %s; `packctl pack ls %s` lists all",
		name, reference, strings.Join(tags[:min(len(tags), 3)], ", "), name)
}
