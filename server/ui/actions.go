package ui

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
)

// Changes changes packs for the sender of one request. What that user may not do is an error with a method HTTPStatus.
type Changes interface {
	// Tag gives a version a tag. One that names another version is moved if move is true, else ErrTagExists is returned.
	Tag(ctx context.Context, packName, tag string, d digest.Digest, message string, move bool) error
	// Untag takes a tag away; ErrNotFound says that there is none.
	Untag(ctx context.Context, packName, tag, message string) error
	// Keeps says how long a version stays available by its digest once no tag names it; 0 where nothing is collected.
	Keeps() time.Duration
}

// ErrTagExists says that a tag names another version.
var ErrTagExists = errors.New("the tag names another version")

// maxMessage is how many characters a message of the history has.
const maxMessage = 500

// maxTagsRead bounds how many tags of a pack are compared with a version that goes.
const maxTagsRead = 1000

// changes returns what changes the pack of a request, if the viewer may do that.
func (h *Handler) changes(r *request, action Action) (Changes, error) {
	name := r.PathValue("name")
	switch {
	case h.Changes == nil:
		return nil, &failure{Status: http.StatusForbidden, Heading: "This is not done on these pages", Text: "The registry's configuration (ui.actions) does not offer it. Use packctl."}
	case r.viewer.May(action, name):
		return h.Changes(r.Request), nil
	}
	r.viewer.Refused(action, name)
	if r.viewer.User() == "" && r.viewer.CanLogIn() {
		return nil, ErrLogin
	}
	return nil, &failure{Status: http.StatusForbidden, Heading: "Not allowed", Text: whom(r) + " may not do that with " + name + " on these pages (auth.access, ui.actions)."}
}

// message is what a form says of a change.
func message(r *request) (string, error) {
	text := strings.TrimSpace(r.PostForm.Get("message"))
	if len([]rune(text)) > maxMessage {
		return "", &failure{Status: http.StatusBadRequest, Heading: "The message is too long", Text: "It may have " + count(maxMessage, "character") + "."}
	}
	return text, nil
}

// change reads the form of an action.
func (h *Handler) change(w http.ResponseWriter, r *request, action Action) (c Changes, text string, err error) {
	if c, err = h.changes(r, action); err != nil {
		if errors.Is(err, ErrLogin) { // after which a form cannot be sent again by a link
			err = &failure{Status: http.StatusForbidden, Heading: "Nobody is logged in", Text: "Nothing was changed. Log in and send the form again."}
		}
		return nil, "", err
	}
	if err = readForm(w, r); err != nil {
		return nil, "", err
	}
	text, err = message(r)
	return c, text, err
}

func (h *Handler) versionsOf(name string) string {
	return h.Base + "packs/" + url.PathEscape(name)
}

// changed leads back to the pack, by GET.
func (h *Handler) changed(w http.ResponseWriter, r *request, reference string) {
	w.Header().Set("Cache-Control", "no-store")
	to := h.versionsOf(r.PathValue("name"))
	if reference != "" {
		to += "/" + url.PathEscape(reference) + "/versions"
	}
	http.Redirect(w, r.Request, to, http.StatusSeeOther)
}

func (h *Handler) postUntag(w http.ResponseWriter, r *request) error {
	c, text, err := h.change(w, r, Untag)
	if err != nil {
		return err
	}
	tag := r.PathValue("reference")
	if pack.IsParentTag(tag) {
		return &failure{Status: http.StatusBadRequest, Heading: tag + " is a parent tag", Text: "It goes with the last version below it."}
	}
	if d := r.PostForm.Get("digest"); d != "" {
		switch named, err := r.registry.Pack(r.PathValue("name")).Version(r.Context(), tag); {
		case err != nil && !errors.Is(err, ErrNotFound):
			return err
		case err == nil && named.Digest.String() != d:
			return movedMeanwhile(tag)
		}
	}
	// Who sends the form again finds it done.
	if err := c.Untag(r.Context(), r.PathValue("name"), tag, text); err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	h.changed(w, r, h.remaining(r))
	return nil
}

// remaining is a reference of the pack by which its versions are shown after a change: the newest that is there.
func (h *Handler) remaining(r *request) string {
	tags, _, err := r.registry.Pack(r.PathValue("name")).Tags(r.Context())
	if err != nil || len(tags) == 0 {
		return ""
	}
	return tags[0]
}

func (h *Handler) postTag(w http.ResponseWriter, r *request) error {
	c, text, err := h.change(w, r, Tag)
	if err != nil {
		return err
	}
	name, reference, tag := r.PathValue("name"), r.PathValue("reference"), strings.TrimSpace(r.PostForm.Get("tag"))
	v, err := r.registry.Pack(name).Version(r.Context(), reference)
	if err != nil {
		return err
	}
	if d := r.PostForm.Get("digest"); d != "" && d != v.Digest.String() {
		return movedMeanwhile(reference)
	}
	switch err := c.Tag(r.Context(), name, tag, v.Digest, text, r.PostForm.Get("move") != ""); {
	case errors.Is(err, ErrTagExists):
		return &failure{Status: http.StatusConflict, Heading: tag + " names another version", Text: "Nothing was changed. Go back and choose to move it, if that is meant."}
	case err != nil:
		return err
	}
	h.changed(w, r, tag)
	return nil
}

