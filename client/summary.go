package client

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// Summary is what lists show of a pack. A registry without an index of its packs gives no more than names and tags.
type Summary struct {
	Name        string `json:"name"`
	DisplayName string `json:"displayName,omitempty"`
	Layer       string `json:"layer,omitempty"`
	// Type is what kind of add-on it is.
	Type string `json:"type,omitempty"`
	// Newest is the tag of the newest version, Digest that of its manifest, and Size the bytes of its archive.
	Newest string        `json:"newest,omitempty"`
	Digest digest.Digest `json:"digest,omitempty"`
	Size   int64         `json:"size,omitempty"`
	// Versions is how many there are.
	Versions int `json:"versions"`
	// Updated is when the newest version was pushed.
	Updated *time.Time `json:"updated,omitempty"`
}

// Packs returns all packs that there are, by their names. Where the registry has an index that is one request per 1000 packs, else
// one for each pack.
func (c *Client) Packs(ctx context.Context) ([]Summary, error) {
	list, indexed, err := c.index(ctx)
	if err != nil {
		return nil, err
	}
	if !indexed {
		if list, err = c.packsByTags(ctx); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(list, func(a, b Summary) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// packsByTags makes summaries of what every registry can answer.
func (c *Client) packsByTags(ctx context.Context) ([]Summary, error) {
	found, err := c.List(ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]Summary, len(found))
	for i, p := range found {
		newest, err := choose(p.Tags, "")
		if err != nil { // of several groups, and none without: the first, as `pack ls NAME` shows it
			newest = p.Tags[0]
		}
		list[i] = Summary{Name: p.Name, Newest: newest}
		for _, tag := range p.Tags {
			if pack.IsVersionTag(tag) {
				list[i].Versions++
			}
		}
	}
	return list, nil
}

// Match says whether every word is in a pack's name, display name, layer or type, whatever its case, and how well it fits: 0 is best.
func (s Summary) Match(words []string) (rank int, ok bool) {
	name := strings.ToLower(s.Name)
	text := strings.ToLower(strings.Join([]string{s.Name, s.DisplayName, s.Layer, s.Type}, "\n"))
	whole := strings.ToLower(strings.Join(words, " "))
	inName := true
	for _, word := range words {
		word = strings.ToLower(word)
		if !strings.Contains(text, word) {
			return 0, false
		}
		inName = inName && strings.Contains(name, word)
	}
	switch {
	case name == whole || strings.EqualFold(s.DisplayName, whole):
		return 0, true
	case strings.HasPrefix(name, whole):
		return 1, true
	case inName:
		return 2, true
	}
	return 3, true
}

// Search returns the packs that all words fit, the best first.
func (c *Client) Search(ctx context.Context, words []string) ([]Summary, error) {
	all, err := c.Packs(ctx)
	if err != nil {
		return nil, err
	}
	ranks := map[string]int{}
	found := slices.DeleteFunc(all, func(s Summary) bool {
		rank, ok := s.Match(words)
		ranks[s.Name] = rank
		return !ok
	})
	slices.SortStableFunc(found, func(a, b Summary) int { return cmp.Compare(ranks[a.Name], ranks[b.Name]) })
	return found, nil
}
