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
	"slices"
	"strings"
	"sync"
)

// Limits bound a document. Zero means no bound.
type Limits struct {
	// Values is how many objects, arrays, strings, numbers and so on there may be, keys not counted.
	Values int
	// Depth is how deep they may be nested.
	Depth int
	// Members is how many elements one array, or keys one object, may have.
	Members int
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
	as reflect.Type
	// keys are the first of an object's, and more the others: most objects have few.
	keys []string
	more map[string]bool
	// members counts the keys of an object, or the elements of an array.
	members int
	// wantsValue says that an object's key was read and its value was not.
	wantsValue bool
	// next is the type of the next value.
	next reflect.Type
}

type checker struct {
	limits Limits
	values int
	// open are the levels that the next token is in. What lies behind them is used again.
	open []level
}

func (c *checker) token(token json.Token, as reflect.Type) error {
	if delimiter, ok := token.(json.Delim); ok && (delimiter == '}' || delimiter == ']') {
		c.open = c.open[:len(c.open)-1]
		return nil
	}
	if len(c.open) > 0 {
		inside := &c.open[len(c.open)-1]
		if !inside.wantsValue {
			if inside.members++; c.limits.Members > 0 && inside.members > c.limits.Members {
				return fmt.Errorf("more than %d members in one array or object", c.limits.Members)
			}
		}
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
	c.push(delimiter == '{', content(as))
	return nil
}

func (c *checker) push(object bool, as reflect.Type) {
	var keys []string
	if n := len(c.open); n < cap(c.open) {
		keys = c.open[:n+1][n].keys[:0]
	}
	l := level{object: object, as: as, keys: keys}
	if !object {
		l.next = element(as)
	}
	c.open = append(c.open, l)
}

// maxKeys is how many keys of an object are looked through one by one.
const maxKeys = 16

// key notes a key of an object.
func (l *level) key(key string) error {
	if l.more[key] || slices.Contains(l.keys, key) {
		return fmt.Errorf("the key %q stands twice", clip(key))
	}
	switch {
	case len(l.keys) < maxKeys:
		l.keys = append(l.keys, key)
	case l.more == nil:
		l.more = map[string]bool{key: true}
	default:
		l.more[key] = true
	}
	l.wantsValue, l.next = true, nil
	switch {
	case l.as == nil:
	case l.as.Kind() == reflect.Map:
		l.next = l.as.Elem()
	case l.as.Kind() == reflect.Struct:
		for _, f := range fieldsOf(l.as) {
			switch {
			case f.name == key:
				l.next = f.as
				return nil
			case strings.EqualFold(f.name, key):
				return fmt.Errorf("the key %q must be written %q", clip(key), f.name)
			}
		}
	}
	return nil
}

// field is a key that a type is read from, and what as.
type field struct {
	name string
	as   reflect.Type
}

// known are the fields of types that were looked at before, which takes longer than all the rest.
var known sync.Map

func fieldsOf(t reflect.Type) []field {
	if found, ok := known.Load(t); ok {
		return found.([]field) //nolint:forcetypeassert // nothing else is put there
	}
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		if name, ok := fieldName(f); ok {
			fields = append(fields, field{name, f.Type})
		}
	}
	known.Store(t, fields)
	return fields
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
