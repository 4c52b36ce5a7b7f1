package client

import (
	"encoding/json"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

// The file of logins may be another program's. What is read is written back as it was.
func FuzzConfig(f *testing.F) {
	for _, text := range []string{
		`{"auths":{"a":{"auth":"YTpi","x":1}},"defaultRegistry":"a","credHelpers":{"b":"c"},"psFormat":"x"}`, `{"auths":null}`, `[]`, `{"auths":{"a":{"auth":1}}}`,
		`{"auths":{` + strings.Repeat(`"a":{},`, 5000) + `"b":{}}}`, `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var c Config
		testfuzz.Proportionate(t, len(text), func() {
			c = Config{}
			if json.Unmarshal(text, &c) != nil {
				c = Config{}
			}
		})
		again, err := json.Marshal(&c)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(again, &Config{}); err != nil {
			t.Errorf("what was read is not read again: %v\n%s", err, again)
		}
	})
}

func FuzzParseServer(f *testing.F) {
	for _, name := range []string{"packs.example.com:443", "https://a/v1/", "oci://a/b/c", "[::1]:5000", "http://a@b", "a?b", strings.Repeat("/", 10_000), strings.Repeat("[", 10_000)} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		testfuzz.Proportionate(t, len(name), func() {
			ParseServer(name) //nolint:errcheck // whatever it says
		})
		s, err := ParseServer(name)
		if err == nil && (s.Host == "" || strings.ContainsAny(s.Host, "/?#@")) {
			t.Errorf("%q is the host %q", name, s.Host)
		}
	})
}
