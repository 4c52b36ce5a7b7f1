package auth

import (
	"regexp"
	"slices"
	"strings"

	"packregistry.dev/server/config"
)

// Action is what somebody wants to do with a repository.
type Action string

// The actions that the configuration knows.
const (
	Pull   Action = "pull"
	Push   Action = "push"
	Delete Action = "delete"
)

// Policy says who may do what. Its zero value lets every user do everything, and nobody else anything.
type Policy struct {
	anonymousPull bool
	readOnly      map[string]bool
	rules         []rule
}

type rule struct {
	users     []string
	anonymous bool
	pattern   *regexp.Regexp
	actions   []string
}

// NewPolicy makes a policy of a valid configuration.
func NewPolicy(c config.Access) *Policy {
	p := &Policy{anonymousPull: c.AnonymousPull, readOnly: map[string]bool{}}
	for _, user := range c.ReadOnlyUsers {
		p.readOnly[user] = true
	}
	for _, r := range c.Rules {
		p.rules = append(p.rules, rule{r.Users, r.Anonymous, compile(r.Repositories), r.Actions})
	}
	return p
}

// compile makes one expression of patterns: * is anything within a component, ** anything at all.
func compile(patterns []string) *regexp.Regexp {
	alternatives := make([]string, 0, len(patterns))
	for _, pattern := range patterns {
		quoted := regexp.QuoteMeta(pattern)
		quoted = strings.ReplaceAll(quoted, `\*\*`, `.*`)
		alternatives = append(alternatives, strings.ReplaceAll(quoted, `\*`, `[^/]*`))
	}
	return regexp.MustCompile(`^(?:` + strings.Join(alternatives, "|") + `)$`)
}

// Allows says whether user may do that with the repository. The empty user is somebody without a credential.
func (p *Policy) Allows(user string, a Action, repository string) bool {
	if a == Pull && p.anonymousPull {
		return true
	}
	if a != Pull && p.readOnly[user] {
		return false
	}
	if len(p.rules) == 0 {
		return user != ""
	}
	return slices.ContainsFunc(p.rules, func(r rule) bool {
		return r.covers(user) && slices.Contains(r.actions, string(a)) && r.pattern.MatchString(repository)
	})
}

func (r rule) covers(user string) bool {
	if r.anonymous {
		return true
	}
	return user != "" && (slices.Contains(r.users, user) || slices.Contains(r.users, "*"))
}

// Anonymous says whether there is anything that somebody without a credential may do.
func (p *Policy) Anonymous() bool {
	return p.anonymousPull || slices.ContainsFunc(p.rules, func(r rule) bool { return r.anonymous })
}

// Everything says whether user may pull every repository, so that lists need no filter.
func (p *Policy) Everything(user string) bool {
	return p.anonymousPull || len(p.rules) == 0 && user != ""
}
