package config

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"packregistry.dev/internal/testfuzz"
)

const s3 = "version: 0.1\nstorage:\n  s3:\n    bucket: b\n    region: r\n"

const minimal = "version: 0.1\nstorage: inmemory\n"

func parse(t *testing.T, text string, environ ...string) (*Config, []string) {
	t.Helper()
	c, warnings, err := Parse([]byte(text), Options{Environ: environ})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	return c, warnings
}

func TestDefaultFileIsTheDocumentedOne(t *testing.T) {
	c, warnings := parse(t, string(defaultFile))
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	if c.Storage.Filesystem.RootDirectory != "/data/.spectro-server" || c.HTTP.Addr != ":5000" ||
		c.Auth.HTPasswd.Realm != "basic-realm" || c.Auth.HTPasswd.Path != "/auth/htpasswd-basic" || c.Log.Fields["service"] != "registry" {
		t.Errorf("not the documented default: %+v", c)
	}
	if !reflect.DeepEqual(c.HTTP.Headers, DefaultHeaders()) {
		t.Errorf("headers of the file %v differ from those of the program %v", c.HTTP.Headers, DefaultHeaders())
	}
}

// The samples in testdata are those of the documents, as they are printed there.
func TestDocumentedSamples(t *testing.T) {
	for _, tt := range []struct {
		file    string
		environ []string
		wrong   []string // what the error must name; none means that the sample starts
	}{
		{file: "filesystem.yml"},
		{file: "inmemory.yml"},
		{file: "address.yml"},
		{file: "headers.yml"},
		{file: "certificate.yml", environ: []string{"REGISTRY_HTTP_TLS_MINIMUMTLS=tls1.2"}},
		{file: "certificate.yml", wrong: []string{"http.tls.minimumtls (line 9)", "minimum tls version to use", "tls1.2"}},
		{file: "docker-default.yml"},
		// Templates are refused as they are printed, with the key and the choices, and start filled in.
		{file: "s3.yml", wrong: []string{`storage.s3.encrypt (line 9): "true|false" is neither true nor false`, `storage.s3.secure (line 10): "false|true"`}},
		{file: "s3.yml", environ: []string{"REGISTRY_STORAGE_S3_ENCRYPT=true", "REGISTRY_STORAGE_S3_SECURE=false"},
			wrong: []string{`storage.s3.host: "OPTIONAL_MINIO_HOST_IF_USING"`, `storage.s3.port: "OPTIONAL_MINIO_PORT_IF_USING"`, "leave host and port out for AWS"}},
		{file: "s3.yml", environ: []string{"REGISTRY_STORAGE_S3_ENCRYPT=true", "REGISTRY_STORAGE_S3_SECURE=false", "REGISTRY_STORAGE_S3_HOST=minio", "REGISTRY_STORAGE_S3_PORT=9000"}},
		{file: "s3.yml", environ: []string{"REGISTRY_STORAGE_S3_ENCRYPT=false", "REGISTRY_STORAGE_S3_SECURE=true", "REGISTRY_STORAGE_S3_HOST=", "REGISTRY_STORAGE_S3_PORT="}},
		{file: "letsencrypt.yml"},
	} {
		t.Run(tt.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = Parse(text, Options{Environ: tt.environ})
			if (err == nil) != (len(tt.wrong) == 0) {
				t.Fatalf("Parse: %v", err)
			}
			for _, words := range tt.wrong {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error lacks %q:\n%v", words, err)
				}
			}
		})
	}
}

