package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// indexPage is how many packs are asked for at once; a registry may give fewer.
	indexPage = 1000
	// maxAnswer bounds a page of a pack registry's own lists, in bytes.
	maxAnswer = 16 << 20
)

// ask asks a pack registry for JSON that only pack registries have. known is false where the registry is none, or an older one.
func (c *Client) ask(ctx context.Context, path string, query url.Values, answer any) (header http.Header, known bool, err error) {
	address, err := url.Parse(c.url(path))
	if err != nil {
		return nil, false, err
	}
	address.RawQuery = query.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return nil, false, err
	}
	response, err := c.registry.Client.Do(r)
	if err != nil {
		return nil, false, c.explain(err)
	}
	defer response.Body.Close()
	switch {
	case response.Header.Get("Packregistry-Version") == "", // somebody else's answer, whatever it says
		response.StatusCode == http.StatusNotFound, response.StatusCode == http.StatusMethodNotAllowed:
		return nil, false, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, false, c.explain(responseError(r, response))
	}
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return nil, false, c.explain(err)
	}
	if err := checkSize("the answer to "+path, int64(len(text)), maxAnswer); err != nil {
		return nil, false, err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return nil, false, fmt.Errorf("the answer to %s is not as it should be: %w", path, err)
	}
	return response.Header, true, nil
}

// indexedPack is a pack in GET /v1/_index.
type indexedPack struct {
	Name        string        `json:"name"`
	DisplayName string        `json:"displayName"`
	Tag         string        `json:"tag"`
	Digest      digest.Digest `json:"digest"`
	Size        int64         `json:"size"`
	Pushed      *time.Time    `json:"pushed"`
	Layer       string        `json:"layer"`
	Type        string        `json:"type"`
	Versions    int           `json:"versions"`
}

// index reads a registry's index of its packs, where it has one.
func (c *Client) index(ctx context.Context) (list []Summary, known bool, err error) {
	if c.server.BasePath != "" { // the index is of packs without one, and whether these are the same nobody says
		return nil, false, nil
	}
	var seen pages
	for query := (url.Values{"n": {strconv.Itoa(indexPage)}}); ; {
		var page struct {
			Packs *[]indexedPack `json:"packs"`
		}
		header, known, err := c.ask(ctx, "/v1/_index", query, &page)
		if err != nil || !known || page.Packs == nil { // what has another form is not the index that is meant here
			return nil, false, err
		}
		if err := seen.add(len(*page.Packs)); err != nil {
			return nil, false, err
		}
		for _, p := range *page.Packs {
			list = append(list, Summary{
				Name: p.Name, DisplayName: p.DisplayName, Layer: p.Layer, Type: p.Type, Newest: p.Tag, Digest: p.Digest, Size: p.Size,
				Versions: p.Versions, Updated: p.Pushed,
			})
		}
		next := nextPage(header)
		if next == nil {
			return list, true, nil
		}
		if next.Encode() == query.Encode() {
			return nil, false, errors.New("the server's index does not go on: its page leads to itself")
		}
		query = next
	}
}

var nextLink = regexp.MustCompile(`<([^>]*)>; *rel="?next"?`)

// nextPage is the query of the page after one, of its Link; the rest of the address is known.
func nextPage(header http.Header) url.Values {
	found := nextLink.FindStringSubmatch(header.Get("Link"))
	if found == nil {
		return nil
	}
	address, err := url.Parse(found[1])
	if err != nil {
		return nil
	}
	return address.Query()
}

// serverTagDetails asks a pack registry for a pack's tags with what it knows of them.
func (c *Client) serverTagDetails(ctx context.Context, name string) ([]tagDetails, bool, error) {
	return nil, false, nil
}
