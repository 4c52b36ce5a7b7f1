package ui_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui"
)

// memory is a registry of packs that a test makes: the files of each version, by pack and tag.
type memory map[string]map[string]map[string]string

var pushed = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func (m memory) Search(_ context.Context, q ui.Query) (ui.List, error) {
	l := ui.List{Total: len(m), Indexed: len(m), Types: []string{"monitoring"}, Sources: []string{"in-house"}}
	for name := range m {
		if strings.Contains(name, q.Text) && (q.Layer == "" || q.Layer == "addon") {
			l.Packs = append(l.Packs, ui.Summary{Name: name, DisplayName: strings.ToUpper(name), Description: "About <" + name + ">", Tag: "1.1.0", Digest: m.digest(name, "1.1.0"), Versions: len(m[name]), Layer: "addon", Type: "monitoring", Source: "in-house", State: "deprecated", Logo: true, Pushed: pushed})
		}
	}
	l.Found = len(l.Packs)
	return l, nil
}

func (m memory) About(context.Context) (ui.About, error) {
	return ui.About{Storage: "file system", Free: 1 << 30, Capacity: 1 << 40, Validated: true, Deletable: true}, nil
}

func (m memory) Pack(name string) ui.Pack { return memoryPack{m, name} }

func (m memory) digest(name, tag string) digest.Digest { return digest.FromString(name + tag) }

type memoryPack struct {
	m    memory
	name string
}

func (p memoryPack) Tags(context.Context) (tags []string, more bool, err error) {
	for tag := range p.m[p.name] {
		tags = append(tags, tag)
	}
	if len(tags) == 0 {
		return nil, false, ui.ErrNotFound
	}
	pack.SortTags(tags)
	return tags, false, nil
}

func (p memoryPack) Version(_ context.Context, reference string) (ui.Version, error) {
	for tag := range p.m[p.name] {
		if d := p.m.digest(p.name, tag); tag == reference || d.String() == reference {
			return ui.Version{Digest: d, Archive: d, Size: 4321, Pushed: pushed, By: "mara"}, nil
		}
	}
	return ui.Version{}, ui.ErrNotFound
}

func (p memoryPack) files(v ui.Version) map[string]string {
	for tag, files := range p.m[p.name] {
		if p.m.digest(p.name, tag) == v.Digest {
			return files
		}
	}
	return nil
}

func (p memoryPack) Files(_ context.Context, v ui.Version) (list []pack.File, err error) {
	for name, text := range p.files(v) {
		list = append(list, pack.File{Name: name, Size: int64(len(text))})
	}
	slices.SortFunc(list, func(a, b pack.File) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (p memoryPack) Read(_ context.Context, v ui.Version, limit int64, names ...string) (map[string][]byte, error) {
	found := map[string][]byte{}
	for _, name := range names {
		text, ok := p.files(v)[name]
		if int64(len(text)) > limit {
			return nil, ui.ErrTooLarge
		}
		if ok {
			found[name] = []byte(text)
		}
	}
	return found, nil
}

func (p memoryPack) Copy(_ context.Context, v ui.Version, name string, to io.Writer) error {
	_, err := io.WriteString(to, p.files(v)[name])
	return err
}

func (p memoryPack) Attached(context.Context, ui.Version, int) ([]ui.Attachment, error) {
	return []ui.Attachment{{Type: "application/vnd.example.signature", Digest: digest.FromString("s"), Size: 2100}}, nil
}

func (p memoryPack) History(context.Context, int) ([]ui.Change, error) {
	a, b := p.m.digest(p.name, "1.0.0"), p.m.digest(p.name, "1.1.0")
	return []ui.Change{{Time: pushed, Tag: "1.1.0", From: a, To: b, By: "mara", Message: "Tested"}, {Time: pushed, Tag: "old", From: a}, {Time: pushed, Tag: "new", To: b}}, nil
}
