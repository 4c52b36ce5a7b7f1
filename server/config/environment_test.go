package config

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func TestDocumentedEnvironments(t *testing.T) {
	https := []string{
		"REGISTRY_LOG_LEVEL=info", "REGISTRY_AUTH=htpasswd", "REGSITRY_AUTH_HTPASSWD_REALM=Registry Realm", //nolint:misspell // as documented
		"REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic", "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/tls.crt", "REGISTRY_HTTP_TLS_KEY=/certs/tls.key",
	}
	c, warnings := parse(t, string(defaultFile), https...)
	if c.Auth.HTPasswd.Realm != "basic-realm" || c.HTTP.TLS.Certificate != "/certs/tls.crt" || c.HTTP.TLS.Key != "/certs/tls.key" {
		t.Errorf("got %+v", c)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], "did you mean REGISTRY_AUTH_HTPASSWD_REALM?") {
		t.Errorf("the misspelt variable must be reported: %v", warnings)
	}
	c, _ = parse(t, string(defaultFile), "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=My Enterprise Realm", "REGISTRY_LOG_LEVEL=debug")
	if c.Auth.HTPasswd.Realm != "My Enterprise Realm" || c.Auth.HTPasswd.Path != "/auth/htpasswd-basic" || c.Log.Level != "debug" {
		t.Errorf("the kind that is chosen keeps the file's settings: %+v", c.Auth.HTPasswd)
	}
}

