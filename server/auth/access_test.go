package auth

import (
	"testing"

	"packregistry.dev/server/config"
)

func TestPolicy(t *testing.T) {
	rules := config.Access{ReadOnlyUsers: []string{"console"}, Rules: []config.AccessRule{
		{Users: []string{"ann"}, Repositories: []string{"spectro-packs/archive/team-a-*"}, Actions: []string{"pull", "push"}},
		{Users: []string{"*"}, Repositories: []string{"shared/**"}, Actions: []string{"pull", "push", "delete"}},
		{Anonymous: true, Repositories: []string{"public/*", "open"}, Actions: []string{"pull"}},
	}}
	for _, tt := range []struct {
		name       string
		access     config.Access
		user       string
		action     Action
		repository string
		want       bool
	}{
		{"no rules: a user may push", config.Access{}, "ann", Push, "a", true},
		{"no rules: a user may delete", config.Access{}, "ann", Delete, "a", true},
		{"no rules: nobody else", config.Access{}, "", Pull, "a", false},
		{"anonymous pull", config.Access{AnonymousPull: true}, "", Pull, "a", true},
		{"anonymous pull is no push", config.Access{AnonymousPull: true}, "", Push, "a", false},
		{"anonymous pull: users push", config.Access{AnonymousPull: true}, "ann", Push, "a", true},
		{"read-only pulls", config.Access{ReadOnlyUsers: []string{"r"}}, "r", Pull, "a", true},
		{"read-only does not push", config.Access{ReadOnlyUsers: []string{"r"}}, "r", Push, "a", false},
		{"read-only does not delete", config.Access{ReadOnlyUsers: []string{"r"}}, "r", Delete, "a", false},
		{"read-only: others push", config.Access{ReadOnlyUsers: []string{"r"}}, "ann", Push, "a", true},
		{"granted", rules, "ann", Push, "spectro-packs/archive/team-a-dns", true},
		{"another action", rules, "ann", Delete, "spectro-packs/archive/team-a-dns", false},
		{"another repository", rules, "ann", Pull, "spectro-packs/archive/team-b-dns", false},
		{"a star stays in its component", rules, "ann", Pull, "spectro-packs/archive/team-a-x/y", false},
		{"a pattern is the whole name", rules, "ann", Pull, "x/spectro-packs/archive/team-a-dns", false},
		{"another user", rules, "bob", Pull, "spectro-packs/archive/team-a-dns", false},
		{"every user, any depth", rules, "bob", Delete, "shared/a/b/c", true},
		{"every user is not nobody", rules, "", Pull, "shared/a", false},
		{"read-only, whatever the rules say", rules, "console", Push, "shared/a", false},
		{"read-only by the rules", rules, "console", Pull, "shared/a", true},
		{"anonymous by a rule", rules, "", Pull, "public/a", true},
		{"anonymous by a rule, users too", rules, "bob", Pull, "open", true},
		{"anonymous by a rule, no deeper", rules, "", Pull, "public/a/b", false},
		{"anonymous does not push", rules, "", Push, "public/a", false},
		{"a dot is a dot", config.Access{Rules: []config.AccessRule{{Users: []string{"a"}, Repositories: []string{"x.y"}, Actions: []string{"pull"}}}}, "a", Pull, "xzy", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := NewPolicy(tt.access).Allows(tt.user, tt.action, tt.repository); got != tt.want {
				t.Errorf("%q, %s, %s: %v", tt.user, tt.action, tt.repository, got)
			}
		})
	}
	if NewPolicy(config.Access{}).Anonymous() || !NewPolicy(rules).Anonymous() || !NewPolicy(config.Access{AnonymousPull: true}).Anonymous() {
		t.Error("Anonymous")
	}
}
