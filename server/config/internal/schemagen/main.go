// Command schemagen writes the JSON Schema of the server's configuration file: its keys and types are those of the Go types in
// package config, its descriptions are the comments in their source. make generate runs it.
//
//	go run ./server/config/internal/schemagen server/config/config.go server/config/schema.json
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"

	"packregistry.dev/server/config"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemagen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: schemagen SOURCE SCHEMA")
	}
	docs, err := comments(args[0])
	if err != nil {
		return err
	}
	root := schemaOf(reflect.TypeFor[config.Config](), docs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "Configuration of the pack registry"
	root["required"] = []string{"version"}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(args[1], append(text, '\n'), 0o644) //nolint:gosec // for everybody to read
}

// keyOf is a field's key in the file.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// comments maps types, and fields as Type.Field, to what is written about them.
func comments(source string) (map[string]string, error) {
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments)
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
	case t == reflect.TypeFor[config.Duration]():
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$|^0$`}
	case t == reflect.TypeFor[config.Headers]():
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
