package children_test

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/testfuzz"
	"packregistry.dev/server/config"
)

// What the operator renders, the server reads, without a warning (I1).
func TestTheServerAcceptsTheConfiguration(t *testing.T) {
	for name, build := range registries {
		r := build()
		rendered, err := children.RenderConfig(r, input(r))
		if err != nil {
			t.Fatal(err)
		}
		text := rendered.Files["config.yml"]
		c, warnings, err := config.Parse(text, config.Options{})
		if len(r.Spec.Auth.SecretRefs) == 0 { // anonymous: the server says that nobody can push
			warnings = slices.DeleteFunc(warnings, func(w string) bool { return strings.Contains(w, "auth: has no users") })
		}
		if err != nil || len(warnings) > 0 {
			t.Fatalf("%s: %v %v\n%s", name, err, warnings, text)
		}
		if strings.Contains(string(text)+rendered.Name, "the-") {
			t.Errorf("%s: a secret in\n%s", name, text)
		}
		if name == "everything" {
			if _, there := c.HTTP.Headers["X-Frame-Options"]; there || !reflect.DeepEqual(c.HTTP.Headers["X-Added"], config.StringList{"a", "b"}) ||
				c.HTTP.TLS.MinimumTLS != "tls1.3" || c.Log.Level != "debug" || c.Auth.HTPasswd.Realm != "My Realm" {
				t.Errorf("read back as %+v", c)
			}
		}
	}
}

// The patterns of the CRD, for what is fuzzed below.
var (
	hostPattern     = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
	realmPattern    = regexp.MustCompile(`^[^"\\\r\n]*$`)
	endpointPattern = regexp.MustCompile(`^https?://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?$`)
	headerPattern   = regexp.MustCompile(`^[A-Za-z0-9!#$%&*+.^_|~-]+$`)
)

// Whatever the CRD lets through is rendered to what the server reads back as it was meant; or, where only the server can
// tell, refused with words that name the field.
func FuzzConfigIsAccepted(f *testing.F) {
	f.Add("X-A", "value", "realm", "field", "packs", "eu-west-1", "https://minio:9000", "root", "ops@example.com", "packs.example.com")
	f.Add("x-a", "a: b - c", "r: r", "0123", "yes", "~", "http://[::1]:9000/", "/a b/", "null", "1e3")
	f.Add("on", "#", "%", "{{.}}", "0x1", "true", "https://a:b@c", "..", "'", "0.0")
	f.Fuzz(func(t *testing.T, header, value, realm, field, bucket, region, endpoint, root, email, host string) {
		if !headerPattern.MatchString(header) || len(header) > 128 || !realmPattern.MatchString(realm) || !endpointPattern.MatchString(endpoint) || !hostPattern.MatchString(host) ||
			len(bucket) < 3 || len(bucket) > 63 || slices.ContainsFunc([]string{value, realm, field, bucket, region, endpoint, root, email}, unprintable) {
			return // the CRD, or JSON, lets none of this through
		}
		r := registry(v1alpha1.PackRegistrySpec{
			Hosts:   []string{host},
			Storage: v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: bucket, Region: region, Endpoint: endpoint, RootDirectory: root}},
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}, Realm: realm},
			TLS:     v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{Email: email}},
			Headers: map[string]v1alpha1.HeaderValues{header: {value}},
			Log:     v1alpha1.LogSpec{Fields: map[string]string{"f": field}},
		})
		size := len(header) + len(value) + len(realm) + len(field) + len(bucket) + len(region) + len(endpoint) + len(root) + len(email) + len(host)
		testfuzz.Proportionate(t, size, func() {
			children.RenderConfig(r, children.ConfigInput{}) //nolint:errcheck // whatever it says
		})
		rendered, err := children.RenderConfig(r, children.ConfigInput{})
		if err != nil {
			if !regexp.MustCompile(`storage\.s3|letsencrypt|http\.headers|auth\.htpasswd`).MatchString(err.Error()) {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		c, _, err := config.Parse(rendered.Files["config.yml"], config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{c.Storage.S3.Bucket, c.Storage.S3.Region, c.Storage.S3.RegionEndpoint, c.Storage.S3.RootDirectory, c.HTTP.TLS.LetsEncrypt.Email, c.HTTP.TLS.LetsEncrypt.Hosts[0]}
		if want := []string{bucket, region, endpoint, root, email, host}; !slices.Equal(got, want) {
			t.Errorf("%q is read as %q", want, got)
		}
		if realm != "" && c.Auth.HTPasswd.Realm != realm {
			t.Errorf("realm %q is read as %q", realm, c.Auth.HTPasswd.Realm)
		}
		if c.Log.Fields["f"] != field {
			t.Errorf("field %q is read as %q", field, c.Log.Fields["f"])
		}
		if values := c.HTTP.Headers[http.CanonicalHeaderKey(header)]; !slices.Equal(values, config.StringList{value}) {
			t.Errorf("header %q: %q is read as %q", header, value, values)
		}
	})
}

// unprintable says what cannot come through JSON into a field, or not into a header.
func unprintable(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) })
}

// A credential's name in the cluster says when it changed, and nothing of what it is.
func TestACredentialChangesTheName(t *testing.T) {
	r := registries["bucket"]()
	name := func(secret, version string) string {
		in := input(r)
		in.S3.SecretAccessKey, in.S3.Version = secret, version
		rendered, err := children.RenderConfig(r, in)
		if err != nil {
			t.Fatal(err)
		}
		return rendered.Name
	}
	if name("a", "1") != name("b", "1") || name("a", "1") == name("a", "2") {
		t.Error("the name follows from the secret, or not from its version")
	}
}

