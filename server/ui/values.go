package ui

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/pack"
	"packregistry.dev/server/ui/internal/compare"
	"packregistry.dev/server/ui/internal/source"
	"packregistry.dev/server/ui/internal/values"
)

type valuesPage struct {
	*view
	Groups []presetGroup
	// HasRules says whether there are rules, Rules whether they are shown; Absent is how many are of keys that are not there.
	HasRules, Rules bool
	Absent          int
	Lines           []valueLine
	Listing         *listing
	// Changed is how many lines come from presets.
	Changed int
	// Raw is the address of what is shown, as it is.
	Raw string
	// Why says why there is nothing to show, or why a preset is not applied.
	Why string
}

type presetGroup struct {
	Name    string
	Presets []presetChoice
}

type presetChoice struct {
	Name, Label string
	Chosen      bool
}

type valueLine struct {
	source.Line
	New  bool
	Rule *values.Rule
}

func (h *Handler) getValues(w http.ResponseWriter, r *request) error {
	v, err := h.open(r, "values")
	if err != nil {
		return err
	}
	p := valuesPage{view: v, Raw: v.RawPath(pack.ValuesFile)}
	files, err := v.pack.Read(r.Context(), v.Version, maxRead, present(v, pack.ValuesFile, "presets.yaml", "schema.yaml")...)
	if err != nil && !errors.Is(err, ErrTooLarge) {
		return err
	}
	text, ok := files[pack.ValuesFile]
	switch {
	case errors.Is(err, ErrTooLarge):
		p.Why = "values.yaml, presets.yaml or schema.yaml is larger than what is shown here."
	case !ok:
		p.Why = "This version has no values.yaml."
	case !source.IsText(text):
		p.Why = "values.yaml is not text."
	default:
		shown, chosen := p.apply(r, string(text), files["presets.yaml"])
		if r.URL.Query().Get("raw") != "" {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			return sendCompressed(w, r.Request, http.StatusOK, []byte(shown))
		}
		p.list(h, r, string(text), shown, chosen, files["schema.yaml"])
	}
	return h.renderView(w, r, "values", "Values of "+v.DisplayName()+" "+v.Label, v, p)
}

// present returns those of some files that a version has.
func present(v *view, names ...string) (there []string) {
	for _, name := range names {
		if v.Has(name) {
			there = append(there, name)
		}
	}
	return there
}

// apply returns the values with the presets that were chosen.
func (p *valuesPage) apply(r *request, text string, presets []byte) (shown string, chosen bool) {
	offered, err := values.Presets(presets)
	if len(presets) > 0 && err != nil {
		p.Why = err.Error()
	}
	enabled := values.Enabled(text)
	var apply []values.Preset
	for _, one := range offered {
		i := 0
		for i < len(p.Groups) && p.Groups[i].Name != one.Group {
			i++
		}
		if i == len(p.Groups) {
			p.Groups = append(p.Groups, presetGroup{Name: one.Group})
		}
		asked := r.URL.Query().Get("preset." + one.Group)
		choice := presetChoice{one.Name, one.DisplayName, asked == one.Name || asked == "" && enabled[one.Group] == one.Name}
		p.Groups[i].Presets = append(p.Groups[i].Presets, choice)
		if asked == one.Name && enabled[one.Group] != one.Name {
			apply = append(apply, one)
		}
	}
	if len(apply) == 0 {
		return text, false
	}
	changed, err := values.Apply(text, apply)
	if err != nil {
		p.Why = "The preset was not applied: " + err.Error() + "."
		return text, false
	}
	return changed, true
}

// list makes the listing: what is new in it, and the rules at their keys.
func (p *valuesPage) list(h *Handler, r *request, text, shown string, chosen bool, schema []byte) {
	key := "values " + p.Version.Digest.String()
	if chosen {
		key += " " + digest.FromString(shown).String()
	}
	made := h.cached(key, func() any { return source.Lines(pack.ValuesFile, shown) })
	lines, ok := made.([]source.Line)
	if !ok {
		return
	}
	p.Listing = &listing{Name: pack.ValuesFile, Total: len(lines)}
	p.Listing.page(r, lines)
	q := r.URL.Query()
	var rules map[int]values.Rule
	if p.HasRules = len(schema) > 0; p.HasRules {
		p.Rules = q.Get("rules") != "" || !q.Has("shown")
		if p.Rules {
			rules, p.Absent = values.Rules(schema, []byte(shown))
		}
	}
	fresh := map[int]bool{}
	if chosen {
		for _, row := range compare.Lines(source.Split(text), source.Split(shown)).Rows {
			if row.Kind == '+' {
				fresh[row.New] = true
			}
		}
		raw := url.Values{"raw": {"1"}}
		for name, value := range q {
			if strings.HasPrefix(name, "preset.") {
				raw[name] = value
			}
		}
		p.Raw = p.Path("values") + "?" + raw.Encode()
	}
	p.Changed = len(fresh)
	for _, l := range p.Listing.Lines {
		line := valueLine{Line: l, New: fresh[l.Number]}
		if rule, ok := rules[l.Number]; ok {
			line.Rule = &rule
		}
		p.Lines = append(p.Lines, line)
	}
}
