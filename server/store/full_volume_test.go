package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/filesystem"
)

// A volume without a byte left is collected, also where nothing was marked for deletion before.
func TestAFullVolumeIsCollected(t *testing.T) {
	volume := testserver.SmallVolume(t, 32)
	d, err := filesystem.New(volume.Dir)
	must(t, err)
	s, err := Open(t.Context(), d)
	must(t, err)
	r, ctx := s.Repository("r"), t.Context()
	const blobs = 20
	for i := range blobs {
		data, err := r.PutBlob(ctx, bytes.Repeat([]byte{byte(i)}, 64<<10))
		must(t, err)
		text := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":%q}}`, data)
		must(t, r.PutManifest(ctx, PutManifest{Digest: digest.FromBytes(text), MediaType: ocispec.MediaTypeImageManifest, Content: text, Blobs: []digest.Digest{data}}))
	}
	volume.Fill()
	before, _, err := d.Space(ctx)
	must(t, err)
	// A push finds no room, whatever is kept for collections.
	if err := d.Create(ctx, "c/pushed", make([]byte, 8<<10), driver.Durable); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("there is room: %v", err)
	}
	var done Collected
	for range 12 {
		round, err := s.Collect(ctx, Collection{})
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		done.Manifests += round.Manifests
		done.Links += round.Links
		done.Blobs += round.Blobs
	}
	if done.Manifests != blobs || done.Links != blobs || done.Blobs != blobs {
		t.Errorf("%+v was collected, of %d blobs", done, blobs)
	}
	if after, _, err := d.Space(ctx); err != nil || after < before+blobs*60<<10 {
		t.Errorf("there is room for %d bytes, and there was for %d: %v", after, before, err)
	}
	// What was given for it is kept again once there is room.
	volume.Release()
	must(t, d.Probe(ctx))
	info, err := os.Stat(filepath.Join(volume.Dir, "reserve"))
	must(t, err)
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Size() == 0 || stat.Blocks*512 < info.Size() {
		t.Errorf("%d bytes are kept, in %d blocks", info.Size(), stat.Blocks)
	}
}

// And what clients delete goes from it.
func TestAFullVolumeTakesDeletions(t *testing.T) {
	volume := testserver.SmallVolume(t, 32)
	d, err := filesystem.New(volume.Dir)
	must(t, err)
	s, err := Open(t.Context(), d)
	must(t, err)
	r, ctx := s.Repository("r"), t.Context()
	upload, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, upload.Append(ctx, bytes.NewReader(make([]byte, 1<<20))))
	data, err := r.PutBlob(ctx, []byte("data"))
	must(t, err)
	text := fmt.Appendf(nil, `{"schemaVersion":2,"config":{"digest":%q}}`, data)
	must(t, r.PutManifest(ctx, PutManifest{Digest: digest.FromBytes(text), MediaType: ocispec.MediaTypeImageManifest, Content: text}))
	must(t, r.Tag(ctx, "a", digest.FromBytes(text), "", true))
	must(t, r.Tag(ctx, "b", digest.FromBytes(text), "", true))
	volume.Fill()
	must(t, upload.Cancel(ctx))
	must(t, r.DeleteTag(ctx, "a"))
	must(t, r.DeleteManifest(ctx, digest.FromBytes(text)))
	must(t, r.DeleteBlob(ctx, data))
}
