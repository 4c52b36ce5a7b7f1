package htpasswd_test

import (
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/htpasswd"
	"packregistry.dev/internal/testfuzz"
)

// good is well-formed; of what password does not matter.
const good = "$2y$05$2NtXfQ0EmVRpmvt.Bs6AruAXM79A4EQfSEHgH4kyChKZAhCdrOxNS"

func hashed(t testing.TB) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 4)
	if err != nil {
		t.Fatal(err)
	}
	return string(hash)
}

func TestLinesThatMatch(t *testing.T) {
	hash := hashed(t)
	for name, text := range map[string]string{
		"plain":                       "ann:" + hash + "\n",
		"no newline at the end":       "ann:" + hash,
		"Windows' line ends":          "# users\r\n\r\nann:" + hash + "\r\n",
		"a byte order mark":           "\ufeffann:" + hash + "\n",
		"a mark before a comment":     "\ufeff# users\nann:" + hash + "\n",
		"a mark where files were put": "# users\n\ufeffann:" + hash + "\n",
		"the prefix of PHP":           "ann:$2y$" + hash[4:] + "\n",
		"spaces around the line":      "  ann:" + hash + "  \n",
	} {
		f, err := htpasswd.Parse([]byte(text))
		if err != nil || len(f.Entries) != 1 || len(f.Unusable) != 0 {
			t.Errorf("%s: %+v, %v", name, f, err)
			continue
		}
		e := f.Entries[0]
		if err := bcrypt.CompareHashAndPassword([]byte(e.Hash), []byte("secret")); err != nil || e.User != "ann" || e.Cost != 4 {
			t.Errorf("%s: user %q, cost %d, %v", name, e.User, e.Cost, err)
		}
	}
}

// Every line that no password can match is named by its number, and nothing of it is shown.
func TestLinesThatNeverMatch(t *testing.T) {
	hash := hashed(t)
	last := strings.IndexByte("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", hash[59])
	odd := hash[:59] + string("./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"[last+1])
	for _, tt := range []struct{ name, line, want string }{
		{"one character short", "ann:" + hash[:59], "damaged bcrypt hash of 59 characters"},
		{"one character more", "ann:" + hash + "x", "damaged bcrypt hash of 61 characters"},
		{"a foreign character", "ann:" + hash[:30] + "!" + hash[31:], "damaged bcrypt hash"},
		{"bits that no hash has", "ann:" + odd, "damaged bcrypt hash"},
		{"quotes around the line", `"ann:` + hash + `"`, "quotes"},
		{"quotes around the hash", `ann:'` + hash + `'`, "quotes"},
		{"a space before the hash", "ann: " + hash, "a space before"},
		{"a cost that there is not", "ann:$2y$99$" + hash[7:], "a cost that there is not"},
		{"a cost of hours", "ann:$2y$31$" + hash[7:], "cost 31; 4 to 14"},
		{"a cost of seconds", "ann:$2y$15$" + hash[7:], "cost 15; 4 to 14"},
		{"a cost that is too cheap", "ann:$2y$03$" + hash[7:], "a cost that there is not"},
		{"a control character in the name", "a\x1bnn:" + hash, "control characters"},
		{"a name in Latin-1", "J\xf6rg:" + hash, "no UTF-8"},
		{"MD5", "ann:$apr1$abcdefgh$ijklmnop", "an MD5 hash"},
		{"SHA-1", "ann:{SHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "a SHA-1 hash"},
		{"SHA-2", "ann:$6$abcdefgh$ijklmnop", "a SHA-2 crypt hash"},
		{"plain text", "ann:hunter2", "no hash that is known"},
		{"no hash at all", "ann:", "no hash that is known"},
		{"a user's second line", "bob:" + hash, "line 1 is the same user's"},
	} {
		f, err := htpasswd.Parse([]byte("bob:" + good + "\n" + tt.line + "\n"))
		if err != nil || len(f.Entries) != 1 || len(f.Unusable) != 1 || f.Unusable[0].Line != 2 || !strings.Contains(f.Unusable[0].Reason, tt.want) {
			t.Errorf("%s: %+v, %v; want line 2 with %q", tt.name, f, err, tt.want)
			continue
		}
		_, content, _ := strings.Cut(tt.line, ":")
		if content = strings.Trim(content, `"' `); content != "" && strings.Contains(f.Unusable[0].Reason, content) {
			t.Errorf("%s: the reason shows the line: %s", tt.name, f.Unusable[0].Reason)
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no colon": {"# users\nhunter2\n", "line 2: not of the form"},
		"no user":  {":" + good + "\n", "line 1: not of the form"},
		"UTF-16":   {"\xff\xfea\x00:\x00$\x00", "UTF-8"},
	} {
		if _, err := htpasswd.Parse([]byte(tt.text)); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// A name that passes is the one that its line is read as.
func FuzzCheckUser(f *testing.F) {
	for _, user := range []string{"ann", "#ann", " ann", "ann ", `"ann`, "a\x00n", "\ufeffann", "a:b", "J\xf6rg", "Jörg", "a\nb", "a\u2028b", ""} {
		f.Add(user)
	}
	f.Fuzz(func(t *testing.T, user string) {
		testfuzz.Proportionate(t, len(user), func() {
			htpasswd.CheckUser(user) //nolint:errcheck // whatever it says
		})
		file, err := htpasswd.Parse([]byte(user + ":" + good + "\n"))
		reads := err == nil && len(file.Entries) == 1 && file.Entries[0].User == user
		if err := htpasswd.CheckUser(user); (err == nil) != reads {
			t.Errorf("%q: %v, but its line is read: %v", user, err, reads)
		}
	})
}

// What Parse calls usable is what bcrypt can compare, for whatever text.
func FuzzParse(f *testing.F) {
	f.Add("ann:" + good)
	f.Add("\ufeffann:" + good + "\r\n\"bob:" + good + "\"")
	f.Add(strings.Repeat("a:"+good+"\n", 2000))
	f.Add(strings.Repeat(":\n", 20000))
	f.Fuzz(func(t *testing.T, text string) {
		testfuzz.Proportionate(t, len(text), func() {
			htpasswd.Parse([]byte(text)) //nolint:errcheck // whatever it says
		})
		file, err := htpasswd.Parse([]byte(text))
		if err != nil {
			return
		}
		for _, e := range file.Entries {
			if cost, err := bcrypt.Cost([]byte(e.Hash)); err != nil || cost != e.Cost || len(e.Hash) < 59 {
				t.Errorf("line %d: cost %d, %v", e.Line, cost, err)
			}
		}
	})
}
