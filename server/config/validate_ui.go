package config

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxTitle is how many characters the pages' title may have: it is in one line with the menu, and in every page.
const maxTitle = 60

// uiActions are what pages can offer, besides looking.
var uiActions = []string{"tag", "untag", "delete"}

func (d *decoder) validateUI(c *Config) {
	ui := c.UI
	switch {
	case utf8.RuneCountInString(ui.Title) > maxTitle:
		d.fail("ui.title: has %d characters; use at most %d", utf8.RuneCountInString(ui.Title), maxTitle)
	case strings.ContainsFunc(ui.Title, unicode.IsControl):
		d.fail("ui.title: must not hold control characters or line breaks")
	}
	for _, action := range ui.Actions {
		if !slices.Contains(uiActions, action) {
			d.fail("ui.actions: %q is none of tag, untag, delete", action)
		}
	}
	switch {
	case len(ui.Actions) == 0:
	case !c.UIEnabled():
		d.warn("ui.actions: have no effect without the pages (ui.enabled)")
	case !c.DeleteEnabled() && (slices.Contains(ui.Actions, "untag") || slices.Contains(ui.Actions, "delete")):
		d.warn("ui.actions: untag and delete have no effect while deleting is turned off (storage.delete.enabled)")
	}
}
