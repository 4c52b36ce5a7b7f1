package children

import (
	"encoding/json"

	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// This file brings what a spec says in the words of another API into the form in which the API server stores it. Within lists and
// objects that have one owner as a whole it leaves out what is empty and fills in defaults, so that what is owned there would never
// be what was applied, and be applied again and again.

// canonical is JSON of a type T without the fields that T leaves out where they are empty, and with defaults.
func canonical[T any](data []byte) ([]byte, error) {
	var given, stored any
	typed := new(T)
	if err := json.Unmarshal(data, typed); err != nil {
		return nil, err
	}
	again, err := json.Marshal(typed)
	if err != nil {
		return nil, err
	}
	if err := utiljson.Unmarshal(again, &stored); err != nil {
		return nil, err
	}
	if err := utiljson.Unmarshal(data, &given); err != nil {
		return nil, err
	}
	both := intersect(given, stored)
	fillIn(both)
	return json.Marshal(both)
}

// intersect is what is stored of what was given: a type also writes empty objects that nobody has given.
func intersect(given, stored any) any {
	switch given := given.(type) {
	case map[string]any:
		stored, ok := stored.(map[string]any)
		if !ok {
			return given
		}
		both := map[string]any{}
		for key, value := range given {
			if kept, ok := stored[key]; ok {
				both[key] = intersect(value, kept)
			}
		}
		return both
	case []any:
		stored, ok := stored.([]any)
		if !ok || len(stored) != len(given) {
			return given
		}
		both := make([]any, len(given))
		for i := range given {
			both[i] = intersect(given[i], stored[i])
		}
		return both
	}
	return stored
}

// defaults within objects that have one owner as a whole, by the fields that hold these.
var defaults = map[string]struct {
	field string
	value any
}{
	"fieldRef":            {"apiVersion", "v1"},
	"resourceFieldRef":    {"divisor", "0"},
	"serviceAccountToken": {"expirationSeconds", int64(3600)},
}

func fillIn(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		for key, value := range tree {
			object, isObject := value.(map[string]any)
			if known, ok := defaults[key]; ok && isObject && object[known.field] == nil {
				object[known.field] = known.value
			}
			fillIn(value)
		}
	case []any:
		for _, value := range tree {
			fillIn(value)
		}
	}
}
