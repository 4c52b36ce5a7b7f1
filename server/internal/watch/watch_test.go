package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestRun(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts a Secret: the file is a link through ..data, which is swapped.
	for _, version := range []string{"v1", "v2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "file"), "same size") // and often the same size
	}
	data, file, plain := filepath.Join(dir, "..data"), filepath.Join(dir, "file"), filepath.Join(dir, "plain")
	for link, to := range map[string]string{data: "v1", file: "..data/file"} {
		if err := os.Symlink(to, link); err != nil {
			t.Fatal(err)
		}
	}
	files := New(file, plain)
	write(t, plain, "came before Run, and after New")
	ctx, cancel := context.WithCancel(t.Context())
	notified, done := make(chan struct{}, 100), make(chan struct{})
	go func() {
		defer close(done)
		files.Run(ctx, time.Millisecond, func() { notified <- struct{}{} })
	}()
	wait := func(what string) {
		t.Helper()
		select {
		case <-notified:
		case <-time.After(10 * time.Second):
			t.Fatalf("not notified: %s", what)
		}
	}
	wait("what came between New and Run")
	if err := os.Symlink("v2", data+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(data+".new", data); err != nil {
		t.Fatal(err)
	}
	wait("the link was swapped")
	write(t, plain, "longer than before, by some")
	wait("it was written over")
	if err := os.Remove(plain); err != nil {
		t.Fatal(err)
	}
	wait("it went")
	cancel()
	<-done
}
