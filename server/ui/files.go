package ui

import (
	"errors"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui/internal/source"
)

// linesPerPage is how many lines of a file a page shows.
const linesPerPage = 2000

type filesPage struct {
	*view
	Tree []*node
	// Left is how many files the tree leaves out.
	Left    int
	File    pack.File
	Listing *listing
	// Image is the address of an image; Why says why a file is not shown.
	Image, Why string
}

// listing is a page of a file's lines.
type listing struct {
	Name  string
	Lines []source.Line
	Total int
	// Previous and Next are paths of other pages.
	Previous, Next string
}

// node is a file or a folder of the tree.
type node struct {
	Name, Path string
	Size       int64
	Current    bool
	Children   []*node
}

func (h *Handler) getFile(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "files")
	if err != nil {
		return err
	}
	name := r.PathValue("path")
	if name == "" && v.Has(pack.MetadataFile) {
		name = pack.MetadataFile
	}
	p := filesPage{view: v}
	for _, f := range v.Files {
		if f.Name == name {
			p.File = f
		}
	}
	if p.File.Name == "" && r.PathValue("path") != "" {
		return &failure{Status: http.StatusNotFound, Heading: v.DisplayName() + " " + v.Label + " has no file " + clip(name),
			Near: []link{{"All", v.Path("files"), count(len(v.Files), "file"), ""}}}
	}
	if r.URL.Query().Get("raw") != "" && p.File.Name != "" {
		return h.sendFile(w, r, v, p.File)
	}
	p.Tree, p.Left = tree(v, name)
	if p.File.Name != "" {
		if err := p.read(r); err != nil {
			return err
		}
	}
	return h.renderView(w, r, "files", "Files of "+v.DisplayName()+" "+v.Label, v, p)
}

// read reads the file that is shown.
func (p *filesPage) read(r *request) error {
	if _, ok := imageTypes[strings.ToLower(path.Ext(p.File.Name))]; ok {
		p.Image = p.RawPath(p.File.Name)
		return nil
	}
	files, err := p.pack.Read(r.Context(), p.Version, maxRead, p.File.Name)
	text := files[p.File.Name]
	switch {
	case errors.Is(err, ErrTooLarge):
		p.Why = "The file is larger than what is shown here."
	case err != nil:
		return err
	case !source.IsText(text):
		p.Why = "The file is not text."
	default:
		p.Listing = list(r, p.File.Name, string(text))
	}
	return nil
}

// list makes a page of a listing.
func list(r *request, name, text string) *listing {
	lines := source.Lines(name, text)
	l := &listing{Name: name, Total: len(lines)}
	l.page(r, lines)
	return l
}

// page picks the lines of the page that was asked for.
func (l *listing) page(r *request, lines []source.Line) {
	number, err := strconv.Atoi(r.URL.Query().Get("page"))
	if err != nil || number < 1 || (number-1)*linesPerPage >= len(lines) {
		number = 1
	}
	begin := (number - 1) * linesPerPage
	l.Lines = lines[begin:min(begin+linesPerPage, len(lines))]
	at := func(n int) string {
		q := r.URL.Query()
		q.Set("page", strconv.Itoa(n))
		return (&url.URL{Path: r.URL.Path, RawPath: r.URL.EscapedPath(), RawQuery: q.Encode()}).String()
	}
	if number > 1 {
		l.Previous = at(number - 1)
	}
	if begin+linesPerPage < len(lines) {
		l.Next = at(number + 1)
	}
}

// tree makes the folders of a list of files, which is sorted.
func tree(v *view, current string) (top []*node, left int) {
	root := &node{}
	for i, f := range v.Files {
		if i >= maxListed && f.Name != current {
			left++
			continue
		}
		at := root
		parts := strings.Split(f.Name, "/")
		if len(parts) > 16 { // deeper than a page can show
			parts = []string{f.Name}
		}
		for _, part := range parts[:len(parts)-1] {
			last := (*node)(nil)
			if n := len(at.Children); n > 0 {
				last = at.Children[n-1]
			}
			if last == nil || last.Name != part || last.Path != "" {
				last = &node{Name: part}
				at.Children = append(at.Children, last)
			}
			at = last
		}
		at.Children = append(at.Children, &node{Name: parts[len(parts)-1], Path: v.FilePath(f.Name), Size: f.Size, Current: f.Name == current})
	}
	return root.Children, left
}

// imageTypes are files that are shown as images.
var imageTypes = map[string]string{
	".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp", ".svg": "image/svg+xml", ".ico": "image/x-icon",
}

// textTypes are files that a browser shows as text.
var textTypes = map[string]bool{".json": true, ".yaml": true, ".yml": true, ".txt": true, ".md": true, ".tpl": true, ".sh": true}

// filePolicy is the Content-Security-Policy of files: a browser that opens one runs nothing in it.
const filePolicy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"

// sendFile sends a file as it is. What a browser could run is kept instead of shown.
func (h *Handler) sendFile(w http.ResponseWriter, r *request, v *view, f pack.File) error {
	header := w.Header()
	policy := header.Get("Content-Security-Policy") // of pages
	ending := strings.ToLower(path.Ext(f.Name))
	header.Set("Content-Security-Policy", filePolicy)
	header.Set("Etag", `"`+v.Version.Digest.String()+`"`)
	if strings.Contains(v.Reference, ":") {
		header.Set("Cache-Control", "private, max-age=86400, immutable")
	}
	if r.Header.Get("If-None-Match") == header.Get("Etag") {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	switch mediaType := imageTypes[ending]; {
	case mediaType != "":
		header.Set("Content-Type", mediaType)
	case textTypes[ending]:
		header.Set("Content-Type", "text/plain; charset=utf-8")
	default:
		header.Set("Content-Type", "application/octet-stream")
		header.Set("Content-Disposition", "attachment")
	}
	if r.Method == http.MethodHead {
		header.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		return nil
	}
	files, err := v.pack.Read(r.Context(), v.Version, maxRead, f.Name)
	text, ok := files[f.Name]
	switch {
	case errors.Is(err, ErrTooLarge):
		header.Set("Content-Length", strconv.FormatInt(f.Size, 10))
		if err = v.pack.Copy(r.Context(), v.Version, f.Name, w); err == nil {
			return nil
		}
	case err == nil && !ok:
		err = ErrNotFound
	}
	if err != nil { // what follows is a page again
		for _, name := range []string{"Etag", "Content-Disposition", "Content-Length", "Cache-Control"} {
			header.Del(name)
		}
		header.Set("Content-Security-Policy", policy)
		return err
	}
	header.Set("Content-Length", strconv.Itoa(len(text)))
	w.Write(text) //nolint:errcheck // the client is gone
	return nil
}
