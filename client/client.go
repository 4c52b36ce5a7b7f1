// Package client talks to a registry about packs: it pushes directories, lists what is there, and pulls versions back.
//
// It is built on the OCI distribution API, so that any OCI registry will do. Where the registry is a pack registry (it
// says so in its answers), packs go through its /v1 door, whose tags cannot be moved by accident.
//
//	config.go     servers that a user has logged in to, and their credentials
//	transport.go  TLS, and the choice of the door
//	retry.go      going on after a moment in which the registry was away
//	client.go     pushing, listing and pulling packs
//	change.go     deleting them, and their tags
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"packregistry.dev/pack"
)

// annotationMessage keeps the reason for which a version was replaced.
const annotationMessage = "dev.packregistry.message"

// Client is a connection to one registry.
type Client struct {
	registry *remote.Registry
}

// Connect prepares a connection. Nothing is sent yet.
func Connect(s Server) (*Client, error) {
	d, err := newDoor(s)
	if err != nil {
		return nil, err
	}
	r, err := remote.NewRegistry(s.Host)
	if err != nil {
		return nil, fmt.Errorf("server %q: %w", s.Host, err)
	}
	r.PlainHTTP = s.PlainHTTP
	r.Client = &auth.Client{
		Client: &http.Client{Transport: newResender(d)},
		Header: http.Header{"User-Agent": {"packctl"}},
		Cache:  auth.NewCache(),
		Credential: auth.StaticCredential(s.Host, auth.Credential{
			Username: s.Username, Password: s.Password,
		}),
	}
	return &Client{r}, nil
}

// Ping checks that the server answers and takes the credentials.
func (c *Client) Ping(ctx context.Context) error { return explain(c.registry.Ping(ctx)) }

// ErrDenied is returned where the server does not take the credentials.
var ErrDenied = errors.New("refused the credentials")

// explain turns refusals into words that say what to do.
func explain(err error) error {
	var response *errcode.ErrorResponse
	if errors.As(err, &response) && response.StatusCode == http.StatusUnauthorized {
		return fmt.Errorf("%s %w; log in with: packctl registry login %s", response.URL.Host, ErrDenied, response.URL.Host)
	}
	if errors.Is(err, auth.ErrBasicCredentialNotFound) {
		return errors.New("the server asks for credentials; log in with: packctl registry login SERVER")
	}
	return err
}

func (c *Client) repository(ctx context.Context, name string) (*remote.Repository, error) {
	r, err := c.registry.Repository(ctx, pack.Repository(name))
	if err != nil {
		return nil, fmt.Errorf("pack %q: %w", name, err)
	}
	return r.(*remote.Repository), nil
}

// Push says how to push.
type Push struct {
	// Force replaces a version that exists; Message says why.
	Force   bool
	Message string
	// SkipDigestCheck replaces it even if the archive is the same.
	SkipDigestCheck bool
	// Progress is told how many bytes of how many were sent.
	Progress func(sent, total int64)
}

// Pushed is what came of it.
type Pushed struct {
	Name, Tag string
	Digest    digest.Digest
	// Archive is the digest of the archive.
	Archive digest.Digest
	Size    int64
	// Unchanged says that the version was there already.
	Unchanged bool
}

// ErrExists is returned for a version that is there with other content.
var ErrExists = errors.New("the version exists already, with other content; replace it with --force and --message, or give the pack a new version")

// Push pushes the pack of a directory under the tag of its version.
func (c *Client) Push(ctx context.Context, d *pack.Directory, p Push) (*Pushed, error) {
	archive, layer, err := writeArchive(d)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	repo, err := c.repository(ctx, d.Name)
	if err != nil {
		return nil, err
	}
	manifest, descriptor, err := manifestOf(layer, p.Message)
	if err != nil {
		return nil, err
	}
	result := &Pushed{Name: d.Name, Tag: d.Tag(), Digest: descriptor.Digest, Archive: layer.Digest, Size: layer.Size}
	existing, err := c.version(ctx, repo, result.Tag)
	if err != nil {
		return nil, err
	}
	if existing != nil {
		same := existing.archive == layer.Digest
		if same && (!p.Force || !p.SkipDigestCheck) {
			result.Digest, result.Unchanged = existing.manifest.Digest, true
			return result, nil
		}
		if !p.Force {
			return nil, fmt.Errorf("%s:%s is %s: %w", d.Name, result.Tag, existing.archive, ErrExists)
		}
	}
	if err := pushBlob(ctx, repo, configDescriptor, newUpload(strings.NewReader(emptyConfig), configDescriptor, nil)); err != nil {
		return nil, err
	}
	if err := pushBlob(ctx, repo, layer, newUpload(archive, layer, p.Progress)); err != nil {
		return nil, err
	}
	if p.Force {
		ctx = context.WithValue(ctx, forceKey{}, true)
	}
	if err := repo.PushReference(ctx, descriptor, bytes.NewReader(manifest), result.Tag); err != nil {
		return nil, explainPush(result, err)
	}
	return result, nil
}

// explainPush shows what the server found wrong with a pack, one line each.
func explainPush(p *Pushed, err error) error {
	var response *errcode.ErrorResponse
	if !errors.As(err, &response) || len(response.Errors) == 0 {
		return explain(err)
	}
	first := response.Errors[0]
	if first.Code == "TAG_EXISTS" {
		return fmt.Errorf("%s:%s: %w", p.Name, p.Tag, ErrExists)
	}
	return fmt.Errorf("the server refused %s:%s: %s", p.Name, p.Tag, first.Message)
}

// emptyConfig is the config of every pack's manifest.
const emptyConfig = "{}"

