// Package strictjson reads JSON that comes from somebody else so that it says the same to every reader.
//
// encoding/json takes the last of two equal keys and takes "Layers" for "layers"; other readers take the first, or know only
// the exact spelling. What one program checks would then not be what another one uses. Here a doubled key is an error, and so
// is a key that differs from a known one by upper and lower case only. Input is also bounded in what it becomes: a value
// of two bytes in the text takes a hundred in memory.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Limits bound a document. Zero means no bound.
type Limits struct {
	// Values is how many objects, arrays, strings, numbers and so on there may be, keys not counted.
	Values int
	// Depth is how deep they may be nested.
	Depth int
}

// Unmarshal is json.Unmarshal for text that Check accepts.
func Unmarshal(text []byte, into any, limits Limits) error {
	if err := Check(text, reflect.TypeOf(into), limits); err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// Check says what is wrong with a document that is to be read as a value of the given type: syntax, doubled keys, keys that
// differ from a field's name in case only, or more than the limits allow. Keys of maps, and below fields that the type does
// not have, may have any spelling.
func Check(text []byte, as reflect.Type, limits Limits) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	c := &checker{limits: limits}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			if c.values == 0 || len(c.open) > 0 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
		if err == nil {
			err = c.token(token, as)
		}
		if err != nil {
			return fmt.Errorf("at byte %d: %w", decoder.InputOffset(), err)
		}
	}
}

// level is an object or an array whose end has not come yet.
type level struct {
	object bool
	// as is the type that its content is read as; nil where nothing is known of it.
	as   reflect.Type
	keys map[string]bool
	// wantsValue says that an object's key was read and its value was not.
	wantsValue bool
	// next is the type of the next value.
	next reflect.Type
}

type checker struct {
	limits Limits
	values int
	open   []*level
}

func (c *checker) token(token json.Token, as reflect.Type) error {
	if delimiter, ok := token.(json.Delim); ok && (delimiter == '}' || delimiter == ']') {
		c.open = c.open[:len(c.open)-1]
		return nil
	}
	if len(c.open) > 0 {
		inside := c.open[len(c.open)-1]
		if inside.object && !inside.wantsValue {
			key, _ := token.(string) // the decoder accepts nothing else here
			return inside.key(key)
		}
		inside.wantsValue = false
		as = inside.next
	} else if c.values > 0 {
		return errors.New("a second document")
	}
	c.values++
	if c.limits.Values > 0 && c.values > c.limits.Values {
		return fmt.Errorf("more than %d values", c.limits.Values)
	}
	delimiter, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	if c.limits.Depth > 0 && len(c.open) >= c.limits.Depth {
		return fmt.Errorf("nested more than %d deep", c.limits.Depth)
	}
	l := &level{object: delimiter == '{', as: content(as)}
	if !l.object {
		l.next = element(l.as)
	}
	c.open = append(c.open, l)
	return nil
}

// key notes a key of an object.
func (l *level) key(key string) error {
	if l.keys[key] {
		return fmt.Errorf("the key %q stands twice", clip(key))
	}
	if l.keys == nil {
		l.keys = map[string]bool{}
	}
	l.keys[key] = true
	l.wantsValue, l.next = true, nil
	switch {
	case l.as == nil:
	case l.as.Kind() == reflect.Map:
		l.next = l.as.Elem()
	case l.as.Kind() == reflect.Struct:
		for _, field := range reflect.VisibleFields(l.as) {
			name, ok := fieldName(field)
			switch {
			case !ok:
			case name == key:
				l.next = field.Type
				return nil
			case strings.EqualFold(name, key):
				return fmt.Errorf("the key %q must be written %q", clip(key), name)
			}
		}
	}
	return nil
}

// fieldName returns the key that a field is read from.
func fieldName(field reflect.StructField) (string, bool) {
	tag := field.Tag.Get("json")
	if !field.IsExported() || tag == "-" || field.Anonymous && tag == "" {
		return "", false
	}
	name, _, _ := strings.Cut(tag, ",")
	if name == "" {
		name = field.Name
	}
	return name, true
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// content follows pointers; what reads itself is unknown.
func content(t reflect.Type) reflect.Type {
	for t != nil {
		switch {
		case t.Kind() == reflect.Pointer:
			t = t.Elem()
			continue
		case reflect.PointerTo(t).Implements(unmarshaler):
			return nil
		}
		return t
	}
	return nil
}

func element(t reflect.Type) reflect.Type {
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) {
		return t.Elem()
	}
	return nil
}

// clip keeps messages readable.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
