package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver/filesystem"
)

// scatter puts files and folders of other programs into every folder, as NFS does with files that are open when they are
// deleted, and as desktops and NAS boxes do.
func scatter(t *testing.T, root string) {
	t.Helper()
	var dirs []string
	must(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	}))
	for _, dir := range dirs {
		for _, file := range []string{".nfs00000000deadbeef", ".DS_Store", "~zzz", "a name", "@eaDir/SYNO@.x", "lost+found/#1", "A/b/c/d"} {
			path := filepath.Join(dir, filepath.FromSlash(file))
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			must(t, os.WriteFile(path, []byte("not ours"), 0o600))
		}
	}
}

// Files of others do not show, do not hold up anything, and stay; verification says that they are there.
func TestStrays(t *testing.T) {
	ctx := t.Context()
	root := t.TempDir()
	d, err := filesystem.New(root)
	must(t, err)
	s, err := Open(ctx, d)
	must(t, err)
	r := s.Repository("some/repository")
	must(t, pushManifestOf(ctx, r, "v1", "a layer", ""))
	m, err := r.Tagged(ctx, "v1")
	must(t, err)
	must(t, pushManifestOf(ctx, r, "", "a signature", m.Digest))
	_, err = upload(ctx, r, "loose")
	must(t, err)
	u, err := r.NewUpload(digest.SHA256)
	must(t, err)
	must(t, u.Append(ctx, strings.NewReader("half ")))
	scatter(t, root)

	names, err := s.Repositories(ctx, "", "", 100)
	must(t, err)
	if !slices.Equal(names, []string{"some/repository"}) {
		t.Errorf("the catalog: %q", names)
	}
	for _, limit := range []int{1, 2, 100} {
		tags, err := r.Tags(ctx, "", limit)
		must(t, err)
		if !slices.Equal(tags, []string{"v1"}) {
			t.Errorf("tags: %q", tags)
		}
		tags, err = r.Tags(ctx, "v1", limit)
		if err != nil || len(tags) > 0 {
			t.Errorf("tags after the last: %q, %v", tags, err)
		}
		referrers, _, err := r.Referrers(ctx, m.Digest, "", limit)
		if err != nil || len(referrers) != 1 {
			t.Errorf("referrers: %v, %v", referrers, err)
		}
	}
	kinds := map[string]int{}
	done, err := s.Verify(ctx, Verification{Quarantine: true, Found: func(p Problem) { kinds[p.Kind]++ }})
	must(t, err)
	if done.Problems > 0 || done.Strays < 50 || len(kinds) != 1 || kinds["foreign-object"] != done.Strays {
		t.Errorf("%+v, %v", done, kinds)
	}
	for range 4 {
		collect(t, s, Collection{})
	}
	if _, err := r.StatBlob(ctx, digest.FromString("loose")); !errors.Is(err, ErrNotFound) {
		t.Errorf("what nothing refers to was not collected: %v", err)
	}
	again, err := r.Upload(ctx, u.id)
	must(t, err)
	must(t, again.Commit(ctx, strings.NewReader("whole"), digest.FromString("half whole")))
	if got := readBlob(t, r, digest.FromString("half whole")); got != "half whole" {
		t.Errorf("%q", got)
	}
	scatter(t, root) // into the folders that are new
	_, err = s.PurgeUploads(ctx, -time.Hour, false)
	must(t, err)
	must(t, r.DeleteManifest(ctx, m.Digest))
	for range 4 {
		collect(t, s, Collection{})
	}
	names, err = s.Repositories(ctx, "", "", 100)
	if err != nil || len(names) > 0 {
		t.Errorf("the catalog, when all is gone: %q, %v", names, err)
	}
	_, err = r.Tags(ctx, "", 100)
	wantErr(t, err, ErrNotFound)
	for _, path := range []string{"objects/r/@eaDir/SYNO@.x", "objects/u/~zzz", "objects/b/sha256/.DS_Store", "objects/~zzz"} {
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Errorf("another program's file was removed: %v", err)
		}
	}
}
