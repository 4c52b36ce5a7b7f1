package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"runtime"
	"time"

	"golang.org/x/sync/semaphore"

	"packregistry.dev/server/store"
)

// This file bounds the memory that manifests take, of all requests together. How many requests there are is not bounded, and
// each may bring or fetch a manifest of some megabytes, and take its time over it.

const (
	// manifestShare is how many bytes manifests may take in memory, unless one of the largest takes more.
	manifestShare = 64 << 20
	// manifestWeight is how many bytes are set aside for each of a pushed manifest: for its text, twice while the buffer
	// grows, and for what it names.
	manifestWeight = 4
	// smallManifest is up to which size, in bytes, a manifest that is fetched is not counted: so much any request costs.
	smallManifest = 64 << 10
	// placeWait is how long a request waits for others to be done with what only so many may do at once.
	placeWait = 5 * time.Second
)

// manifestBudget is what is left of the memory for manifests.
type manifestBudget struct {
	memory *semaphore.Weighted
	// parsers has a place for each manifest that is taken apart, which is work, and makes garbage.
	parsers *semaphore.Weighted
}

func newManifestBudget(largest int) manifestBudget {
	return manifestBudget{
		memory:  semaphore.NewWeighted(max(manifestShare, manifestWeight*(int64(largest)+1))),
		parsers: semaphore.NewWeighted(int64(runtime.GOMAXPROCS(0))),
	}
}

// acquire takes so much of a share, or waits for a while.
func acquire(ctx context.Context, w http.ResponseWriter, from *semaphore.Weighted, n int64) error {
	if from.TryAcquire(n) {
		return nil
	}
	waiting, cancel := context.WithTimeout(ctx, placeWait)
	defer cancel()
	if from.Acquire(waiting, n) == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	w.Header().Set("Retry-After", "1")
	return fail(codeTooMany, "other manifests take all the memory that there is for them; try again")
}

// readManifest reads a pushed manifest. Memory is set aside as it comes, so that who announces much and sends little holds
// little. done gives it back.
func (s *Server) readManifest(w http.ResponseWriter, r *request) (text []byte, done func(), err error) {
	limit := int64(s.config.HTTP.Limits.ManifestBytes)
	if r.ContentLength > limit {
		return nil, nil, &http.MaxBytesError{Limit: limit}
	}
	held := int64(0)
	release := func() { s.manifests.memory.Release(held * manifestWeight) }
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
			if room <= held {
				return nil, nil, fail(codeManifestInvalid, "more than the %d bytes that were announced", r.ContentLength)
			}
			if err := acquire(r.Context(), w, s.manifests.memory, (room-held)*manifestWeight); err != nil {
				return nil, nil, err
			}
			held = room
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

// parse is parseManifest when it is this request's turn.
func (s *Server) parse(w http.ResponseWriter, r *request, text []byte) (mediaType string, c *store.Content, err error) {
	if err := acquire(r.Context(), w, s.manifests.parsers, 1); err != nil {
		return "", nil, err
	}
	defer s.manifests.parsers.Release(1)
	return parseManifest(r, text)
}

// findHeld is find for a manifest that is sent to the client, which may take its time. done gives back what was set aside.
func (s *Server) findHeld(w http.ResponseWriter, r *request) (m *store.Manifest, done func(), err error) {
	m, err = s.find(r)
	if err != nil || len(m.Content) <= smallManifest || r.Method == http.MethodHead {
		return m, func() {}, err
	}
	n := int64(len(m.Content))
	done = func() { s.manifests.memory.Release(n) }
	if s.manifests.memory.TryAcquire(n) {
		return m, done, nil
	}
	// Who waits holds nothing meanwhile: it is read again after that.
	if err := acquire(r.Context(), w, s.manifests.memory, n); err != nil {
		return nil, nil, err
	}
	if m, err = s.find(r); err == nil && int64(len(m.Content)) > n {
		err = fail(codeUnavailable, "the tag was moved; try again")
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return m, done, nil
}
