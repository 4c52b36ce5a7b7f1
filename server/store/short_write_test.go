package store

import (
	"context"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// filling is a driver whose place is full in the middle of a write, once.
type filling struct {
	driver.Driver
	full bool
}

func (f *filling) Stream(ctx context.Context, id string, state []byte) (driver.Stream, error) {
	s, err := f.Driver.Stream(ctx, id, state)
	return &fillingStream{s, f}, err
}

type fillingStream struct {
	driver.Stream
	f *filling
}

func (s *fillingStream) Write(p []byte) (int, error) {
	if s.f.full {
		return s.Stream.Write(p)
	}
	s.f.full = true
	n, err := s.Stream.Write(p[:len(p)/2])
	if err == nil {
		err = syscall.ENOSPC
	}
	return n, err
}

// A client goes on from where the storage was full in the middle of a write.
func TestAnUploadGoesOnAfterAShortWrite(t *testing.T) {
	s, err := Open(t.Context(), &filling{Driver: inmemory.New()})
	must(t, err)
	r, ctx, content := s.Repository("r"), t.Context(), strings.Repeat("content", 100)
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	wantErr(t, u.Append(ctx, strings.NewReader(content)), syscall.ENOSPC)
	u, err = r.Upload(ctx, u.ID())
	must(t, err)
	if u.Offset() != int64(len(content)/2) {
		t.Errorf("it stands at %d", u.Offset())
	}
	must(t, u.Commit(ctx, strings.NewReader(content[u.Offset():]), digest.FromString(content)))
}