func TestErrorsNameKeyLineAndMend(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		environ    []string
		want       []string
	}{
		{"misspelt section", minimal + "auht: {htpasswd: {path: /p}}\n", nil, []string{"auht (line 3): unknown key", "did you mean auth?"}},
		{"misspelt key", minimal + "http:\n  tls:\n    certificat: c\n", nil, []string{"http.tls.certificat (line 5)", "did you mean http.tls.certificate?"}},
		{"two kinds of storage", "version: 0.1\nstorage: {inmemory: {}, filesystem: {rootdirectory: /d}}", nil, []string{"storage: has more than one kind", "REGISTRY_STORAGE"}},
		{"two kinds by variable", minimal, []string{"REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/d"}, []string{"storage: has more than one kind"}},
		{"no storage", "version: 0.1\n", nil, []string{"storage: names no kind"}},
		{"no version", "storage: inmemory\n", nil, []string{`version: ""`, "version: 0.1"}},
		{"another version", "version: 0.2\nstorage: inmemory\n", nil, []string{`version: "0.2"`}},
		{"key without certificate", minimal + "http: {tls: {key: k}}\n", nil, []string{"http.tls: certificate and key go together"}},
		{"a template left as it is", "version: 0.1\nstorage: {inmemory: {}, delete: {enabled: true|false}}", nil, []string{`storage.delete.enabled (line 2): "true|false" is neither true nor false`}},
		{"duration without unit", minimal + "http: {draintimeout: 30}\n", nil, []string{"http.draintimeout (line 3)", "30s"}},
		{"unknown level", minimal + "log: {level: loud}\n", nil, []string{`log.level (line 3): "loud" is none of error, warn, info, debug`}},
		{"auth without a kind", minimal + "auth: {}\n", nil, []string{"auth: names no kind"}},
		{"a key twice", minimal + "storage: inmemory\n", nil, []string{"storage (line 3): given twice"}},
		{"a list for a word", minimal + "http: {addr: [a]}\n", nil, []string{"http.addr (line 3): must be a single value"}},
		{"a header that smuggles", minimal + "http: {headers: {X-A: \"a\\r\\nb\"}}\n", nil, []string{"http.headers.X-A (line 3)", "one line"}},
		{"variable of the wrong kind", minimal, []string{"REGISTRY_HTTP_HTTP2_DISABLED=perhaps"}, []string{"http.http2.disabled", "neither true nor false"}},
		{"a port out of range", minimal + "http: {addr: ':99999'}\n", nil, []string{`http.addr: ":99999": the port is no number from 0 to 65535`}},
		{"no port", minimal + "http: {addr: 'localhost:'}\n", nil, []string{"http.addr"}},
		{"a negative port", minimal + "http: {addr: 'localhost:-1'}\n", nil, []string{"http.addr"}},
		{"an address of five bytes", minimal + "http: {addr: '10.0.0.0.1:5000'}\n", nil, []string{"http.addr", "is no host"}},
		{"an address beyond 255", minimal + "http: {addr: '10.0.0.256:5000'}\n", nil, []string{"http.addr", "is no host"}},
		{"a host with a space", minimal + "http: {addr: 'my host:5000'}\n", nil, []string{"http.addr", "is no host"}},
		{"a debug port out of range", minimal + "http: {debug: {addr: ':65536'}}\n", nil, []string{"http.debug.addr"}},
		{"one address for two listeners", minimal + "http: {addr: ':5000', debug: {addr: '127.0.0.1:5000'}}\n", nil, []string{"http.debug.addr", "http.addr"}},
		{"a URL's port out of range", minimal + "http: {host: 'https://packs.example.com:99999'}\n", nil, []string{"http.host"}},
		{"a URL without a host", minimal + "http: {host: 'https://:443'}\n", nil, []string{"http.host"}},
		{"a URL with a query", minimal + "http: {host: 'https://packs.example.com/?a'}\n", nil, []string{"http.host"}},
		{"a URL with a password", minimal + "http: {host: 'https://u:hunter2@packs.example.com'}\n", nil, []string{"http.host"}},
		{"a prefix with a query", minimal + "http: {prefix: '/a?b'}\n", nil, []string{"http.prefix"}},
		{"a prefix that leads up", minimal + "http: {prefix: '/a/../b/'}\n", nil, []string{"http.prefix"}},
		{"metrics at a path that is none", minimal + "http: {debug: {prometheus: {path: metrics}}}\n", nil, []string{"http.debug.prometheus.path"}},
		{"metrics at a path that is taken", minimal + "http: {debug: {prometheus: {path: /livez}}}\n", nil, []string{"http.debug.prometheus.path", "/livez"}},
		{"metrics at a pattern", minimal + "http: {debug: {prometheus: {path: '/{x'}}}\n", nil, []string{"http.debug.prometheus.path"}},
		{"a check without a pause", minimal + "health: {storagedriver: {interval: 1ns}}\n", nil, []string{"health.storagedriver.interval: 1ns is too short"}},
		{"purging without a pause", minimal2("maintenance: {uploadpurging: {interval: 1us}}"), nil, []string{"storage.maintenance.uploadpurging.interval"}},
		{"collecting without a pause", minimal2("maintenance: {garbagecollection: {interval: 1us}}"), nil, []string{"storage.maintenance.garbagecollection.interval"}},
		{"transfers without time", minimal + "http: {limits: {stalltimeout: 1us}}\n", nil, []string{"http.limits.stalltimeout"}},
		{"headers without room", minimal + "http: {limits: {headerbytes: 10}}\n", nil, []string{"http.limits.headerbytes: 10 is too small"}},
		{"manifests without room", minimal + "http: {limits: {manifestbytes: 10}}\n", nil, []string{"http.limits.manifestbytes: 10 is too small"}},
		{"endpoint's port out of range", s3 + "    regionendpoint: https://h:99999\n", nil, []string{"storage.s3.regionendpoint"}},
		{"redirects to no host", s3 + "    redirectendpoint: https://:9\n", nil, []string{"storage.s3.redirectendpoint"}},
		{"large parts", s3 + "    chunksize: 6000000000\n", nil, []string{"storage.s3.chunksize: 6000000000", "5368709120"}},
		{"directory's port out of range", minimal + "http: {tls: {letsencrypt: {cachefile: d, hosts: a.example.com, directoryurl: 'https://h:99999/d'}}}\n", nil, []string{"directoryurl"}},
		{"a challenge's port out of range", minimal + "http: {tls: {letsencrypt: {cachefile: d, hosts: a.example.com, httpaddr: ':80000'}}}\n", nil, []string{"httpaddr"}},
		{"a host with dashes at its ends", minimal + "http: {tls: {letsencrypt: {cachefile: d, hosts: [-a.example.com]}}}\n", nil, []string{`"-a.example.com"`}},
		{"index with a gap", minimal, []string{"REGISTRY_HTTP_TLS_CLIENTCAS_1=/b"}, []string{"REGISTRY_HTTP_TLS_CLIENTCAS_1", "index 1"}},
		{"no bucket", "version: 0.1\nstorage: s3\n", nil, []string{"storage.s3.bucket: missing", "storage.s3.region: missing"}},
		{"half a credential", s3 + "    accesskey: a\n", nil, []string{"storage.s3.accesskey and secretkey go together"}},
		{"two endpoints", s3 + "    host: h\n    regionendpoint: https://h\n", nil, []string{"storage.s3.host and regionendpoint"}},
		{"port alone", s3 + "    port: 1\n", nil, []string{"storage.s3.port: has no effect"}},
		{"port out of range", s3 + "    host: h\n    port: 65536\n", nil, []string{`storage.s3.port: "65536"`}},
		{"endpoint with a path", s3 + "    regionendpoint: https://h/p\n", nil, []string{"storage.s3.regionendpoint: must be a URL of scheme and host alone"}},
		{"endpoint with a password", s3 + "    regionendpoint: https://u:hunter2@h\n", nil, []string{"storage.s3.regionendpoint: must be"}},
		{"key without encryption", s3 + "    keyid: k\n", nil, []string{"storage.s3.keyid", "encrypt: true"}},
		{"a root that not all servers list", s3 + "    rootdirectory: a//b\n", nil, []string{"storage.s3.rootdirectory", "a//b", "one slash"}},
		{"small parts", s3 + "    chunksize: 1000\n", nil, []string{"storage.s3.chunksize: 1000", "5242880"}},
		{"certificate and letsencrypt", minimal + "http: {tls: {certificate: c, key: k, letsencrypt: {cachefile: d, hosts: a.example.com}}}\n", nil, []string{"http.tls: has a certificate and letsencrypt"}},
		{"letsencrypt without hosts", minimal + "http: {tls: {letsencrypt: {cachefile: d}}}\n", nil, []string{"http.tls.letsencrypt.hosts: missing"}},
		{"letsencrypt without a cache", minimal + "http: {tls: {letsencrypt: {hosts: a.example.com}}}\n", nil, []string{"http.tls.letsencrypt.cachefile: missing", "cachestorage"}},
		{"letsencrypt for an address", minimal + "http: {tls: {letsencrypt: {cachefile: d, hosts: [192.0.2.1, '*.example.com', localhost, 'a.example.com:443']}}}\n", nil, []string{`"192.0.2.1"`, `"*.example.com"`, `"localhost"`, `"a.example.com:443"`}},
		{"a rule for nobody", minimal + "auth: {htpasswd: {path: /p}, access: {rules: [{repositories: '**', actions: pull}]}}\n", nil, []string{"auth.access.rules[0].users: missing"}},
		{"an unknown action", minimal + "auth: {htpasswd: {path: /p}, access: {rules: [{users: a, repositories: '**', actions: [read]}]}}\n", nil, []string{`auth.access.rules[0].actions: "read" is none of pull, push, delete`}},
		{"a misspelt key of a rule", minimal + "auth:\n  htpasswd: {path: /p}\n  access:\n    rules:\n    - user: a\n", nil, []string{"auth.access.rules[0].user (line 7)", "did you mean auth.access.rules[0].users?"}},
		{"a proxy that is none", minimal + "http: {trustedproxies: [10.0.0.0/33]}\n", nil, []string{`http.trustedproxies: "10.0.0.0/33"`}},
		{"an action that pages do not have", minimal + "ui: {actions: [push]}\n", nil, []string{`ui.actions: "push" is none of tag, untag, delete`}},
		{"a title that fills the page", minimal, []string{"REGISTRY_UI_TITLE=" + strings.Repeat("long ", 20)}, []string{"ui.title: has 100 characters; use at most 60"}},
		{"a title of two lines", minimal + "ui: {title: \"a\\nb\"}\n", nil, []string{"ui.title: must not hold"}},
		{"binary", minimal + "auth: {htpasswd: {path: !!binary 6A==}}\n", nil, []string{"line 3", "UTF-8"}},
		{"not YAML", "version: [", nil, []string{"not YAML"}},
		{"not a mapping", "- a\n", nil, []string{"must be a mapping"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Parse([]byte(tt.text), Options{Environ: tt.environ})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, words := range tt.want {
				if !strings.Contains(err.Error(), words) {
					t.Errorf("the error lacks %q:\n%v", words, err)
				}
			}
		})
	}
}

