package config

import (
	_ "embed"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// source is config.go itself: what its comments say is what the schema says.
//
//go:embed config.go
var source []byte

// Schema returns the JSON Schema (draft 2020-12) of the configuration file, for editors and for checks before a roll-out.
// It accepts what the server accepts but for rules that go across keys; sections of distribution without effect here
// are not in it.
func Schema() ([]byte, error) {
	docs, err := comments()
	if err != nil {
		return nil, err
	}
	root := schemaOf(reflect.TypeFor[Config](), docs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of the pack registry"
	root["required"] = []string{"version"}
	return json.MarshalIndent(root, "", "  ")
}

// comments maps types, and fields as Type.Field, to what is written about them.
func comments() (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), "config.go", source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	docs := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		declaration, ok := n.(*ast.GenDecl)
		if !ok {
			return true
		}
		for _, spec := range declaration.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			docs[t.Name.Name] = oneLine(declaration.Doc)
			fields, ok := t.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range fields.Fields.List {
				for _, name := range f.Names {
					docs[t.Name.Name+"."+name.Name] = oneLine(f.Doc)
				}
			}
		}
		return false
	})
	return docs, nil
}

func oneLine(doc *ast.CommentGroup) string { return strings.Join(strings.Fields(doc.Text()), " ") }

func schemaOf(t reflect.Type, docs map[string]string) map[string]any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	words := map[string]any{"type": []string{"string", "number", "boolean"}}
	switch {
	case t == reflect.TypeFor[Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`}
	case t == reflect.TypeFor[Headers]():
		return map[string]any{"type": "object", "additionalProperties": listOf(words)}
	case t.Kind() == reflect.Struct:
		return sectionSchema(t, docs)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem(), docs)}
	case t.Kind() == reflect.Slice:
		return listOf(words)
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object"}
	case t.Kind() == reflect.Int:
		return map[string]any{"type": "integer", "minimum": 0}
	case t.Kind() == reflect.Bool:
		return map[string]any{"anyOf": []any{map[string]any{"type": "boolean"}, map[string]any{"enum": []string{"true", "false"}}}}
	}
	return words
}

// listOf accepts one item in the place of a list, as the server does.
func listOf(item map[string]any) map[string]any {
	return map[string]any{"anyOf": []any{item, map[string]any{"type": "array", "items": item}}}
}

func sectionSchema(t reflect.Type, docs map[string]string) map[string]any {
	properties := map[string]any{}
	var kinds []string
	for i := range t.NumField() {
		f := t.Field(i)
		property := schemaOf(f.Type, docs)
		if choices := strings.Fields(f.Tag.Get("oneof")); len(choices) > 0 {
			property = map[string]any{"enum": choices}
		}
		ft := f.Type
		for ft.Kind() == reflect.Pointer {
			ft = ft.Elem()
		}
		doc := docs[t.Name()+"."+f.Name]
		if doc == "" && ft.PkgPath() == t.PkgPath() {
			doc = docs[ft.Name()]
		}
		if doc != "" {
			property["description"] = doc
		}
		// An empty section is one that is left out.
		properties[keyOf(f)] = map[string]any{"anyOf": []any{property, map[string]any{"type": "null"}}}
		if f.Tag.Get("kind") != "" {
			kinds = append(kinds, keyOf(f))
		}
	}
	section := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(kinds) > 0 {
		return map[string]any{"anyOf": []any{section, map[string]any{"enum": append(kinds, "none")}}}
	}
	return section
}

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
