// Package config is the one definition of the registry's configuration file: the server reads it, and the operator
// writes the same type, so that neither can know a key that the other does not.
//
// The schema follows that of the CNCF distribution registry, so that an existing file and an existing list of
// REGISTRY_… variables keep working. A configuration comes about in four steps, each in a file of its own:
//
//	parse.go     YAML text → a tree of nodes with line numbers
//	env.go       REGISTRY_… variables → changes of that tree, in the order of their names
//	decode.go    tree → Config, guided by the type: every error carries the key's whole path and line
//	validate.go  what no single key can tell (two kinds of storage, certificate and letsencrypt, …) and defaults
//
// A key that is spelt wrongly stops the start: a misspelt "auth" must never mean an open registry.
package config

import (
	"net"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Version is the only version of the file format.
const Version = "0.1"

// Config is the whole file. Pointers mark sections whose presence itself has a meaning.
type Config struct {
	// Version is always 0.1.
	Version   string    `yaml:"version"`
	Log       Log       `yaml:"log,omitempty"`
	Storage   Storage   `yaml:"storage,omitempty"`
	HTTP      HTTP      `yaml:"http,omitempty"`
	Auth      *Auth     `yaml:"auth,omitempty"`
	Packs     Packs     `yaml:"packs,omitempty"`
	Manifests Manifests `yaml:"manifests,omitempty"`
	Catalog   Catalog   `yaml:"catalog,omitempty"`
	Tags      Tags      `yaml:"tags,omitempty"`
	Health    Health    `yaml:"health,omitempty"`
	UI        UI        `yaml:"ui,omitempty"`
}

// Log says what is logged to standard error, and how.
type Log struct {
	// Level is error, warn, info or debug.
	Level string `yaml:"level,omitempty" oneof:"error warn info debug"`
	// Formatter is text or json; logstash is read as json.
	Formatter string `yaml:"formatter,omitempty" oneof:"text json logstash"`
	// Fields are added to every line.
	Fields    map[string]any `yaml:"fields,omitempty"`
	AccessLog AccessLog      `yaml:"accesslog,omitempty"`
}

// AccessLog is the line that every finished request writes.
type AccessLog struct {
	Disabled bool `yaml:"disabled,omitempty"`
	// Formatter is structured (a line of the log, on standard error) or combined (Apache's format, on standard output).
	Formatter string `yaml:"formatter,omitempty" oneof:"structured combined"`
}

// Storage holds exactly one kind of storage, and settings that hold for every kind.
type Storage struct {
	Filesystem *Filesystem `yaml:"filesystem,omitempty" kind:"storage"`
	S3         *S3         `yaml:"s3,omitempty" kind:"storage"`
	InMemory   *InMemory   `yaml:"inmemory,omitempty" kind:"storage"`

	Cache       Cache       `yaml:"cache,omitempty"`
	Delete      Delete      `yaml:"delete,omitempty"`
	Redirect    Redirect    `yaml:"redirect,omitempty"`
	Maintenance Maintenance `yaml:"maintenance,omitempty"`
}

// Filesystem keeps packs below one directory.
type Filesystem struct {
	RootDirectory string `yaml:"rootdirectory,omitempty"`
	// MinFree is how many bytes of the volume pushes leave free: with less, the registry refuses what would add to it.
	MinFree int `yaml:"minfree,omitempty"`
}

// S3 keeps packs in a bucket of AWS or of a compatible server.
type S3 struct {
	Region string `yaml:"region,omitempty"`
	Bucket string `yaml:"bucket,omitempty"`
	// RootDirectory is a prefix of all keys.
	RootDirectory string `yaml:"rootdirectory,omitempty"`
	// Encrypt asks the server to encrypt with its own key, or with that of KeyID (KMS).
	Encrypt bool   `yaml:"encrypt,omitempty"`
	KeyID   string `yaml:"keyid,omitempty"`
	// Secure is whether the endpoint speaks TLS; it does, unless this is false or the endpoint's URL says otherwise.
	Secure     *bool `yaml:"secure,omitempty"`
	SkipVerify bool  `yaml:"skipverify,omitempty"`
	// CAFile holds more certificates to trust, in PEM.
	CAFile string `yaml:"cafile,omitempty"`
	// AccessKey and SecretKey are the credential. Without them the environment, shared files, a web identity or the
	// instance's role are asked.
	AccessKey string `yaml:"accesskey,omitempty" secret:"true"`
	SecretKey string `yaml:"secretkey,omitempty" secret:"true"`
	// Host and Port name a server that is not AWS; RegionEndpoint does the same by URL.
	Host           string `yaml:"host,omitempty"`
	Port           string `yaml:"port,omitempty"`
	RegionEndpoint string `yaml:"regionendpoint,omitempty"`
	// RedirectEndpoint is the endpoint's URL for clients that are redirected to it.
	RedirectEndpoint string `yaml:"redirectendpoint,omitempty"`
	// ForcePathStyle puts the bucket into the path; true where an endpoint is named.
	ForcePathStyle *bool `yaml:"forcepathstyle,omitempty"`
	// ChunkSize is the size of an upload's parts, in bytes; at least 5 MiB.
	ChunkSize    int    `yaml:"chunksize,omitempty"`
	StorageClass string `yaml:"storageclass,omitempty"`
	// SingleWriter promises that no other process writes to the bucket: what it takes to use a server without
	// conditional writes.
	SingleWriter bool `yaml:"singlewriter,omitempty"`
}

// Endpoint returns the URL of a server that is not AWS, or "".
func (s *S3) Endpoint() string {
	scheme := "https://"
	if s.Secure != nil && !*s.Secure {
		scheme = "http://"
	}
	endpoint := s.RegionEndpoint
	if endpoint == "" && s.Host != "" {
		endpoint = s.Host
		if s.Port != "" {
			endpoint = net.JoinHostPort(strings.Trim(s.Host, "[]"), s.Port)
		}
	}
	if endpoint == "" || strings.Contains(endpoint, "://") {
		return endpoint
	}
	return scheme + endpoint
}

// PathStyle says whether the bucket is in the path of URLs.
func (s *S3) PathStyle() bool {
	if s.ForcePathStyle != nil {
		return *s.ForcePathStyle
	}
	return s.Endpoint() != ""
}

// InMemory forgets everything when the process ends.
type InMemory struct{}

// Cache is accepted for the sake of existing files: this server caches only what cannot go stale.
type Cache struct {
	BlobDescriptor     string `yaml:"blobdescriptor,omitempty"`
	BlobDescriptorSize int    `yaml:"blobdescriptorsize,omitempty"`
}

// Delete says whether tags and manifests can be deleted; they can, unless enabled is false.
type Delete struct {
	Enabled *bool `yaml:"enabled,omitempty"`
}

// Redirect says whether clients are sent to the storage for a blob's content, where it can answer them itself. Unless
// it is said here they are with AWS and where a redirectendpoint is named: clients often cannot reach other endpoints.
type Redirect struct {
	Disable *bool `yaml:"disable,omitempty"`
}

// Maintenance holds what the server does to its storage by itself, and the read-only switch.
type Maintenance struct {
	UploadPurging     UploadPurging     `yaml:"uploadpurging,omitempty"`
	ReadOnly          ReadOnly          `yaml:"readonly,omitempty"`
	GarbageCollection GarbageCollection `yaml:"garbagecollection,omitempty"`
}

// UploadPurging removes uploads that were begun and never finished.
type UploadPurging struct {
	Enabled  *bool    `yaml:"enabled,omitempty"`
	Age      Duration `yaml:"age,omitempty"`
	Interval Duration `yaml:"interval,omitempty"`
	DryRun   bool     `yaml:"dryrun,omitempty"`
}

// ReadOnly refuses every write with 405.
type ReadOnly struct {
	Enabled bool `yaml:"enabled,omitempty"`
}

// GarbageCollection removes content that nothing refers to any more, while everything else goes on.
type GarbageCollection struct {
	Enabled  *bool    `yaml:"enabled,omitempty"`
	Interval Duration `yaml:"interval,omitempty"`
	// Grace is how long a blob must have been without a reference.
	Grace Duration `yaml:"grace,omitempty"`
	// KeepUntagged is how long a manifest stays that no tag names any more: clients pin digests.
	KeepUntagged Duration `yaml:"keepuntagged,omitempty"`
}

// HTTP is where and how the server answers.
type HTTP struct {
	// Addr is host:port or :port.
	Addr string `yaml:"addr,omitempty"`
	// Host is the scheme and host that clients see; it goes into Location headers.
	Host string `yaml:"host,omitempty"`
	// Prefix is a path that all routes lie below.
	Prefix string `yaml:"prefix,omitempty"`
	// RelativeURLs makes Location headers relative, which they are anyway unless Host is set. False makes them absolute,
	// from what a trusted proxy says of the request, or else from the request itself.
	RelativeURLs *bool `yaml:"relativeurls,omitempty"`
	// DrainTimeout is how long requests in flight may take to finish after SIGTERM.
	DrainTimeout Duration `yaml:"draintimeout,omitempty"`
	// Headers are added to every response, over the defaults; an empty list removes a default.
	Headers Headers `yaml:"headers,omitempty"`
	HTTP2   HTTP2   `yaml:"http2,omitempty"`
	// TrustedProxies are the addresses or networks (10.0.0.0/8) that are trusted to report where a request came from.
	TrustedProxies StringList `yaml:"trustedproxies,omitempty"`
	// ClientIPHeader is the one header in which the trusted proxies say who the client is: X-Forwarded-For (together with
	// X-Forwarded-Proto and X-Forwarded-Host), Forwarded, or X-Real-IP. No other is believed, since proxies pass on
	// what they do not set.
	ClientIPHeader string `yaml:"clientipheader,omitempty" oneof:"X-Forwarded-For Forwarded X-Real-IP"`
	Limits         Limits `yaml:"limits,omitempty"`
	TLS            *TLS   `yaml:"tls,omitempty"`
	Debug          Debug  `yaml:"debug,omitempty"`
}

// HTTP2 can be turned off.
type HTTP2 struct {
	Disabled bool `yaml:"disabled,omitempty"`
}

// Limits bound what clients can ask for.
type Limits struct {
	// Connections is how many there may be at once, at most half as many as the process may open files. One address has no more of them
	// than it leaves free, unless it is a trusted proxy's. More are closed as soon as they are accepted.
	Connections int `yaml:"connections,omitempty"`
	// HeaderBytes is the size of a request's headers.
	HeaderBytes int `yaml:"headerbytes,omitempty"`
	// ManifestBytes is the size of a manifest.
	ManifestBytes int `yaml:"manifestbytes,omitempty"`
	// Uploads is how many requests may bring content at once. One user or address has no more of these places than it leaves free. Others
	// wait for some seconds, and are then answered 429.
	Uploads int `yaml:"uploads,omitempty"`
	// Unpacks is how many requests may read files of packs' archives at once, shared and waited for in the same way. Half as many pushes
	// may have their archives validated.
	Unpacks int `yaml:"unpacks,omitempty"`
	// MinRate is how many bytes a second a request's content must come at on average, once it has taken half a minute.
	MinRate int `yaml:"minrate,omitempty"`
	// StallTimeout is how long a request or an answer may go without a byte. A transfer that moves has all the time it
	// needs.
	StallTimeout Duration `yaml:"stalltimeout,omitempty"`
}

// TLS is a certificate from files, or from an ACME server.
type TLS struct {
	Certificate string `yaml:"certificate,omitempty"`
	Key         string `yaml:"key,omitempty"`
	// ClientCAs are PEM files; clients must show a certificate of one of them.
	ClientCAs StringList `yaml:"clientcas,omitempty"`
	// ClientAuth says how strictly, as in distribution.
	ClientAuth string `yaml:"clientauth,omitempty" oneof:"request-client-cert require-any-client-cert verify-client-cert-if-given require-and-verify-client-cert"`
	// MinimumTLS is the oldest version that is spoken; tls1.0 and tls1.1 are raised to tls1.2 unless AllowObsolete is set.
	MinimumTLS    string       `yaml:"minimumtls,omitempty" oneof:"tls1.0 tls1.1 tls1.2 tls1.3"`
	AllowObsolete bool         `yaml:"allowobsolete,omitempty"`
	CipherSuites  StringList   `yaml:"ciphersuites,omitempty"`
	LetsEncrypt   *LetsEncrypt `yaml:"letsencrypt,omitempty"`
}

// LetsEncrypt obtains certificates from an ACME server, and renews them.
type LetsEncrypt struct {
	// CacheFile is a directory, despite its name, that certificates are kept in.
	CacheFile string `yaml:"cachefile,omitempty"`
	// CacheStorage keeps them in the registry's storage instead, for all replicas.
	CacheStorage bool   `yaml:"cachestorage,omitempty"`
	Email        string `yaml:"email,omitempty"`
	// Hosts are the names to obtain certificates for; no others are asked for.
	Hosts StringList `yaml:"hosts,omitempty"`
	// DirectoryURL is the ACME server; Let's Encrypt's by default. CAFile holds the certificates to trust it by.
	DirectoryURL string `yaml:"directoryurl,omitempty"`
	CAFile       string `yaml:"cafile,omitempty"`
	// Delay is how long after its start the server waits before it asks for a certificate: in a cluster names lead to it
	// only some moments after it has begun to answer.
	Delay Duration `yaml:"delay,omitempty"`
	// HTTPAddr is where HTTP-01 challenges are answered (":80"); without it TLS-ALPN-01 on http.addr is the only way.
	HTTPAddr string `yaml:"httpaddr,omitempty"`
}

// Debug is a second listener, without authentication, for probes and metrics.
type Debug struct {
	Addr       string     `yaml:"addr,omitempty"`
	Prometheus Prometheus `yaml:"prometheus,omitempty"`
	Pprof      Pprof      `yaml:"pprof,omitempty"`
}

// Pprof serves Go's profiles below /debug/pprof/ on the debug address.
type Pprof struct {
	Enabled bool `yaml:"enabled,omitempty"`
}

// Prometheus serves metrics on the debug address.
type Prometheus struct {
	Enabled bool   `yaml:"enabled,omitempty"`
	Path    string `yaml:"path,omitempty"`
}

// Auth says who may come in. No section at all means everybody.
type Auth struct {
	HTPasswd *HTPasswd `yaml:"htpasswd,omitempty" kind:"auth"`
	Access   Access    `yaml:"access,omitempty"`
}

// HTPasswd is basic authentication against a file of bcrypt hashes.
type HTPasswd struct {
	Realm string `yaml:"realm,omitempty"`
	Path  string `yaml:"path,omitempty"`
}

// Access says who may pull, push and delete what. Without rules every user may do everything.
type Access struct {
	// AnonymousPull lets everybody read, without a credential.
	AnonymousPull bool `yaml:"anonymouspull,omitempty"`
	// ReadOnlyUsers may pull and nothing else, whatever the rules say.
	ReadOnlyUsers StringList `yaml:"readonlyusers,omitempty"`
	// Rules grant; once there is one, what no rule grants is denied.
	Rules []AccessRule `yaml:"rules,omitempty"`
}

// AccessRule grants users actions on repositories.
type AccessRule struct {
	// Users are names of the users' file, or "*" for every one of them.
	Users StringList `yaml:"users,omitempty"`
	// Anonymous grants it to everybody, without a credential.
	Anonymous bool `yaml:"anonymous,omitempty"`
	// Repositories are patterns: * stands for anything within one component of a name, ** for anything at all. The pack
	// p is the repository spectro-packs/archive/p.
	Repositories StringList `yaml:"repositories,omitempty"`
	// Actions are pull, push and delete.
	Actions StringList `yaml:"actions,omitempty"`
}

// Packs says what is checked of packs, and where they are served.
type Packs struct {
	// Validation says what happens to a pushed pack that is none: enforce, warn or off.
	Validation string `yaml:"validation,omitempty" oneof:"enforce warn off"`
	// BasePaths are where packs are served too, as consoles ask for them: with prod, /v2/prod/spectro-packs/archive/p is the pack p.
	BasePaths StringList `yaml:"basepaths,omitempty"`
}

// Manifests says what happens to a manifest that names missing content.
type Manifests struct {
	Missing string `yaml:"missing,omitempty" oneof:"refuse accept"`
}

// Catalog bounds a page of /v2/_catalog and /v1/_catalog.
type Catalog struct {
	MaxEntries int `yaml:"maxentries,omitempty"`
}

// Tags bounds a page of a tag list.
type Tags struct {
	MaxTags int `yaml:"maxtags,omitempty"`
}

// Health says how the storage is checked.
type Health struct {
	StorageDriver StorageDriver `yaml:"storagedriver,omitempty"`
}

// StorageDriver is a check that runs every Interval; Threshold failures in a row make the server unready.
type StorageDriver struct {
	Enabled   *bool    `yaml:"enabled,omitempty"`
	Interval  Duration `yaml:"interval,omitempty"`
	Threshold int      `yaml:"threshold,omitempty"`
}

// UI is the pages that a browser is shown below /ui/.
type UI struct {
	// Enabled is whether there are pages; there are, unless this is false.
	Enabled *bool `yaml:"enabled,omitempty"`
	// Title is the name at the head of every page.
	Title string `yaml:"title,omitempty"`
	// Logo is a file with the image beside it: PNG, JPEG, GIF, WebP or SVG.
	Logo string `yaml:"logo,omitempty"`
	// Actions are what users may do on the pages, besides looking, as far as auth.access lets them: tag, untag and delete.
	Actions StringList `yaml:"actions,omitempty"`
}

// StringList is a list for which a single word is accepted too.
type StringList []string

// Headers maps canonical header names to their values.
type Headers map[string]StringList

// Duration is written with its unit: 30s, 5m, 168h.
type Duration time.Duration

// UnmarshalYAML reads what MarshalYAML wrote.
func (d *Duration) UnmarshalYAML(n *yaml.Node) error {
	parsed, err := time.ParseDuration(n.Value)
	*d = Duration(parsed)
	return err
}

// MarshalYAML writes the unit.
func (d Duration) MarshalYAML() (any, error) { return time.Duration(d).String(), nil }

// Marshal writes the configuration as the server reads it.
func Marshal(c Config) ([]byte, error) { return yaml.Marshal(c) }
