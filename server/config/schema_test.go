package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// everything.yml has every key that there is.
func TestEverythingIsReadAndInTheSchema(t *testing.T) {
	text, err := os.ReadFile("testdata/everything.yml")
	if err != nil {
		t.Fatal(err)
	}
	c, warnings := parse(t, string(text))
	if len(warnings) > 0 {
		t.Errorf("warnings: %v", warnings)
	}
	var unset []string
	var walk func(path string, v reflect.Value)
	walk = func(path string, v reflect.Value) {
		for v.Kind() == reflect.Pointer && !v.IsNil() {
			v = v.Elem()
		}
		if v.Kind() == reflect.Struct {
			for i := range v.NumField() {
				walk(join(path, keyOf(v.Type().Field(i))), v.Field(i))
			}
			return
		}
		if v.IsZero() {
			unset = append(unset, path)
		}
	}
	walk("", reflect.ValueOf(c).Elem())
	// What excludes something else in the file.
	want := []string{"storage.filesystem", "storage.s3.host", "storage.s3.port", "storage.inmemory", "http.tls.certificate", "http.tls.key", "http.tls.letsencrypt.cachestorage"}
	if !reflect.DeepEqual(unset, want) {
		t.Errorf("not set by the file: %v, want %v", unset, want)
	}
}

func TestSchemaAgreesWithTheParser(t *testing.T) {
	text := Schema()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("config.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("config.json")
	if err != nil {
		t.Fatal(err)
	}
	for file, valid := range map[string]bool{"everything.yml": true, "filesystem.yml": true, "inmemory.yml": true, "address.yml": true, "headers.yml": true,
		"docker-default.yml": true, "letsencrypt.yml": true, "s3.yml": false, "certificate.yml": false} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(v); (err == nil) != valid {
			t.Errorf("%s: %v", file, err)
		}
	}
	for _, wrong := range []string{"auht: {}", "version: 0.1\nhttp: {addr: []}", "version: 0.1\nhttp: {draintimeout: 30}", "version: 0.1\nlog: {level: loud}"} {
		var v any
		if err := yaml.Unmarshal([]byte(wrong), &v); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(v) == nil {
			t.Errorf("accepts %s", wrong)
		}
	}
	if !strings.Contains(string(text), "A directory, despite its name") && !strings.Contains(string(text), "is a directory, despite its name") {
		t.Error("the schema lacks descriptions")
	}
}
