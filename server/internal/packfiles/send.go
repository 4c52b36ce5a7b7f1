package packfiles

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/internal/work"
)

// types are what files of a pack are shown as. Everything else is kept instead of shown: a pack must not be able to
// run script on the registry's origin.
var types = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".ico": "image/x-icon",
	".json": "application/json", ".yaml": "application/yaml", ".yml": "application/yaml",
	".txt": "text/plain", ".md": "text/plain", ".tpl": "text/plain", ".sh": "text/plain",
}

// ShownAs is the media type that a file is shown as; it is empty for one that is not shown.
func ShownAs(name string) string { return types[strings.ToLower(path.Ext(name))] }

// MaxHeld is up to which size, in bytes, a file is unpacked as a whole before it is sent.
const MaxHeld = 256 << 10

// Send sends a file of an archive, which is task. unpacked is called once nothing more is to be unpacked: a small file is sent after
// that, in the client's own time; the client of a larger one must keep pace.
func Send(ctx context.Context, w http.ResponseWriter, task *work.Task, archive io.Reader, wanted string, unpacked func()) error {
	found := false
	var small []byte
	err := pack.Walk(ctx, task.Reader(archive), func(name string, size int64, content io.Reader) (err error) {
		if name != wanted {
			return nil
		}
		if size <= MaxHeld {
			if small, err = io.ReadAll(content); err != nil {
				return err
			}
		}
		found = true
		w.WriteHeader(http.StatusOK)
		if size > MaxHeld {
			if err := transfer.CopyPaced(w, content, task); err != nil {
				return err
			}
		}
		return pack.ErrStop
	})
	var invalid *pack.Error
	switch {
	case found && errors.As(err, &invalid):
		return nil // what was asked for is sent; what is wrong with the rest is not this request's matter
	case err != nil:
		return err
	case !found:
		return fmt.Errorf("the list of files has %q, which the archive lacks", wanted)
	}
	task.End()
	unpacked()
	_, err = io.Copy(w, struct{ io.Reader }{bytes.NewReader(small)}) // in pieces, each with its own deadline
	return err
}
