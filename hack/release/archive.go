package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// file is a file in an archive.
type file struct {
	name, source string
	executable   bool
}

// What zip can hold that comes nearest to no time at all.
var noTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// writeArchive packs files, sorted, without owners and times: tar.gz, or zip where its name ends so.
func writeArchive(path string, files []file) error {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	write := writeTar
	if strings.HasSuffix(path, ".zip") {
		write = writeZip
	}
	return errors.Join(write(out, files), out.Close())
}

func writeTar(out io.Writer, files []file) error {
	compressed := gzip.NewWriter(out)
	w := tar.NewWriter(compressed)
	for _, f := range files {
		data, err := os.ReadFile(f.source)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: int64(f.mode()), Size: int64(len(data)), ModTime: noTime, Format: tar.FormatPAX}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), compressed.Close())
}

func writeZip(out io.Writer, files []file) error {
	w := zip.NewWriter(out)
	for _, f := range files {
		data, err := os.ReadFile(f.source)
		if err != nil {
			return err
		}
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: noTime}
		header.SetMode(f.mode())
		part, err := w.CreateHeader(header)
		if err != nil {
			return err
		}
		if _, err := part.Write(data); err != nil {
			return err
		}
	}
	return w.Close()
}

func (f file) mode() os.FileMode {
	if f.executable {
		return 0o755
	}
	return 0o644
}
