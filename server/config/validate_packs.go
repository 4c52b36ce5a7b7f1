package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxBasePaths bounds what a page of the catalog has to look through.
	maxBasePaths = 16
	// maxBasePath leaves room for the pack's name in a repository's, which clients hold to 255 characters.
	maxBasePath = 100
)

// packsComponent is the first component of what clients add to a base path.
const packsComponent = "spectro-packs"

// basePathGrammar is the specification's of a repository's name (OCI distribution 1.1, "Pulling manifests").
var basePathGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)

func (d *decoder) validateBasePaths(c *Config) {
	bases := c.Packs.BasePaths
	if len(bases) > maxBasePaths {
		d.fail("packs.basepaths: has %d; use at most %d", len(bases), maxBasePaths)
		return
	}
	for i, base := range bases {
		path := fmt.Sprintf("packs.basepaths[%d]", i)
		switch {
		case len(base) > maxBasePath:
			d.fail("%s: has %d characters; use at most %d", path, len(base), maxBasePath)
		case !basePathGrammar.MatchString(base):
			d.fail("%s: %q: use lower-case letters and digits, separated by '.', '_', '-' or '/', such as prod or team/prod", path, base)
		case slices.Contains(strings.Split(base, "/"), packsComponent):
			d.fail("%s: %q: leave %s out, which clients add to a base path themselves", path, base, packsComponent)
		case slices.Contains(bases[:i], base):
			d.fail("%s: %q is there twice; leave one out", path, base)
		}
	}
	if c.Auth == nil {
		return
	}
	for i, rule := range c.Auth.Access.Rules {
		for _, pattern := range rule.Repositories {
			if slices.ContainsFunc(bases, func(base string) bool { return strings.HasPrefix(pattern, base+"/") }) {
				d.warn("auth.access.rules[%d].repositories: %q matches nothing: packs below a base path (packs.basepaths) go by their own names, %s/archive/<name>", i, pattern, packsComponent)
			}
		}
	}
}
