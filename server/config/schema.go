package config

import (
	_ "embed"
	"reflect"

	"go.yaml.in/yaml/v3"
)

//go:embed schema.json
var schema []byte

// Schema returns the JSON Schema (draft 2020-12) of the configuration file, for editors and for checks before a roll-out.
// It accepts what the server accepts but for rules that go across keys; sections of distribution without effect here
// are not in it.
func Schema() []byte { return schema }

// Masked returns the configuration as YAML, with secrets blotted out.
func Masked(c Config) ([]byte, error) {
	text, err := Marshal(c)
	if err != nil {
		return nil, err
	}
	var copied Config
	if err := yaml.Unmarshal(text, &copied); err != nil {
		return nil, err
	}
	mask(reflect.ValueOf(&copied).Elem())
	return Marshal(copied)
}

func mask(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		mask(v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Tag.Get("secret") != "" && f.Kind() == reflect.String && f.String() != "" {
				f.SetString("***")
				continue
			}
			mask(f)
		}
	}
}
