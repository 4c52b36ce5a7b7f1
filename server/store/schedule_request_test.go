package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/server/store/internal/schedule"
)

// This file is the clients of the schedule tests: the requests that they make, done as the server's handlers do them. What
// the answers must be says schedule_model_test.go.

// artifact is a manifest by what it names: blobs by their content, and others by name.
type artifact struct {
	repository string
	layers     []string
	children   []string
	subject    string
}

// world is what everybody in a scenario knows.
type world struct {
	artifacts map[string]artifact
	uploads   map[string]string // ids by name
	grace     time.Duration
}

// pause is longer than the grace period by more than a storage's time is inexact.
func (w *world) pause() time.Duration { return w.grace + time.Minute }

func (w *world) text(name string) []byte {
	a := w.artifacts[name]
	m := struct {
		SchemaVersion int                  `json:"schemaVersion"`
		Layers        []ocispec.Descriptor `json:"layers"`
		Manifests     []ocispec.Descriptor `json:"manifests,omitempty"`
		Subject       *ocispec.Descriptor  `json:"subject,omitempty"`
		Annotations   map[string]string    `json:"annotations"`
	}{SchemaVersion: 2, Annotations: map[string]string{"name": name}}
	for _, layer := range a.layers {
		m.Layers = append(m.Layers, ocispec.Descriptor{Digest: digest.FromString(layer), Size: int64(len(layer))})
	}
	for _, child := range a.children {
		m.Manifests = append(m.Manifests, ocispec.Descriptor{Digest: w.digest(child)})
	}
	if a.subject != "" {
		m.Subject = &ocispec.Descriptor{Digest: w.digest(a.subject)}
	}
	return mustJSON(m)
}

func (w *world) digest(name string) digest.Digest { return digest.FromBytes(w.text(name)) }

// contents are all blobs that any artifact names, with the repository.
func (w *world) contents() map[string][]string {
	all := map[string][]string{}
	for _, a := range w.artifacts {
		all[a.repository] = append(all[a.repository], a.layers...)
	}
	return all
}

// verb is what a request does.
type verb string

const (
	pushBlob       verb = "push blob"
	beginUpload    verb = "begin upload"
	appendUpload   verb = "append to upload"
	commitUpload   verb = "commit upload"
	cancelUpload   verb = "cancel upload"
	headBlob       verb = "HEAD blob"
	getBlob        verb = "GET blob"
	mountBlob      verb = "mount blob"
	deleteBlob     verb = "delete blob"
	putManifest    verb = "push manifest"
	tagManifest    verb = "tag"
	tagOnce        verb = "tag, if it is free,"
	deleteTag      verb = "delete tag"
	deleteManifest verb = "delete manifest"
	getTag         verb = "GET tag"
	collectGarbage verb = "collect"
	purgeUploads   verb = "purge uploads"
	letTimePass    verb = "wait"
)

// request is one request of a client.
type request struct {
	verb verb
	// repository is where, what a blob's content, a manifest's name or an upload's, and tag, from and content what the verb
	// needs besides.
	repository, what, tag, from, content string
}

func (q request) String() string {
	text := string(q.verb)
	for _, part := range []string{q.repository, q.from, q.tag, q.what, q.content} {
		if part != "" {
			text += " " + part
		}
	}
	return text
}

// perform makes a request, as the server's handler does.
func (q request) perform(ctx context.Context, s *Store, w *world) error {
	r := s.Repository(q.repository)
	switch q.verb {
	case pushBlob:
		return r.PutStream(ctx, strings.NewReader(q.what), digest.FromString(q.what))
	case headBlob:
		_, err := r.StatBlob(ctx, digest.FromString(q.what))
		return err
	case getBlob:
		text, err := r.ReadBlob(ctx, digest.FromString(q.what), 1<<20)
		if err == nil && string(text) != q.what {
			err = fmt.Errorf("holds %q", text)
		}
		return err
	case mountBlob:
		return r.MountBlob(ctx, s.Repository(q.from), digest.FromString(q.what))
	case deleteBlob:
		return r.DeleteBlob(ctx, digest.FromString(q.what))
	case putManifest:
		return q.push(ctx, r, w)
	case tagManifest, tagOnce:
		return r.Tag(ctx, q.tag, w.digest(q.what), "", q.verb == tagManifest)
	case deleteTag:
		return r.DeleteTag(ctx, q.tag)
	case deleteManifest:
		return r.DeleteManifest(ctx, w.digest(q.what))
	case getTag:
		_, err := r.Tagged(ctx, q.tag)
		return err
	case collectGarbage:
		_, err := s.Collect(ctx, Collection{Grace: w.grace, KeepUntagged: w.grace})
		return err
	case purgeUploads:
		_, err := s.PurgeUploads(ctx, w.grace, false)
		return err
	case letTimePass:
		return schedule.Wait(ctx, w.pause())
	}
	return q.upload(ctx, r, w)
}

// prepare is perform where nobody else does anything, by a shorter way.
func (q request) prepare(ctx context.Context, s *Store, w *world) error {
	if q.verb != pushBlob {
		return q.perform(ctx, s, w)
	}
	_, err := s.Repository(q.repository).PutBlob(ctx, []byte(q.what))
	return err
}

// upload is the part of perform for uploads in steps.
func (q request) upload(ctx context.Context, r *Repository, w *world) error {
	if q.verb == beginUpload {
		u, err := r.NewUpload(digest.SHA256)
		w.uploads[q.what] = u.ID()
		return err
	}
	u, err := r.Upload(ctx, w.uploads[q.what])
	if err != nil {
		return err
	}
	if q.verb == cancelUpload {
		return u.Cancel(ctx)
	}
	// The request says where it goes on, as Content-Range does.
	if u.Offset() > int64(len(q.content)) {
		return ErrOutOfOrder
	}
	rest := strings.NewReader(q.content[u.Offset():])
	if q.verb == appendUpload {
		return u.Append(ctx, rest)
	}
	return u.Commit(ctx, rest, digest.FromString(q.content))
}

func (q request) push(ctx context.Context, r *Repository, w *world) error {
	a := w.artifacts[q.what]
	p := PutManifest{Digest: w.digest(q.what), Content: w.text(q.what)}
	for _, layer := range a.layers {
		d := digest.FromString(layer)
		if has, err := r.HasBlob(ctx, d); err != nil {
			return err
		} else if !has {
			return fmt.Errorf("blob %s: %w", layer, ErrNotFound)
		}
		p.Blobs = append(p.Blobs, d)
	}
	for _, child := range a.children {
		if _, err := r.Manifest(ctx, w.digest(child)); err != nil {
			return err
		}
		p.Manifests = append(p.Manifests, w.digest(child))
	}
	if a.subject != "" {
		p.Subject, p.Referrer = w.digest(a.subject), &ocispec.Descriptor{Digest: p.Digest, Size: int64(len(p.Content))}
	}
	return r.PutManifest(ctx, p)
}

// expected says whether a request may be answered like that at all.
func expected(err error) bool {
	for _, known := range []error{ErrNotFound, ErrTryAgain, ErrOutOfOrder, ErrTagExists} {
		if errors.Is(err, known) {
			return true
		}
	}
	return err == nil
}

// client makes requests one after the other, until one is refused.
type client []request

func (c client) run(ctx context.Context, s *Store, w *world) {
	for _, q := range c {
		if err := schedule.Do(ctx, q, func() error { return q.perform(ctx, s, w) }); err != nil {
			return
		}
	}
}

func (c client) String() string {
	var parts []string
	for _, q := range c {
		parts = append(parts, q.String())
	}
	return strings.Join(parts, ", ")
}
