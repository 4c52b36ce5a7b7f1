package config

import (
	"strings"
	"testing"
)

func TestActionsWithoutEffectWarn(t *testing.T) {
	for text, want := range map[string]string{
		minimal + "ui: {actions: [tag]}\n":                                        "",
		minimal + "ui: {enabled: false, actions: [tag]}\n":                        "ui.enabled",
		minimal2("delete: {enabled: false}") + "ui: {actions: [untag]}\n":         "storage.delete.enabled",
		minimal2("delete: {enabled: false}") + "ui: {actions: [tag], title: x}\n": "",
	} {
		_, warnings := parse(t, text)
		if got := strings.Join(warnings, "\n"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s\nwarns %q, want %q", text, got, want)
		}
	}
}

func TestPagesAreOnByDefaultAndChangeNothing(t *testing.T) {
	c, _ := parse(t, minimal)
	if !c.UIEnabled() || len(c.UI.Actions) != 0 || c.UI.Title != "PackRegistry" {
		t.Errorf("%+v", c.UI)
	}
	if c, _ = parse(t, minimal, "REGISTRY_UI_ENABLED=false", "REGISTRY_UI_ACTIONS=[tag, delete]"); c.UIEnabled() || len(c.UI.Actions) != 2 {
		t.Errorf("by variables: %+v", c.UI)
	}
}
