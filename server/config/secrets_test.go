package config_test

import (
	"strings"
	"testing"

	"packregistry.dev/server/config"
)

// Whatever is wrong with a setting that holds a secret, no message shows the secret.
func TestMessagesShowNoSecret(t *testing.T) {
	const file = "version: 0.1\nstorage: {s3: {region: x, bucket: b, accesskey: a, secretkey: %s}}\n"
	for _, value := range []string{
		"[hunter2]", "{a: hunter2}", "{hunter2: a}", "*hunter2", "!hunter2 x", "!!int hunter2", "!!binary hunter2", "&a hunter2 hunter2: x", "'hunter2", "\"hunter2\\q\"",
		"`hunter2", "@hunter2", "hunter2: hunter2", "| hunter2", "[hunter2", "hunter2}, hunter2",
	} {
		_, warnings, err := config.Parse([]byte(strings.Replace(file, "%s", value, 1)), config.Options{})
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", value, err)
		}
		if text := strings.Join(warnings, "\n"); strings.Contains(text, "hunter2") {
			t.Errorf("%s: warned %s", value, text)
		}
	}
	for _, variable := range []string{
		"REGISTRY_STORAGE_S3_SECRETKEY_0=hunter2", "REGISTRY_STORAGE_S3_SECRETKEY_X=hunter2", "REGISTRY_STORAGE_S3=[hunter2", "REGISTRY_STORAGE_S3={secretkey: [hunter2]}",
		"REGISTRY_STORAGE_S3={secretkey: *hunter2}", "REGISTRY_STORAGE_S3_SECRET=hunter2", "REGISTRI_STORAGE_S3_SECRETKEY=hunter2",
		"REGISTRY_HTTP_HEADERS_X=[hunter2", "REGISTRY_HTTP_HEADERS={X: {hunter2: a}}", "REGISTRY_LOG_FIELDS=[hunter2]",
		"REGISTRY_HTTP_HOST=https://user:hunter2@x", "REGISTRY_STORAGE_S3_REGIONENDPOINT=https://user:hunter2@x:y", "REGISTRY_HTTP_TLS_LETSENCRYPT_DIRECTORYURL=https://user:hunter2@x/%zz",
	} {
		_, warnings, err := config.Parse([]byte(strings.Replace(file, "%s", "s", 1)), config.Options{Environ: []string{variable}})
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", variable, err)
		}
		if text := strings.Join(warnings, "\n"); strings.Contains(text, "hunter2") {
			t.Errorf("%s: warned %s", variable, text)
		}
	}
}

// What is printed of headers and fields is what names say to be harmless.
func TestMaskedHeadersAndFields(t *testing.T) {
	c, _, err := config.Parse([]byte(`version: 0.1
storage: inmemory
log: {fields: {environment: prod, token: hunter2, nested: {a: hunter2}}}
http:
  headers: {X-Frame-Options: SAMEORIGIN, Access-Control-Allow-Origin: ['https://a.example'], X-Api-Token: hunter2, Authorization: [Bearer hunter2, Bearer hunter2], X-Anything: hunter2}
`), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	text, err := config.Masked(*c)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"environment: prod", "SAMEORIGIN", "https://a.example", "max-age=", "token: '***'", "X-Anything"} {
		if !strings.Contains(string(text), words) {
			t.Errorf("not shown: %s", words)
		}
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("a secret is shown:\n%s", text)
	}
	if c.HTTP.Headers["X-Api-Token"][0] != "hunter2" || c.Log.Fields["token"] != "hunter2" {
		t.Error("the configuration itself was changed")
	}
}
