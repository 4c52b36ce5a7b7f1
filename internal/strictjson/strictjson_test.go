package strictjson_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"packregistry.dev/internal/strictjson"
	"packregistry.dev/internal/testfuzz"
)

type embedded struct {
	Name string `json:"name"`
}

type document struct {
	embedded
	Layers      []layer           `json:"layers"`
	Config      *layer            `json:"config,omitempty"`
	Annotations map[string]string `json:"annotations"`
	Plain       string
	Ignored     string `json:"-"`
}

type layer struct {
	Digest string `json:"digest"`
}

func TestCheck(t *testing.T) {
	limits := strictjson.Limits{Values: 50, Depth: 4, Members: 30}
	many := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, `"%d":0,`, i)
		}
		return b.String()
	}
	for _, tt := range []struct{ name, text, want string }{
		{"a document", `{"name":"a","layers":[{"digest":"x"}],"config":{"digest":"y"}}`, ""},
		{"a scalar", `1`, ""},
		{"unknown keys of any spelling", `{"Foo":1,"foo":2}`, ""},
		{"map keys of any spelling", `{"annotations":{"Name":"a","name":"b"}}`, ""},
		{"a field without a tag", `{"Plain":"x"}`, ""},
		{"a field that is never read", `{"ignored":1,"Hidden":1}`, ""},
		{"the same values in different objects", `{"layers":[{"digest":"x"},{"digest":"x"}]}`, ""},
		{"a doubled key", `{"name":"a","name":"b"}`, `at byte 18: the key "name" stands twice`},
		{"a key doubled by an escape", `{"name":"a","n\u0061me":"b"}`, `"name" stands twice`},
		{"a doubled key where nothing is known", `{"x":{"a":[{"b":1,"b":2}]}}`, `"b" stands twice`},
		{"a doubled key in a map", `{"annotations":{"a":"","a":""}}`, `"a" stands twice`},
		{"another case", `{"Layers":[]}`, `the key "Layers" must be written "layers"`},
		{"another case of an embedded field", `{"NAME":"a"}`, `must be written "name"`},
		{"another case below", `{"layers":[{"DIGEST":"x"}]}`, `must be written "digest"`},
		{"another case behind a pointer", `{"config":{"Digest":"x"}}`, `must be written "digest"`},
		{"a letter that folds", "{\"conﬁg\":1,\"la\u0079er\u017f\":1}", `must be written "layers"`},
		{"many keys", `{` + many(0, 25) + `"x":0}`, ""},
		{"many keys, the first twice", `{` + many(0, 25) + `"0":0}`, `"0" stands twice`},
		{"many keys, the last twice", `{` + many(0, 25) + `"24":0}`, `"24" stands twice`},
		{"many keys in one object, and the same in the next", `[{` + many(0, 20) + `"x":0},{` + many(0, 20) + `"x":0}]`, ""},
		{"the same keys one within the other", `{"a":{"a":{"a":1},"b":1},"b":{"a":1}}`, ""},
		{"a key twice around others", `{"a":{"b":{"c":1}},"d":{"b":1},"a":1}`, `"a" stands twice`},
		{"too many keys", `{` + many(0, 30) + `"x":0}`, "more than 30 members"},
		{"too many elements", `[` + strings.Repeat("1,", 30) + `1]`, "more than 30 members"},
		{"too many values", `[` + strings.Repeat("["+strings.Repeat("1,", 25)+"1],", 2) + `1]`, "more than 50 values"},
		{"too deep", `[[[[[]]]]]`, "nested more than 4 deep"},
		{"nothing", ``, "EOF"},
		{"blanks", ` `, "EOF"},
		{"cut off", `{"name":`, "EOF"},
		{"a second document", `{} {}`, "second document"},
		{"not JSON", `{name}`, "invalid character"},
		{"a stray end", `}`, "invalid character"},
		{"a number as key", `{1:2}`, "byte"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := strictjson.Check([]byte(tt.text), reflect.TypeFor[document](), limits)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// FuzzCheck: whatever is accepted is JSON, and reads the same whether the last or the first of equal keys counts.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{`{"layers":[{"digest":"x"}],"Layers":1}`, `{"a":{"a":[1,2,{"b":null}]}}`, `[]`, `}`, `{"name":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Add([]byte(`{` + strings.Repeat(`"a":{`, 100)))
	f.Add([]byte(`[` + strings.Repeat(`{},`, 10_000) + `1]`))
	f.Fuzz(func(t *testing.T, text []byte) {
		err := strictjson.Check(text, reflect.TypeFor[document](), strictjson.Limits{Values: 1000, Depth: 50})
		if err == nil && !json.Valid(text) {
			t.Errorf("accepted %q, which is no JSON", text)
		}
		testfuzz.Proportionate(t, len(text), func() {
			strictjson.Check(text, reflect.TypeFor[document](), strictjson.Limits{Depth: 50}) //nolint:errcheck // whatever it says
		})
	})
}
