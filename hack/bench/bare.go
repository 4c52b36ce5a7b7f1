package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serveBare is the least that a server of blobs could do: a GET is http.ServeContent of a file, a PUT hashes, writes and
// syncs. It checks nothing and knows nobody.
func serveBare(ctx context.Context, dir string) error {
	server := &http.Server{Addr: os.Getenv("BENCH_ADDR"), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := filepath.Join(dir, filepath.Base(filepath.Clean("/"+r.URL.Path)))
		if r.Method == http.MethodPut {
			sum, err := hashWriteSync(path, r.Body)
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Docker-Content-Digest", fmt.Sprintf("sha256:%x", sum))
			w.WriteHeader(http.StatusCreated)
			return
		}
		f, err := os.Open(path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, f)
	})}
	stop := context.AfterFunc(ctx, func() { server.Close() }) //nolint:errcheck // it ends then
	defer stop()
	err := server.ListenAndServe()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return err
}

// hashWriteSync stores what from yields, with a buffer as large as the registry's own.
func hashWriteSync(path string, from io.Reader) (sum []byte, err error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	hash := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(hash, f)}, struct{ io.Reader }{from}, make([]byte, 1<<20)); err != nil {
		return nil, err
	}
	return hash.Sum(nil), f.Sync()
}
