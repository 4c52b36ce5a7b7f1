package packfiles

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/pack"
)

func TestTheListReadsAsItWasWritten(t *testing.T) {
	for _, files := range [][]pack.File{nil, {{Name: "a", Size: 1}, {Name: "<b>", Size: 1 << 40}}} {
		text, err := Encode(files)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := Decode(bytes.NewReader(text)); err != nil || !slices.Equal(read, files) {
			t.Errorf("%s: %v, %v", text, read, err)
		}
		for _, file := range files {
			if size, err := Size(bytes.NewReader(text), file.Name); err != nil || size != file.Size {
				t.Errorf("%s of %s: %d, %v", file.Name, text, size, err)
			}
		}
		if _, err := Size(bytes.NewReader(text), "c"); !errors.Is(err, ErrUnknown) {
			t.Errorf("c of %s: %v", text, err)
		}
	}
}

func TestWhatCouldRunIsNotShown(t *testing.T) {
	for name, want := range map[string]string{"a.PNG": "image/png", "x/pack.json": "application/json", "a.svg": "", "a.html": "", "a.js": "", "a.xml": "", "png": ""} {
		if got := ShownAs(name); got != want {
			t.Errorf("%s is shown as %q, want %q", name, got, want)
		}
	}
}

// A list of files is read as it comes.
func FuzzSize(f *testing.F) {
	f.Add([]byte(`{"files":[{"name":"a","size":1},{"name":"b","size":2}]}`), "b")
	f.Add([]byte(`{"files":[`+strings.Repeat("[", 5000)), "b")
	f.Add([]byte(`{"files":[`+strings.Repeat(`{"name":"a"},`, 5000)+`{}]}`), "b")
	f.Fuzz(func(t *testing.T, list []byte, name string) {
		testfuzz.Proportionate(t, len(list)+len(name), func() {
			Size(bytes.NewReader(list), name) //nolint:errcheck // whatever it says
		})
	})
}