func TestEnvironmentRules(t *testing.T) {
	for _, tt := range []struct {
		name    string
		text    string
		environ []string
		get     func(*Config) any
		want    any
	}{
		{"a string stays as it is", minimal, []string{"REGISTRY_AUTH_HTPASSWD_PATH=0123"},
			func(c *Config) any { return c.Auth.HTPasswd.Path }, "0123"},
		{"a kind without a file's section", minimal, []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH=/p"},
			func(c *Config) any { return *c.Auth.HTPasswd }, HTPasswd{Realm: "basic-realm", Path: "/p"}},
		{"another kind drops the first", "version: 0.1\nstorage: {filesystem: {rootdirectory: /d}, delete: {enabled: false}}", []string{"REGISTRY_STORAGE=inmemory"},
			func(c *Config) any {
				return []bool{c.Storage.Filesystem == nil, c.Storage.InMemory != nil, c.DeleteEnabled()}
			}, []bool{true, true, false}},
		{"the same kind keeps its settings", "version: 0.1\nstorage: {filesystem: {rootdirectory: /d}}", []string{"REGISTRY_STORAGE=filesystem"},
			func(c *Config) any { return c.Storage.Filesystem.RootDirectory }, "/d"},
		{"no authentication", string(defaultFile), []string{"REGISTRY_AUTH="}, func(c *Config) any { return c.Auth == nil }, true},
		{"none is no authentication", string(defaultFile), []string{"REGISTRY_AUTH=none"}, func(c *Config) any { return c.Auth == nil }, true},
		{"a list as a whole", minimal, []string{"REGISTRY_HTTP_TLS_CLIENTCAS=[/a, /b]", "REGISTRY_HTTP_TLS_CERTIFICATE=c", "REGISTRY_HTTP_TLS_KEY=k"},
			func(c *Config) any { return c.HTTP.TLS.ClientCAs }, StringList{"/a", "/b"}},
		{"a list by one word", minimal, []string{"REGISTRY_HTTP_TLS_CLIENTCAS=/a", "REGISTRY_HTTP_TLS_CERTIFICATE=c", "REGISTRY_HTTP_TLS_KEY=k"},
			func(c *Config) any { return c.HTTP.TLS.ClientCAs }, StringList{"/a"}},
		{"a list by index", minimal, []string{"REGISTRY_HTTP_TLS_CLIENTCAS_0=/a", "REGISTRY_HTTP_TLS_CLIENTCAS_1=/b", "REGISTRY_HTTP_TLS_CERTIFICATE=c", "REGISTRY_HTTP_TLS_KEY=k"},
			func(c *Config) any { return c.HTTP.TLS.ClientCAs }, StringList{"/a", "/b"}},
		{"a header, whatever its case", string(defaultFile), []string{"REGISTRY_HTTP_HEADERS_x-frame-options=[SAMEORIGIN]"},
			func(c *Config) any { return c.HTTP.Headers["X-Frame-Options"] }, StringList{"SAMEORIGIN"}},
		{"a header with underscores", minimal, []string{"REGISTRY_HTTP_HEADERS_X_FOO=bar"},
			func(c *Config) any { return c.HTTP.Headers["X-Foo"] }, StringList{"bar"}},
		{"nested sections", minimal, []string{"REGISTRY_STORAGE_MAINTENANCE_READONLY_ENABLED=true"},
			func(c *Config) any { return c.Storage.Maintenance.ReadOnly.Enabled }, true},
		{"a section as YAML", minimal, []string{`REGISTRY_STORAGE_MAINTENANCE_READONLY={"enabled":true}`},
			func(c *Config) any { return c.Storage.Maintenance.ReadOnly.Enabled }, true},
		{"a duration", minimal, []string{"REGISTRY_HTTP_DRAINTIMEOUT=5s"}, func(c *Config) any { return time.Duration(c.HTTP.DrainTimeout) }, 5 * time.Second},
		{"one key of a rule", minimal, []string{"REGISTRY_AUTH_HTPASSWD_PATH=/p", "REGISTRY_AUTH_ACCESS_RULES_0_USERS=ann", "REGISTRY_AUTH_ACCESS_RULES_0_REPOSITORIES=[a, b]", "REGISTRY_AUTH_ACCESS_RULES_0_ACTIONS=pull"},
			func(c *Config) any { return c.Auth.Access.Rules }, []AccessRule{{Users: StringList{"ann"}, Repositories: StringList{"a", "b"}, Actions: StringList{"pull"}}}},
		{"rules as a whole", minimal, []string{"REGISTRY_AUTH_HTPASSWD_PATH=/p", "REGISTRY_AUTH_ACCESS_RULES=[{anonymous: true, repositories: '**', actions: pull}]"},
			func(c *Config) any { return c.Auth.Access.Rules }, []AccessRule{{Anonymous: true, Repositories: StringList{"**"}, Actions: StringList{"pull"}}}},
		{"a secret that looks like a number", s3 + "    accesskey: a\n", []string{"REGISTRY_STORAGE_S3_SECRETKEY=0123"},
			func(c *Config) any { return c.Storage.S3.SecretKey }, "0123"},
		{"another kind of storage", string(defaultFile), []string{"REGISTRY_STORAGE=s3", "REGISTRY_STORAGE_S3_BUCKET=b", "REGISTRY_STORAGE_S3_REGION=r"},
			func(c *Config) any {
				return []any{c.Storage.Filesystem == nil, c.Storage.S3.Bucket, c.Storage.Cache.BlobDescriptor}
			}, []any{true, "b", "inmemory"}},
		{"words for booleans", s3 + "    encrypt: \"true\"\n    secure: \"false\"\n    host: minio\n    port: 9000\n", nil,
			func(c *Config) any {
				return []any{c.Storage.S3.Encrypt, c.Storage.S3.Endpoint(), c.Storage.S3.PathStyle()}
			}, []any{true, "http://minio:9000", true}},
		{"an endpoint by URL", s3, []string{"REGISTRY_STORAGE_S3_REGIONENDPOINT=https://s3.example.com"},
			func(c *Config) any { return c.Storage.S3.Endpoint() }, "https://s3.example.com"},
		{"AWS", s3, nil, func(c *Config) any { return []any{c.Storage.S3.Endpoint(), c.Storage.S3.PathStyle()} }, []any{"", false}},
		{"an IPv6 endpoint", s3 + "    host: \"::1\"\n    port: 9000\n", nil, func(c *Config) any { return c.Storage.S3.Endpoint() }, "https://[::1]:9000"},
		{"a log field", minimal, []string{"REGISTRY_LOG_FIELDS_ENVIRONMENT=test"}, func(c *Config) any { return c.Log.Fields["environment"] }, "test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := parse(t, tt.text, tt.environ...)
			if got := tt.get(c); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestVariablesOfServiceLinksAreSkippedQuietly(t *testing.T) {
	_, warnings := parse(t, minimal,
		"REGISTRY_PORT=tcp://10.0.0.1:5000", "REGISTRY_SERVICE_HOST=10.0.0.1", "REGISTRY_SERVICE_PORT=5000", "REGISTRY_SERVICE_PORT_HTTPS=443",
		"REGISTRY_PORT_5000_TCP=tcp://10.0.0.1:5000", "REGISTRY_PORT_5000_TCP_ADDR=10.0.0.1", "REGISTRY_AUTH_PORT=tcp://10.0.0.2:80",
		"REGISTRY_STORAGE_SERVICE_HOST=1.2.3.4", "REGISTRY_HTTP_PORT=tcp://10.0.0.1:80")
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
}

// Indexes of lists are numbers, whatever order their variables are in as text.
func TestListsOfMoreThanTenVariables(t *testing.T) {
	environ := []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH=/p", "REGISTRY_HTTP_TLS_CERTIFICATE=c", "REGISTRY_HTTP_TLS_KEY=k"}
	var want StringList
	for i := range 12 {
		want = append(want, fmt.Sprintf("/ca/%d.crt", i))
		environ = append(environ, fmt.Sprintf("REGISTRY_HTTP_TLS_CLIENTCAS_%d=/ca/%d.crt", i, i),
			fmt.Sprintf("REGISTRY_AUTH_ACCESS_RULES_%d_USERS=user%d", i, i), fmt.Sprintf("REGISTRY_AUTH_ACCESS_RULES_%d_REPOSITORIES=**", i),
			fmt.Sprintf("REGISTRY_AUTH_ACCESS_RULES_%d_ACTIONS=pull", i))
	}
	slices.Sort(environ)
	c, warnings, err := Parse([]byte(minimal), Options{Environ: environ})
	if err != nil || len(warnings) != 0 {
		t.Fatalf("%v, %v", warnings, err)
	}
	if !slices.Equal(c.HTTP.TLS.ClientCAs, want) {
		t.Errorf("clientcas: %v", c.HTTP.TLS.ClientCAs)
	}
	for i, rule := range c.Auth.Access.Rules {
		if rule.Users[0] != fmt.Sprint("user", i) {
			t.Errorf("rule %d is that of %v", i, rule.Users)
		}
	}
	if len(c.Auth.Access.Rules) != 12 {
		t.Errorf("%d rules", len(c.Auth.Access.Rules))
	}
}

// Every key can be set by a variable: the whole of everything.yml, spelt as variables, makes the same configuration.
func TestEveryKeyHasItsVariable(t *testing.T) {
	text, err := os.ReadFile("testdata/everything.yml")
	if err != nil {
		t.Fatal(err)
	}
	var document map[string]any
	if err := yaml.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var environ []string
	var spell func(name string, v any)
	spell = func(name string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				spell(name+"_"+strings.ToUpper(key), value)
			}
		case []any:
			for i, value := range v {
				spell(fmt.Sprintf("%s_%d", name, i), value)
			}
		default:
			environ = append(environ, fmt.Sprintf("%s=%v", name, v))
		}
	}
	// A header's values are a list that is set as a whole.
	delete(document["http"].(map[string]any), "headers") //nolint:errcheck,forcetypeassert // see the file
	environ = append(environ, "REGISTRY_HTTP_HEADERS_X-Frame-Options=[SAMEORIGIN]")
	spell("REGISTRY", document)
	want, _ := parse(t, string(text))
	got, warnings := parse(t, "version: 0.1\n", environ...)
	if !reflect.DeepEqual(got, want) || len(warnings) > 0 {
		t.Errorf("%d variables make\n%+v\nwant\n%+v\nwarnings %v", len(environ), got, want, warnings)
	}
}