func movedMeanwhile(reference string) error {
	return &failure{Status: http.StatusConflict, Heading: reference + " names another version by now", Text: "Nothing was changed. Look at it again before you go on."}
}

// deletion is what goes and what stays with a version.
type deletion struct {
	Pack, DisplayName, Reference string
	// Shown is the version as people write it.
	Shown   string
	Version Version
	// Tags go, the version's own first, then aliases.
	Tags []string
	// More is set where the pack has so many tags that others may name the version too.
	More bool
	// Remaining are the other tags, of which Others are shown.
	Others    []string
	OtherTags int
	Parents   []parentMove
	Attached  []Attachment
	// Until is when the version goes for good; it is zero where nothing is collected.
	Until time.Time
	Days  int
	// Confirmed is what was entered, where it was not the version.
	Confirmed string
	// New says that tags are on the list that the form which was sent did not have.
	New bool
}

// parentMove is a parent tag that will name another version, or none.
type parentMove struct{ Parent, Now, After string }

// parentsAfter are the parent tags whose target changes when the tags in gone go. tags are all tags of the pack.
func parentsAfter(tags, gone []string) []parentMove {
	left := slices.DeleteFunc(slices.Clone(tags), func(tag string) bool { return slices.Contains(gone, tag) })
	var moves []parentMove
	seen := map[string]bool{}
	for _, tag := range gone {
		for _, parent := range pack.Parents(tag) {
			if seen[parent] {
				continue
			}
			seen[parent] = true
			if now := pack.Newest(tags, parent); slices.Contains(gone, now) {
				moves = append(moves, parentMove{parent, now, pack.Newest(left, parent)})
			}
		}
	}
	return moves
}

// askedToDelete reads what the page that asks lists.
func (h *Handler) askedToDelete(r *request, c Changes) (deletion, error) {
	name, reference := r.PathValue("name"), r.PathValue("reference")
	d := deletion{Pack: name, DisplayName: name, Reference: reference}
	p := r.registry.Pack(name)
	v, err := p.Version(r.Context(), reference)
	if err != nil {
		return d, err
	}
	d.Version = v
	tags, more, err := p.Tags(r.Context())
	if err != nil {
		return d, err
	}
	d.More = more
	for i, tag := range tags {
		if i == maxTagsRead {
			d.More = true
			break
		}
		named, err := p.Version(r.Context(), tag)
		switch {
		case errors.Is(err, ErrNotFound): // it went meanwhile
		case err != nil:
			return d, err
		case named.Digest != v.Digest:
			d.OtherTags++
			if len(d.Others) < 20 {
				d.Others = append(d.Others, tag)
			}
		case pack.IsVersionTag(tag):
			d.Tags = slices.Insert(d.Tags, 0, tag)
		default:
			d.Tags = append(d.Tags, tag)
		}
	}
	if len(d.Tags) == 0 {
		return d, ErrNotFound // by its digest alone it is available, and deleted already
	}
	d.Shown = d.Tags[0]
	d.Parents = parentsAfter(tags, d.Tags)
	if d.Attached, err = p.Attached(r.Context(), v, 100); err != nil {
		return d, err
	}
	if kept := c.Keeps(); kept > 0 {
		d.Until, d.Days = h.Now().Add(kept), int((kept+24*time.Hour-1)/(24*time.Hour))
	}
	return d, nil
}

func (h *Handler) askDelete(w http.ResponseWriter, r *request) error {
	c, err := h.changes(r, Delete)
	if err != nil {
		return err
	}
	d, err := h.askedToDelete(r, c)
	if err != nil {
		return err
	}
	return h.showDeletion(w, r, http.StatusOK, d)
}

func (h *Handler) showDeletion(w http.ResponseWriter, r *request, status int, d deletion) error {
	return h.render(w, r, content{Template: "delete", Status: status, Title: "Delete " + d.Pack + " " + d.Shown, Section: "packs", Data: d})
}

func (h *Handler) postDelete(w http.ResponseWriter, r *request) error {
	c, text, err := h.change(w, r, Delete)
	if err != nil {
		return err
	}
	d, err := h.askedToDelete(r, c)
	if errors.Is(err, ErrNotFound) { // who sends the form again finds it done
		h.changed(w, r, h.remaining(r))
		return nil
	}
	if err != nil {
		return err
	}
	listed := r.PostForm["tag"]
	d.New = slices.ContainsFunc(d.Tags, func(tag string) bool { return !slices.Contains(listed, tag) })
	d.Confirmed = strings.TrimSpace(r.PostForm.Get("confirm"))
	switch {
	case r.PostForm.Get("digest") != d.Version.Digest.String():
		return movedMeanwhile(d.Reference)
	case d.New:
		return h.showDeletion(w, r, http.StatusConflict, d)
	case d.Confirmed != d.Shown:
		return h.showDeletion(w, r, http.StatusBadRequest, d)
	}
	// The version's own tag last: until then the page can be sent again, should something fail in between.
	for _, tag := range slices.Backward(d.Tags) {
		if err := c.Untag(r.Context(), d.Pack, tag, text); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	h.changed(w, r, h.remaining(r))
	return nil
}
