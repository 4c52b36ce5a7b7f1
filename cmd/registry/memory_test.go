package main

import (
	"crypto/sha256"
	"io"
	"net/http"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testserver"
)

// zeroes is content of any size that costs no memory.
type zeroes struct{ left int64 }

func (z *zeroes) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// A blob of 1 GiB goes in and out in less than 64 MiB of memory.
func TestMemoryDoesNotGrowWithBlobs(t *testing.T) {
	const size, most = 1 << 30, 64
	h := sha256.New()
	if _, err := io.Copy(h, &zeroes{size}); err != nil {
		t.Fatal(err)
	}
	d := digest.NewDigest(digest.SHA256, h)
	s := testserver.StartS3(t)
	for name, config := range map[string]string{
		"filesystem": configFile(t, "version: 0.1\nstorage: {filesystem: {rootdirectory: "+t.TempDir()+"}}\nhttp: {addr: '127.0.0.1:0'}\n"),
		"s3":         s3Config(t, s, s.Bucket(t), s.Endpoint),
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, nil, []string{"serve", config}, nil)
			p.t = t
			header, _ := p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
			p.want("PUT", header.Get("Location")+"?digest="+d.String(), &zeroes{size}, 201)
			pull := func() {
				r, err := http.Get(p.url + "/v2/r/blobs/" + d.String()) //nolint:noctx // a server of ours
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				h := sha256.New()
				if n, err := io.Copy(h, r.Body); err != nil || n != size || digest.NewDigest(digest.SHA256, h) != d {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
			pull()
			pushed := p.memory()
			// In chunks, as other clients do it.
			header, _ = p.want("POST", "/v2/r/blobs/uploads/", nil, 202)
			for range 2 {
				p.want("PATCH", header.Get("Location"), &zeroes{size / 2}, 202)
			}
			p.want("DELETE", "/v2/r/blobs/"+d.String(), nil, 202)
			p.want("PUT", header.Get("Location")+"?digest="+d.String(), nil, 201)
			pull()
			t.Logf("at most %d MiB in one request, %d in several", pushed, p.memory())
			if p.memory() >= most {
				t.Errorf("%d MiB, which is not less than %d", p.memory(), most)
			}
		})
	}
}
