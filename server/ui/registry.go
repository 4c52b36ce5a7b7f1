package ui

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// Errors that a Registry returns, perhaps wrapped. Others that have a method HTTPStatus() int are shown with that status and their
// message; all the rest are the registry's own failures, and logged.
var (
	// ErrNotFound is for what is not there, or not for this viewer.
	ErrNotFound = errors.New("not found")
	// ErrLogin is for what nobody may see without a login.
	ErrLogin = errors.New("a login is needed")
	// ErrTooLarge is for a file that is larger than what was to be read of it.
	ErrTooLarge = errors.New("too large")
)

// Viewer is who looks at the pages.
type Viewer interface {
	// User is empty for somebody who is not logged in.
	User() string
	// CanLogIn says whether the registry has users, so that a login is offered.
	CanLogIn() bool
	// May says whether the viewer may do that with a pack, on these pages: Push, Delete, Tag and Untag; pulling is the Registry's matter.
	May(action Action, packName string) bool
	// Refused records that the viewer asked for an action that May does not allow.
	Refused(action Action, packName string)
}

// Action is something that the pages offer, besides looking.
type Action string

// The actions. Push changes nothing here; it says whether somebody sees what concerns those who push.
const (
	Push   Action = "push"
	Tag    Action = "tag"
	Untag  Action = "untag"
	Delete Action = "delete"
)

// Registry is what the pages see of the registry, for one viewer.
type Registry interface {
	// Search lists packs.
	Search(ctx context.Context, q Query) (List, error)
	// Pack is a pack of that name, which need not exist.
	Pack(name string) Pack
	// About is what the registry says of itself.
	About(ctx context.Context) (About, error)
}

// Query is what is asked of the list of packs. Empty fields ask for nothing.
type Query struct {
	// Text is words, each of which is in the name, the display name or the description.
	Text string
	// Layer, Type (addonType), Cloud and Source are as in pack.json.
	Layer, Type, Cloud, Source string
	// State is "" for all but disabled ones, "current", "deprecated", "disabled" or "all".
	State string
	// ByDate sorts by the last push, the newest first, else by name.
	ByDate bool
	// After is List.More of the page before.
	After string
	// Limit is how many packs to return.
	Limit int
}

// List is a page of the list of packs.
type List struct {
	Packs []Summary
	// More continues the list; it is empty at its end.
	More string
	// Found is how many packs the query fits, and Total how many there are; Indexed of these are known to the search by now.
	Found, Total, Indexed int
	// Types and Sources are the values that there are to filter by.
	Types, Sources []string
}

// Summary is a pack in the list, by its newest version.
type Summary struct {
	Name, DisplayName, Description string
	// Tag is the newest version's, empty for a pack that has none; then Digest is too.
	Tag    string
	Digest digest.Digest
	// Versions is how many there are.
	Versions            int
	Layer, Type, Source string
	// State is "", "deprecated" or "disabled".
	State string
	// Logo says whether the version has a logo.png.
	Logo bool
	// Pushed is when the newest version came.
	Pushed time.Time
}

// Pack is one pack. Each method returns ErrNotFound, or ErrLogin, where there is no such thing for this viewer.
type Pack interface {
	// Tags returns the stored tags of versions and aliases (neither parents nor signatures), in the order of pack.SortTags, and whether
	// there are more than it returns.
	Tags(ctx context.Context) (tags []string, more bool, err error)
	// Version returns what a tag, a parent tag or a digest names.
	Version(ctx context.Context, reference string) (Version, error)
	// Files lists the files of a version.
	Files(ctx context.Context, v Version) ([]pack.File, error)
	// Read reads files of a version. Those that it lacks are left out; one that is larger than limit, in bytes, is ErrTooLarge.
	Read(ctx context.Context, v Version, limit int64, names ...string) (map[string][]byte, error)
	// Copy writes a file of a version, however large.
	Copy(ctx context.Context, v Version, name string, to io.Writer) error
	// Attached returns what refers to a version: signatures, bills of materials, at most limit of it.
	Attached(ctx context.Context, v Version, limit int) ([]Attachment, error)
	// History returns how tags changed, the newest change first, at most limit of it.
	History(ctx context.Context, limit int) ([]Change, error)
}

// Version is a version of a pack.
type Version struct {
	Digest digest.Digest
	// Archive is the layer's digest, and Size the archive's in bytes.
	Archive digest.Digest
	Size    int64
	Pushed  time.Time
	// By is the user who pushed it; empty where it is not known, or not this viewer's business.
	By string
}

// Attachment is an artifact that refers to a version.
type Attachment struct {
	Type   string
	Digest digest.Digest
	Size   int64
}

// Change is one change of a tag.
type Change struct {
	Time time.Time
	Tag  string
	// From is empty for a new tag, To for one that went.
	From, To digest.Digest
	By       string
	Message  string
}

// About is what the registry says of itself. Storage, Free and Capacity are empty where they are not known, or not for this viewer.
type About struct {
	Storage        string
	Free, Capacity uint64
	Validated      bool
	Deletable      bool
	ReadOnly       bool
}
