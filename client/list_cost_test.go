package client

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// indexServer serves n packs by a registry's index, pageSize at a time, and counts requests.
func indexServer(t testing.TB, n, pageSize int) (c *Client, requests *atomic.Int64) {
	t.Helper()
	requests = &atomic.Int64{}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Packregistry-Version", "test")
		if r.URL.Path != "/v1/_index" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		packs, next := []map[string]any{}, ""
		for i := range n {
			name := fmt.Sprintf("pack-%04d", i)
			if name <= r.URL.Query().Get("last") {
				continue
			}
			if len(packs) == pageSize {
				next = fmt.Sprint(packs[pageSize-1]["name"])
				break
			}
			packs = append(packs, map[string]any{"name": name, "tag": "1.0.0", "layer": "addon", "versions": 1, "pushed": "2026-01-31T12:00:00Z"})
		}
		if next != "" {
			w.Header().Set("Link", `</v1/_index?n=1000&last=`+next+`>; rel="next"`)
		}
		json.NewEncoder(w).Encode(map[string]any{"packs": packs})
	}))
	t.Cleanup(h.Close)
	c, err := Connect(Server{Host: strings.TrimPrefix(h.URL, "http://"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return c, requests
}

// A list takes a request for 100 packs at most, however few a registry gives at once, and a search no more than that.
func TestAListCostsFewRequests(t *testing.T) {
	c, requests := indexServer(t, 1000, 100)
	list, err := c.Packs(t.Context())
	if err != nil || len(list) != 1000 || list[999].Name != "pack-0999" || list[0].Layer != "addon" || list[0].Updated == nil {
		t.Fatalf("%d packs, %v", len(list), err)
	}
	if n := requests.Swap(0); n > 10 {
		t.Errorf("%d requests", n)
	}
	found, err := c.Search(t.Context(), []string{"0999", "PACK"})
	if n := requests.Load(); err != nil || len(found) != 1 || n > 10 {
		t.Errorf("%v after %d requests, %v", found, n, err)
	}
}

// An index that leads back to itself is an error.
func TestAnIndexThatDoesNotEnd(t *testing.T) {
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Packregistry-Version", "test")
		w.Header().Set("Link", `</v1/_index?n=1000&last=a>; rel="next"`)
		fmt.Fprint(w, `{"packs": []}`)
	}))
	defer h.Close()
	c, err := Connect(Server{Host: strings.TrimPrefix(h.URL, "http://"), PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Packs(t.Context()); err == nil || !strings.Contains(err.Error(), "does not go on") {
		t.Error(err)
	}
}

func BenchmarkListOf1000Packs(b *testing.B) {
	c, _ := indexServer(b, 1000, 100)
	for b.Loop() {
		if _, err := c.Packs(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSearchRanks(t *testing.T) {
	for _, tt := range []struct {
		s     Summary
		words string
		rank  int
		ok    bool
	}{
		{Summary{Name: "nginx"}, "NGINX", 0, true},
		{Summary{Name: "lb-x", DisplayName: "Citrix ADC"}, "citrix adc", 0, true},
		{Summary{Name: "nginx-ingress"}, "nginx", 1, true},
		{Summary{Name: "my-nginx"}, "nginx", 2, true},
		{Summary{Name: "my-nginx"}, "nginx my", 2, true},
		{Summary{Name: "x", Layer: "csi"}, "csi", 3, true},
		{Summary{Name: "x", Layer: "csi"}, "csi y", 0, false},
	} {
		if rank, ok := tt.s.Match(strings.Fields(tt.words)); rank != tt.rank || ok != tt.ok {
			t.Errorf("%v in %+v: %d %t", tt.words, tt.s, rank, ok)
		}
	}
}
