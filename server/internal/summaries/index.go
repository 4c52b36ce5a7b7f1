package summaries

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

// Entry is a row as the index (GET /v1/_index) has it.
type Entry struct {
	Name        string        `json:"name"`
	Tag         string        `json:"tag"`
	Digest      digest.Digest `json:"digest"`
	Size        int64         `json:"size"`
	Pushed      time.Time     `json:"pushed"`
	By          string        `json:"by,omitempty"`
	Versions    int           `json:"versions"`
	DisplayName string        `json:"displayName,omitempty"`
	Description string        `json:"description,omitempty"`
	Layer       string        `json:"layer,omitempty"`
	Type        string        `json:"type,omitempty"`
	Group       string        `json:"group,omitempty"`
	CloudTypes  []string      `json:"cloudTypes,omitempty"`
	Source      string        `json:"source,omitempty"`
	State       string        `json:"state,omitempty"`
}

// Entries turns rows into entries, with who pushed them or without.
func Entries(rows []Row, by bool) []Entry {
	entries := make([]Entry, len(rows))
	for i, row := range rows {
		entries[i] = Entry{row.Name, row.Tag, row.Digest, row.Size, row.Pushed.UTC(), "", row.Versions, row.DisplayName, row.Description,
			row.Layer, row.Type, row.Group, row.CloudTypes, row.Source, row.State}
		if by {
			entries[i].By = row.By
		}
	}
	return entries
}

// ETag is that of the state's entries, with who pushed them or without, on a page that announces the next one so.
func (s *State) ETag(by bool, next string) string {
	return fmt.Sprintf(`"sha256:%x"`, sha256.Sum256(fmt.Appendf(nil, "1 %t %q %x", by, next, s.Sum())))
}

// Names says whether If-None-Match names an ETag.
func Names(headers []string, tag string) bool {
	for _, header := range headers {
		for one := range strings.SplitSeq(header, ",") {
			if one = strings.TrimPrefix(strings.TrimSpace(one), "W/"); one == tag || one == "*" {
				return true
			}
		}
	}
	return false
}
