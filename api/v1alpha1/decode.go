package v1alpha1

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// This file decodes PackRegistries so that one of them cannot keep a client from all others. A list, or a watch, of which one
// object cannot be decoded fails as a whole; and whoever may write one PackRegistry could so stop the operator for everybody,
// with a value that some version of the schema lets through and the Go types do not know.

// maxUndecodable bounds how many values of one object are left out before it is given up.
const maxUndecodable = 256

// UnmarshalJSON decodes a PackRegistry. Of an object that an API server holds (it has a uid), what cannot be decoded is left
// out, and named in DecodeError; of any other the error is returned. A status is for the operator to write: one that cannot
// be decoded is none.
func (r *PackRegistry) UnmarshalJSON(data []byte) error {
	type plain PackRegistry // has no methods
	whole := plain{}
	err := utiljson.Unmarshal(data, &whole)
	if err == nil {
		*r = PackRegistry(whole)
		return nil
	}
	var raw map[string]any
	if utiljson.Unmarshal(data, &raw) != nil {
		return err
	}
	path, why := findUndecodable(reflect.TypeFor[plain](), raw)
	failure := fmt.Errorf("%s: %w", pathString(path), why)
	if metadata, ok := raw["metadata"].(map[string]any); !ok || metadata["uid"] == nil {
		return failure
	}
	var failures []string
	for range maxUndecodable {
		if path, why = findUndecodable(reflect.TypeFor[plain](), raw); why == nil {
			break
		}
		switch {
		case len(path) > 0 && path[0] == "status":
			delete(raw, "status")
			continue
		case len(path) < 2 || path[0] != "spec":
			return failure
		}
		failures = append(failures, fmt.Sprintf("%s: %v", pathString(path), why))
		leaveOut(raw, path)
	}
	if data, err = json.Marshal(raw); err != nil {
		return failure
	}
	partial := plain{}
	if err := utiljson.Unmarshal(data, &partial); err != nil {
		return failure
	}
	partial.DecodeError = strings.Join(failures, "; ")
	*r = PackRegistry(partial)
	return nil
}

// findUndecodable returns the path, of keys and indexes, of a value that does not fit its type, and why it does not.
func findUndecodable(t reflect.Type, value any) (path []any, why error) {
	data, err := json.Marshal(value)
	if err == nil {
		err = utiljson.Unmarshal(data, reflect.New(t).Interface())
	}
	if err == nil {
		return nil, nil
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			member, ok := memberType(t, key)
			if !ok {
				continue
			}
			if path, why := findUndecodable(member, value[key]); why != nil {
				return append([]any{key}, path...), why
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil, err
		}
		for i, element := range value {
			if path, why := findUndecodable(t.Elem(), element); why != nil {
				return append([]any{i}, path...), why
			}
		}
	}
	return nil, err
}

// memberType is the type of what a key of a JSON object is decoded into.
func memberType(t reflect.Type, key string) (reflect.Type, bool) {
	if t.Kind() == reflect.Map {
		return t.Elem(), true
	}
	if t.Kind() != reflect.Struct {
		return nil, false
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == key {
			return field.Type, true
		}
		if name == "" && field.Anonymous {
			if member, ok := memberType(field.Type, key); ok {
				return member, true
			}
		}
	}
	return nil, false
}

// leaveOut removes the value at a path. In a list, where others keep their places, it becomes null.
func leaveOut(value any, path []any) {
	switch last := len(path) == 1; at := value.(type) {
	case map[string]any:
		key, _ := path[0].(string)
		if last {
			delete(at, key)
			return
		}
		leaveOut(at[key], path[1:])
	case []any:
		i, _ := path[0].(int)
		if last {
			at[i] = nil
			return
		}
		leaveOut(at[i], path[1:])
	}
}

func pathString(path []any) string {
	var b strings.Builder
	for _, step := range path {
		switch step := step.(type) {
		case int:
			fmt.Fprintf(&b, "[%d]", step)
		case string:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		}
	}
	return b.String()
}
