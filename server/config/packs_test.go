package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestBasePaths(t *testing.T) {
	many := make([]string, maxBasePaths+1)
	for i := range many {
		many[i] = fmt.Sprint("p", i)
	}
	for bases, want := range map[string]string{
		"[prod, team/prod, a.b_c__d-e/0, team]": "",
		"prod":                                  "",
		"[]":                                    "",
		"[" + strings.Repeat("a", maxBasePath) + "]":   "",
		"[" + strings.Join(many[1:], ",") + "]":        "",
		"[" + strings.Join(many, ",") + "]":            "packs.basepaths: has 17; use at most 16",
		"[" + strings.Repeat("a", maxBasePath+1) + "]": "packs.basepaths[0]: has 101 characters",
		"[a, Prod]":                            `packs.basepaths[1]: "Prod": use lower-case`,
		"[/prod]":                              "such as prod or team/prod",
		"[prod/]":                              "such as prod",
		"[a//b]":                               "such as prod",
		"[a/../b]":                             "such as prod",
		"['']":                                 "such as prod",
		"['a b']":                              "such as prod",
		`["a\nb"]`:                             "such as prod",
		`["a\n"]`:                              "such as prod",
		"[_catalog]":                           "such as prod",
		"[prod, dev, prod]":                    `packs.basepaths[2]: "prod" is there twice`,
		"[spectro-packs]":                      "leave spectro-packs out",
		"[prod/spectro-packs/archive]":         "leave spectro-packs out",
		"[prod, prod/spectro-packs/archive/x]": "leave spectro-packs out",
		"[spectro-packs-2, x.spectro-packs, spectro/packs/a]": "",
	} {
		_, warnings, err := Parse([]byte(minimal+"packs: {basepaths: "+bases+"}\n"), Options{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) || len(warnings) != 0 {
			t.Errorf("%s: %v, %v; want %q", bases, err, warnings, want)
		}
	}
}

func TestBasePathsOfVariables(t *testing.T) {
	for _, environ := range [][]string{
		{"REGISTRY_PACKS_BASEPATHS=[prod, a/b]"}, {"REGISTRY_PACKS_BASEPATHS_0=prod", "REGISTRY_PACKS_BASEPATHS_1=a/b"},
	} {
		if c, _ := parse(t, minimal, environ...); !slices.Equal(c.Packs.BasePaths, StringList{"prod", "a/b"}) {
			t.Errorf("%v: %v", environ, c.Packs.BasePaths)
		}
	}
	if c, _ := parse(t, minimal, "REGISTRY_PACKS_BASEPATHS=prod"); !slices.Equal(c.Packs.BasePaths, StringList{"prod"}) {
		t.Errorf("%v", c.Packs.BasePaths)
	}
}

func TestRulesBelowBasePathsWarn(t *testing.T) {
	for pattern, warns := range map[string]bool{"prod/**": true, "prod/spectro-packs/archive/x": true, "spectro-packs/archive/*": false, "production/*": false, "**": false} {
		_, warnings := parse(t, minimal+"packs: {basepaths: prod}\nauth: {htpasswd: {path: /p}, access: {rules: [{users: a, repositories: '"+pattern+"', actions: pull}]}}\n")
		if got := strings.Join(warnings, "\n"); strings.Contains(got, "auth.access.rules[0].repositories: ") != warns || (got != "") != warns {
			t.Errorf("%s: %q", pattern, got)
		}
	}
}
