package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/internal/share"
	"packregistry.dev/server/internal/work"
	"packregistry.dev/server/store"
)

// This file shares out what there is only so much of: places of requests that bring content or unpack archives, the memory
// that manifests take, and the processors, of all requests together. How many requests there are is not bounded, and each may bring or fetch a manifest of
// some megabytes, and take its time over it.

const (
	// manifestShare is how many bytes manifests that are read may take in memory, and those that are pushed, unless one of the largest
	// takes more.
	manifestShare = 32 << 20
	// manifestWeight is how many bytes are set aside for each of a pushed manifest: for its text, twice while the buffer
	// grows, and for what it names.
	manifestWeight = 4
	// smallManifest is up to which size, in bytes, a manifest that is fetched is not counted: so much any request costs.
	smallManifest = 64 << 10
	// smallPush is the same of one that is pushed, which may come slowly. Nearly all packs' are smaller.
	smallPush = 16 << 10
	// placeWait is how long a request waits for others to be done with what only so many may do at once.
	placeWait = 3 * time.Second
)

// manifestBudget is what is left of the memory for manifests: those that are read, which anybody may do, keep nobody from pushing.
type manifestBudget struct {
	memory, pushes *share.Pool
}

func newManifestBudget(largest int) manifestBudget {
	one := manifestWeight * (int64(largest) + 1)
	size := max(manifestShare, one)
	return manifestBudget{memory: share.New(size, int64(largest)), pushes: share.New(size, one)}
}

// holder is whose share a request takes from: the user's, from wherever that user comes, or else that of the address.
func (r *request) holder() string {
	if r.user != "" {
		return "user " + r.user
	}
	return clientip.Network(r.client.Addr).String()
}

// acquire takes so much of a request's share, or waits for a while, once for all that it needs. crowded is the answer where that does not help.
func acquire(r *request, from *share.Pool, n int64, crowded string) error {
	if from.TryAcquire(r.holder(), n) {
		return nil
	}
	if r.waits.IsZero() {
		r.waits = time.Now().Add(placeWait)
	}
	waiting, cancel := context.WithDeadline(r.Context(), r.waits)
	defer cancel()
	if from.Acquire(waiting, r.holder(), n) == nil {
		return nil
	}
	if err := r.Context().Err(); err != nil {
		return err
	}
	return fail(codeTooMany, "%s", crowded)
}

// memoryTaken is the answer where manifests have no room.
const memoryTaken = "other manifests take all the memory that there is for them, or for yours; try again"

// begin waits until a request's long computation may begin. What a request computes in a millisecond or so needs no permission.
func (s *Server) begin(r *request) (*work.Task, error) { return s.work.Begin(r.Context(), r.holder()) }

// place takes one of the places that a limit of the configuration has.
func place(r *request, from *share.Pool, limit string) (done func(), err error) {
	if err := acquire(r, from, 1, "too many such requests are going on, or too many of yours ("+limit+"); try again"); err != nil {
		return nil, err
	}
	return func() { from.Release(r.holder(), 1) }, nil
}

// readManifest reads a pushed manifest. Memory is set aside as it comes, so that who announces much and sends little holds
// little. done gives it back.
func (s *Server) readManifest(w http.ResponseWriter, r *request) (text []byte, done func(), err error) {
	limit := int64(s.config.HTTP.Limits.ManifestBytes)
	if r.ContentLength > limit {
		return nil, nil, &http.MaxBytesError{Limit: limit}
	}
	held := int64(0)
	release := func() { s.manifests.pushes.Release(r.holder(), held) }
	defer func() {
		if err != nil {
			release()
		}
	}()
	body := http.MaxBytesReader(w, r.Body, limit)
	for {
		if len(text) == cap(text) {
			room := min(max(2*int64(len(text)), 4<<10), limit+1)
			if r.ContentLength >= 0 {
				room = min(room, r.ContentLength+1)
			}
			if room <= int64(cap(text)) {
				return nil, nil, fail(codeManifestInvalid, "more than the %d bytes that were announced", r.ContentLength)
			}
			if room > smallPush {
				if err := acquire(r, s.manifests.pushes, room*manifestWeight-held, memoryTaken); err != nil {
					return nil, nil, err
				}
				held = room * manifestWeight
			}
			text = append(make([]byte, 0, room), text...)
		}
		n, err := body.Read(text[len(text):cap(text)])
		text = text[:len(text)+n]
		if errors.Is(err, io.EOF) {
			return text, release, nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
}

// parse is identify and parseManifest, which are computations where the manifest is large.
func (s *Server) parse(r *request, text []byte, named digest.Digest) (d digest.Digest, mediaType string, c *store.Content, err error) {
	if len(text) > smallPush {
		task, err := s.begin(r)
		if err != nil {
			return "", "", nil, err
		}
		defer task.End()
	}
	if d, err = identify(text, named); err != nil {
		return "", "", nil, err
	}
	mediaType, c, err = parseManifest(r, text)
	return d, mediaType, c, err
}

// hold sets memory aside for a manifest that is about to be read. done gives it back.
func (s *Server) hold(r *request, head *store.Manifest) (done func(), err error) {
	if head.Size <= smallManifest {
		return func() {}, nil
	}
	if err := acquire(r, s.manifests.memory, head.Size, memoryTaken); err != nil {
		return nil, err
	}
	return func() { s.manifests.memory.Release(r.holder(), head.Size) }, nil
}

// readHeld reads a manifest of which the head is known. The memory that it takes is set aside before that; done gives it back.
func (s *Server) readHeld(r *request, head *store.Manifest) (m *store.Manifest, done func(), err error) {
	if done, err = s.hold(r, head); err != nil {
		return nil, nil, err
	}
	if m, err = r.repository.Manifest(r.Context(), head.Digest); err != nil {
		done()
		return nil, nil, as(codeManifestUnknown, err)
	}
	return m, done, nil
}

// findHeld finds a manifest that is sent to the client, which may take its time. A large one is read once memory is set aside for it. done
// gives that back.
func (s *Server) findHeld(r *request) (m *store.Manifest, done func(), err error) {
	m, err = findHead(r)
	if err != nil || m.Content != nil {
		return m, func() {}, err
	}
	return s.readHeld(r, m)
}
