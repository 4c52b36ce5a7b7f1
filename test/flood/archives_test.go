//go:build linux

package flood

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"

	"packregistry.dev/internal/testpack"
)

// archive makes a pack of valid files and others.
func archive(more map[string]string) []byte {
	return packed(func(w *tar.Writer) {
		for name, content := range more {
			entry(w, name, content)
		}
	})
}

func packed(more func(w *tar.Writer)) []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for name, content := range testpack.Files("mal-ok", "1.0.0") {
		entry(w, name, content)
	}
	more(w)
	must(w.Close())
	must(zip.Close())
	return out.Bytes()
}

func entry(w *tar.Writer, name, content string) {
	must(w.WriteHeader(&tar.Header{Name: "top/" + name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatPAX}))
	_, err := io.WriteString(w, content)
	must(err)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// sparse has an entry of 2^62 bytes that are not there.
func sparse() []byte {
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	records := "22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n42 GNU.sparse.realsize=4611686018427387904\n27 GNU.sparse.name=top/big\n"
	pax := make([]byte, 512)
	copy(pax, "PaxHeaders/x")
	copy(pax[100:], "0000644\x00")
	copy(pax[124:], fmt.Sprintf("%011o\x00", len(records)))
	pax[156] = 'x'
	copy(pax[257:], "ustar\x0000")
	sum(pax)
	file := bytes.Clone(pax)
	copy(file, "top/big\x00\x00\x00\x00\x00")
	copy(file[124:], fmt.Sprintf("%011o\x00", 512))
	file[156] = '0'
	sum(file)
	data := make([]byte, 512)
	copy(data, "0\n")
	for _, part := range [][]byte{pax, append([]byte(records), make([]byte, 512-len(records))...), file, data, make([]byte, 1024)} {
		_, err := zip.Write(part)
		must(err)
	}
	must(zip.Close())
	return out.Bytes()
}

func sum(header []byte) {
	copy(header[148:156], "        ")
	total := 0
	for _, b := range header {
		total += int(b)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", total))
}

func doubled() []byte {
	return packed(func(w *tar.Writer) {
		for i := range 8_000 {
			name := fmt.Sprintf("%s%d", strings.Repeat("long", 500), i/2)
			entry(w, name, "")
		}
	})
}

func charts() []byte {
	var list strings.Builder
	for i := range 500_000 {
		fmt.Fprintf(&list, `,"no/%d"`, i)
	}
	return archive(map[string]string{"pack.json": `{"name":"mal-charts","displayName":"x","version":"1.0.0","layer":"addon","charts":["x"` + list.String() + `]}`})
}