var configDescriptor = ocispec.Descriptor{
	MediaType: pack.ConfigMediaType, Digest: digest.FromString(emptyConfig), Size: int64(len(emptyConfig)),
}

// writeArchive writes the pack's archive to a temporary file that has no name any more, so nothing can be left behind.
func writeArchive(d *pack.Directory) (*os.File, ocispec.Descriptor, error) {
	f, err := os.CreateTemp("", "pack-")
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	os.Remove(f.Name())
	hash := digest.Canonical.Digester()
	if err := d.WriteArchive(io.MultiWriter(f, hash.Hash())); err != nil {
		f.Close()
		return nil, ocispec.Descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, ocispec.Descriptor{}, err
	}
	return f, ocispec.Descriptor{
		MediaType: pack.ArchiveMediaType, Digest: hash.Digest(), Size: size,
		Annotations: map[string]string{ocispec.AnnotationTitle: d.ArchiveName()},
	}, nil
}

// manifestOf is the OCI 1.0 image manifest of a version. It carries no time, so that the same pack has the same digest.
func manifestOf(layer ocispec.Descriptor, message string) ([]byte, ocispec.Descriptor, error) {
	m := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest,
		Config: configDescriptor, Layers: []ocispec.Descriptor{layer},
	}
	if message != "" {
		m.Annotations = map[string]string{annotationMessage: message}
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	return text, content.NewDescriptorFromBytes(m.MediaType, text), nil
}

func pushBlob(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor, u *upload) error {
	exists, err := repo.Blobs().Exists(ctx, d)
	if err != nil {
		return explain(err)
	}
	if exists {
		return nil
	}
	err = repo.Blobs().Push(ctx, d, u)
	if err == nil || ctx.Err() != nil {
		return explain(err)
	}
	// The answer may be all that was lost.
	if exists, existsErr := repo.Blobs().Exists(ctx, d); existsErr == nil && exists {
		return nil
	}
	return explain(err)
}

// version is a version that the registry has.
type version struct {
	manifest ocispec.Descriptor
	archive  digest.Digest
	layer    ocispec.Descriptor
}

// version looks one up by tag or digest; nil is none.
func (c *Client) version(ctx context.Context, repo *remote.Repository, reference string) (*version, error) {
	descriptor, r, err := repo.FetchReference(ctx, reference)
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err)
	}
	defer r.Close()
	text, err := content.ReadAll(r, descriptor)
	if err != nil {
		return nil, err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(text, &m); err != nil || len(m.Layers) != 1 {
		return nil, fmt.Errorf("%s is not a pack: its manifest has %d layers, not one", reference, len(m.Layers))
	}
	return &version{descriptor, m.Layers[0].Digest, m.Layers[0]}, nil
}

// Listed is a pack with its tags.
type Listed struct {
	Name string   `json:"name"`
	Tags []string `json:"tags"`
}

// List returns all packs, or the one of that name, with their tags.
func (c *Client) List(ctx context.Context, only string) ([]Listed, error) {
	var names []string
	if only != "" {
		names = []string{only}
	} else {
		// Names come in byte order, so packs begin right after the prefix without its slash.
		err := c.registry.Repositories(ctx, strings.TrimSuffix(pack.ArchivePrefix, "/"), func(page []string) error {
			for _, name := range page {
				if rest, ok := strings.CutPrefix(name, pack.ArchivePrefix); ok {
					names = append(names, rest)
				}
			}
			return nil
		})
		if err != nil {
			return nil, explain(err)
		}
	}
	list := make([]Listed, 0, len(names))
	for _, name := range names {
		repo, err := c.repository(ctx, name)
		if err != nil {
			return nil, err
		}
		tags, err := registry.Tags(ctx, repo)
		if errors.Is(err, errdef.ErrNotFound) || isNameUnknown(err) {
			if only != "" {
				return nil, fmt.Errorf("there is no pack %q", name)
			}
			continue // deleted meanwhile
		}
		if err != nil {
			return nil, explain(err)
		}
		list = append(list, Listed{name, tags})
	}
	return list, nil
}

func isNameUnknown(err error) bool {
	var response *errcode.ErrorResponse
	return errors.As(err, &response) && response.StatusCode == http.StatusNotFound
}

// Pulled is what was pulled.
type Pulled struct {
	Name   string
	Digest digest.Digest
	// Directory is where the pack lies now.
	Directory string
}

// Pull fetches a version by tag or digest and unpacks it below target, into a folder <name>-<version>. What comes is
// checked against its digest before it is unpacked, and the folder appears only when it is complete.
func (c *Client) Pull(ctx context.Context, name, reference, target string) (*Pulled, error) {
	repo, err := c.repository(ctx, name)
	if err != nil {
		return nil, err
	}
	v, err := c.version(ctx, repo, reference)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return nil, noSuch(name, reference)
	}
	archive, err := fetch(ctx, repo, v.layer)
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	directory, err := unpack(ctx, archive, target)
	if err != nil {
		return nil, err
	}
	return &Pulled{Name: name, Digest: v.manifest.Digest, Directory: directory}, nil
}

// fetch downloads a blob to a temporary file and verifies it.
func fetch(ctx context.Context, repo *remote.Repository, d ocispec.Descriptor) (*os.File, error) {
	r, err := repo.Blobs().Fetch(ctx, d)
	if err != nil {
		return nil, explain(err)
	}
	defer r.Close()
	f, err := os.CreateTemp("", "pack-")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	if err = download(ctx, f, d, r); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("download %s: %w", d.Digest, err)
	}
	return f, nil
}