// The API server keeps sets in the order in which they were applied.
func TestTheOrderOfBasePathsRollsNothing(t *testing.T) {
	name := func(bases ...string) string {
		r := registries["claim"]()
		r.Spec.Packs.BasePaths = bases
		rendered, err := children.RenderConfig(r, children.ConfigInput{})
		if err != nil {
			t.Fatal(err)
		}
		return rendered.Name
	}
	if name("prod", "dev") != name("dev", "prod") || name("prod") == name("dev") || name() == name("prod") {
		t.Error("the name of the configuration follows from the order, or not from what is there")
	}
}

func TestTheOrderOfActionsRollsNothing(t *testing.T) {
	name := func(ui v1alpha1.UISpec) string {
		r := registries["claim"]()
		r.Spec.UI = ui
		rendered, err := children.RenderConfig(r, children.ConfigInput{})
		if err != nil {
			t.Fatal(err)
		}
		return rendered.Name
	}
	one, other := name(v1alpha1.UISpec{Actions: []string{"tag", "delete"}}), name(v1alpha1.UISpec{Actions: []string{"delete", "tag"}})
	if one != other || one == name(v1alpha1.UISpec{Actions: []string{"tag"}}) {
		t.Error("the name of the configuration follows from the order, or not from what is there")
	}
}

// What is left out is left to the server, so that its defaults hold and a registry without spec.ui keeps its configuration.
func TestPagesInTheConfiguration(t *testing.T) {
	for _, tt := range []struct {
		spec  v1alpha1.UISpec
		extra string
		want  config.UI
	}{
		{v1alpha1.UISpec{}, `{}`, config.UI{Title: "PackRegistry"}},
		{v1alpha1.UISpec{Enabled: ptr.To(false)}, `{}`, config.UI{Enabled: ptr.To(false), Title: "PackRegistry"}},
		{v1alpha1.UISpec{Title: "A: #1"}, `{"ui":{"logo":"/logo/logo.svg"}}`, config.UI{Title: "A: #1", Logo: "/logo/logo.svg"}},
	} {
		r := registries["claim"]()
		r.Spec.UI, r.Spec.Config = tt.spec, &runtime.RawExtension{Raw: []byte(tt.extra)}
		rendered, err := children.RenderConfig(r, children.ConfigInput{})
		if err != nil {
			t.Fatal(err)
		}
		text := rendered.Files["config.yml"]
		read, _, err := config.Parse(text, config.Options{})
		if err != nil || !reflect.DeepEqual(read.UI, tt.want) {
			t.Errorf("%+v: the server reads %+v, %v", tt.spec, read.UI, err)
		}
		if tt.want.Logo == "" && tt.want.Enabled == nil && strings.Contains(string(text), "ui:") {
			t.Errorf("the section is there without spec.ui:\n%s", text)
		}
	}
}

func TestConfigOfTheSpec(t *testing.T) {
	for extra, want := range map[string]string{
		`{"http":{"limits":{"manifestbytes":1000000}}}`:           "",
		`{"packs":{"validation":"warn"}}`:                         "",
		`{"packs":{"basepaths":["prod"]}}`:                        "packs.basepaths is not for here: use spec.packs.basePaths",
		`{"ui":{"logo":"/logo/logo.svg"}}`:                        "",
		`{"ui":{"enabled":true}}`:                                 "ui.enabled is not for here: use spec.ui",
		`{"ui":{"title":"x","actions":["tag"]}}`:                  "ui.actions is not for here: use spec.ui; ui.title is not for here: use spec.ui",
		`{"ui":null}`:                                             "ui is a section",
		`{"http":{"addr":":80"}}`:                                 "http.addr is not for here: the operator sets it",
		`{"storage":{"s3":{"secretkey":"hunter2"}}}`:              "storage.s3.secretkey is not for here: use spec.storage.s3.secretRef",
		`{"auth":{"htpasswd":{"path":"/x"}}}`:                     "auth.htpasswd is not for here: use spec.auth",
		`{"http":{"tls":{"letsencrypt":{"email":"x"}}}}`:          "use spec.tls.letsEncrypt",
		`{"http":{"headers":{"X":["y"]}},"log":{"level":"warn"}}`: "http.headers is not for here: use spec.headers; log.level is not for here: use spec.log",
		`{"auth":null}`:                                           "auth is a section",
		`{"storage":"inmemory"}`:                                  "storage is a section",
		`{"storage":{"inmemory":{}}}`:                             "storage.inmemory is not for here",
		`{"http":{"limit":{"uploads":1}}}`:                        "http.limits",
		`{"packs":{"validation":"hunter2"}}`:                      "packs.validation",
	} {
		r := registries["claim"]()
		r.Spec.Config = &runtime.RawExtension{Raw: []byte(extra)}
		rendered, err := children.RenderConfig(r, children.ConfigInput{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", extra, err, want)
		}
		if err != nil && strings.Contains(extra, "secretkey") && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("shows a secret: %v", err)
		}
		if strings.Contains(extra, "manifestbytes") && !strings.Contains(string(rendered.Files["config.yml"]), "manifestbytes: 1000000") {
			t.Errorf("%s", rendered.Files["config.yml"])
		}
	}
}