// minimal2 is the least configuration with more below storage.
func minimal2(more string) string { return "version: 0.1\nstorage: {inmemory: {}, " + more + "}\n" }

func TestAddressesThatAreAccepted(t *testing.T) {
	for _, addr := range []string{":0", ":5000", "localhost:5000", "0.0.0.0:80", "[::]:443", "[fe80::1%25eth0]:5000", "my-host.example.com:65535", ":http"} {
		if _, _, err := Parse([]byte(minimal+"http: {addr: '"+addr+"'}\n"), Options{}); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, text := range []string{
		"http: {addr: ':0', debug: {addr: ':0'}}\n", "http: {addr: '127.0.0.1:5000', debug: {addr: '127.0.0.2:5000'}}\n",
		"http: {host: 'https://[2001:db8::1]:8443'}\n", "http: {host: 'https://packs.example.com/packs/'}\n", "http: {prefix: /my-registry/v.1_x/}\n",
	} {
		if _, _, err := Parse([]byte(minimal+text), Options{}); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestErrorsMaskSecrets(t *testing.T) {
	type secretive struct {
		Key int `yaml:"key" secret:"true"`
	}
	var target secretive
	d := &decoder{}
	n := mapping()
	set(n, "key", scalar("hunter2"))
	d.section("", n, reflect.ValueOf(&target).Elem())
	if len(d.errs) != 1 || strings.Contains(d.errs[0].Error(), "hunter2") {
		t.Errorf("errors: %v", d.errs)
	}
}

func TestLenientWarnsOfUnknownKeys(t *testing.T) {
	_, warnings, err := Parse([]byte(minimal+"nonsense: 1\n"), Options{Lenient: true})
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "nonsense (line 3)") {
		t.Errorf("warnings %v, error %v", warnings, err)
	}
}

func TestSectionsWithoutEffectWarn(t *testing.T) {
	_, warnings := parse(t, minimal+"redis: {addrs: [a]}\nhttp: {secret: s}\nnotifications: {}\n")
	if len(warnings) != 3 {
		t.Errorf("warnings: %v", warnings)
	}
	for _, w := range warnings {
		if strings.Contains(w, "s}") || !strings.Contains(w, "has no effect") {
			t.Errorf("warning: %s", w)
		}
	}
}

func TestWhatDistributionAcceptsIsAccepted(t *testing.T) {
	c, warnings := parse(t, "version: 0.1\nlog: {formatter: logstash}\nstorage: {filesystem: {rootdirectory: /d, maxthreads: 100}}\n")
	if c.Log.Formatter != "json" || len(warnings) != 2 {
		t.Errorf("formatter %s, warnings %v", c.Log.Formatter, warnings)
	}
}

func TestAliasesThatExpandWithoutEndAreRefused(t *testing.T) {
	text := "a0: &a0 [x, x]\n"
	for i := 1; i < 30; i++ {
		text += fmt.Sprintf("a%[1]d: &a%[1]d [*a%[2]d, *a%[2]d, *a%[2]d]\n", i, i-1)
	}
	if _, _, err := Parse([]byte(text), Options{}); err == nil || !strings.Contains(err.Error(), "nested too deeply") {
		t.Errorf("error %v", err)
	}
}

func TestAnEmptyHeaderRemovesADefault(t *testing.T) {
	c, _ := parse(t, minimal+"http: {headers: {X-Frame-Options: [], x-added: [a, b]}}\n")
	if _, there := c.HTTP.Headers["X-Frame-Options"]; there {
		t.Error("the default is still there")
	}
	if got := c.HTTP.Headers["X-Added"]; !reflect.DeepEqual(got, StringList{"a", "b"}) || len(c.HTTP.Headers) != 6 {
		t.Errorf("headers: %v", c.HTTP.Headers)
	}
}

// I1: what is written is read back as the same.
func TestMarshalRoundTrip(t *testing.T) {
	for _, file := range []string{"filesystem.yml", "inmemory.yml", "headers.yml", "address.yml", "docker-default.yml", "letsencrypt.yml", "everything.yml"} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		first, _ := parse(t, string(text))
		again, err := Marshal(*first)
		if err != nil {
			t.Fatal(err)
		}
		second, warnings := parse(t, string(again))
		if !reflect.DeepEqual(first, second) || len(warnings) > 0 {
			t.Errorf("%s: written as\n%s\nread as %+v, was %+v (%v)", file, again, second, first, warnings)
		}
	}
}

func TestMaskedShowsNoSecret(t *testing.T) {
	c, _ := parse(t, s3+"    accesskey: AKIDEXAMPLE\n    secretkey: hunter2\n")
	text, err := Masked(*c)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "AKID") || !strings.Contains(string(text), "secretkey: '***'") {
		t.Errorf("printed as\n%s", text)
	}
	if c.Storage.S3.SecretKey != "hunter2" {
		t.Error("the configuration itself was changed")
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.yml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text, "REGISTRY_HTTP_ADDR=:1")
	}
	f.Add([]byte(minimal), "REGISTRY_STORAGE=[]")
	f.Add([]byte(minimal), "REGISTRY_AUTH_HTPASSWD={a: &a [*a]}")
	f.Add([]byte("a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n"), "REGISTRY_HTTP_HEADERS={X: [a]}")
	f.Add([]byte(strings.Repeat("[", 5000)), "REGISTRY_LOG_FIELDS="+strings.Repeat("{a: ", 5000))
	f.Add([]byte("a: &a {<<: *a}"), "REGISTRY_HTTP_TLS_CLIENTCAS_99999999999=x")
	f.Fuzz(func(t *testing.T, text []byte, variable string) {
		options := Options{Environ: []string{variable, "REGISTRY_" + variable}}
		testfuzz.Proportionate(t, len(text)+len(variable), func() {
			Parse(text, options) //nolint:errcheck // whatever it says
		})
		c, _, err := Parse(text, options)
		if err != nil {
			return
		}
		again, err := Marshal(*c)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := Parse(again, Options{}); err != nil {
			t.Errorf("what was accepted is refused when written back: %v\n%s", err, again)
		}
	})
}
