package store

import (
	"regexp"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/internal/testfuzz"
)

// The grammars as the distribution specification 1.1 writes them ("Pulling manifests"), with "_" or "__" as in its text.
var (
	nameGrammar = regexp.MustCompile(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagGrammar  = regexp.MustCompile(`^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$`)
)

func checkGrammar(t *testing.T, s string) {
	t.Helper()
	if strings.HasSuffix(s, "\n") { // which "$" overlooks
		if ValidName(s) || ValidTag(s) {
			t.Errorf("%q is taken", s)
		}
		return
	}
	if want := len(s) <= maxName && nameGrammar.MatchString(s); ValidName(s) != want {
		t.Errorf("ValidName(%q) = %v", s, !want)
	}
	if want := tagGrammar.MatchString(s); ValidTag(s) != want {
		t.Errorf("ValidTag(%q) = %v", s, !want)
	}
	d := digest.Digest(s)
	if want := d.Validate() == nil && (d.Algorithm() == digest.SHA256 || d.Algorithm() == digest.SHA512); SupportedDigest(d) != want {
		t.Errorf("SupportedDigest(%q) = %v", s, !want)
	}
}

// Every word of up to six of the characters that matter: far more than one would think of.
func TestGrammarExhaustively(t *testing.T) {
	const letters = "a0._-/A"
	words := []string{""}
	for range 6 {
		var longer []string
		for _, w := range words {
			for _, c := range letters {
				longer = append(longer, w+string(c))
			}
		}
		for _, w := range longer {
			checkGrammar(t, w)
		}
		words = longer
	}
}

func FuzzGrammar(f *testing.F) {
	for _, s := range []string{"", "a/b", "a--b", "a__b", "a___b", "a..b", "v1.0_x", strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("t", 129), "é", "a\n",
		"sha256:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64), "sha512:" + strings.Repeat("0", 128), "sha384:" + strings.Repeat("0", 96), "sha256:", ":", "x:y:z"} {
		f.Add(s)
	}
	f.Add(strings.Repeat("a/", 20000))
	f.Add("a" + strings.Repeat("-", 20000))
	f.Fuzz(func(t *testing.T, s string) {
		checkGrammar(t, s)
		testfuzz.Proportionate(t, len(s), func() { ValidName(s); ValidTag(s); SupportedDigest(digest.Digest(s)) })
	})
}
