// Package pack knows the pack format: what pack.json may say, which files a pack holds, how a directory becomes an
// archive whose bytes depend on nothing but the pack, and under which tags a version is known.
//
//	metadata.go    pack.json: its schema (schema.json) and the type it is read into
//	directory.go   a pack as a directory, and the archive made of it
//	archive.go     a pack as an archive from somebody else, read without trusting it
//	content.go     what is in its files: errors, and warnings; yaml.go, chart.go how they are read
//	tag.go         versions, groups and tags; parent.go their order
//
// Everything that is wrong with a pack is reported at once, as a list of Violations.
package pack

import (
	"fmt"
	"slices"
	"strings"
)

// Names of the files that a pack has at its top.
const (
	MetadataFile = "pack.json"
	ValuesFile   = "values.yaml"
	ReadmeFile   = "README.md"
	LogoFile     = "logo.png"
)

// OCI media types of a pack version's manifest. They are those that consoles expect, though the layer's bytes are
// compressed.
const (
	ConfigMediaType  = "application/vnd.unknown.config.v1+json"
	ArchiveMediaType = "application/vnd.oci.image.layer.v1.tar"
)

// Violation is one thing that is wrong with a pack.
type Violation struct {
	// Path is a file of the pack, with the place in it where that is known: pack.json#/constraints/dependencies/0.
	Path string `json:"path"`
	// Line is counted from 1; 0 is unknown.
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
	// Mend is what to do, where the message does not say it.
	Mend string `json:"mend,omitempty"`
	// Rule names the rule that was broken.
	Rule string `json:"rule,omitempty"`
}

func (v Violation) String() string {
	text := v.Message
	switch {
	case v.Path != "" && v.Line > 0:
		text = fmt.Sprintf("%s: %s (line %d)", v.Path, v.Message, v.Line)
	case v.Path != "":
		text = v.Path + ": " + v.Message
	}
	if v.Mend != "" {
		text += "; " + v.Mend
	}
	return text
}

// Error is a pack's violations as an error.
type Error struct {
	Violations []Violation
}

// Lines returns a line for each violation.
func (e *Error) Lines() []string {
	lines := make([]string, len(e.Violations))
	for i, v := range e.Violations {
		lines[i] = v.String()
	}
	return lines
}

func (e *Error) Error() string {
	lines := e.Lines()
	return fmt.Sprintf("not a valid pack (%d found):\n  %s", len(lines), strings.Join(lines, "\n  "))
}

// Bounds of a list of violations, which is sent to the client and written to the log.
const (
	maxViolations = 100
	maxMessage    = 500
)

// AsError returns nil where there is no violation. A list that is too long to read is cut, and says so.
func AsError(violations []Violation) error {
	if len(violations) == 0 {
		return nil
	}
	return &Error{Readable(violations)}
}

// Readable cuts a list that is too long to read, and messages that are.
func Readable(violations []Violation) []Violation {
	more := len(violations) - maxViolations
	if more > 0 {
		violations = append(slices.Clip(violations[:maxViolations]), Violation{Message: fmt.Sprintf("and %d more", more)})
	}
	for i, v := range violations {
		v.Path, v.Message = clip(v.Path, maxMessage), clip(v.Message, maxMessage)
		violations[i] = v
	}
	return violations
}

// IsBrowsable says whether a file of a pack is also stored as a blob of its own, so that a console can show it without
// taking the archive apart.
func IsBrowsable(name string) bool {
	switch name {
	case MetadataFile, ValuesFile, ReadmeFile, LogoFile, "logo.svg", "logo.jpg", "logo.jpeg", "logo.webp", schemaFile, presetsFile:
		return true
	}
	return false
}

// shownFiles counts the bytes of the files that IsBrowsable names, of a directory and of an archive alike.
type shownFiles int64

// add adds a file, and says what is wrong with that.
func (s *shownFiles) add(name string, size int64) (problem string) {
	limit := int64(maxBrowsable)
	if name == MetadataFile {
		limit = maxMetadata
	}
	if size > limit {
		return fmt.Sprintf("larger than %d bytes", limit)
	}
	if *s += shownFiles(size); *s > maxBrowsableSum {
		return fmt.Sprintf("the files that a console shows are larger than %d bytes together", maxBrowsableSum)
	}
	return ""
}
