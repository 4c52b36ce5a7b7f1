package ui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// rowsPerPage is how many packs a page of the list shows.
const rowsPerPage = 50

// maxQuery is how long what is searched for may be, in bytes.
const maxQuery = 200

type listPage struct {
	Query   Query
	List    List
	Filters []filter
	// Next is the path of the next page, First that of the first one where this is another.
	Next, First string
	// With says in words which filters are set, and Other are lists with fewer of them.
	With  string
	Other []link
}

// filter is a choice of the list's form.
type filter struct {
	Name, Label, Any string
	Options          []option
}

type option struct {
	Value, Text string
	Selected    bool
}

var (
	layers = []string{"addon", "cni", "csi", "k8s", "kernel", "os"}
	clouds = []string{"aks", "apache-cloudstack", "aws", "azure", "baremetal", "coxedge", "custom", "edge", "edge-native", "eks", "gcp", "gke", "libvirt", "maas", "nested", "openstack", "tencent", "tke", "vsphere"}
)

func parseQuery(q url.Values) Query {
	get := func(name string) string {
		value := q.Get(name)
		return strings.ToValidUTF8(value[:min(len(value), maxQuery)], "")
	}
	return Query{Text: get("q"), Layer: get("layer"), Type: get("type"), Cloud: get("cloud"), Source: get("source"), State: get("state"),
		ByDate: get("sort") == "date", After: get("after"), Limit: rowsPerPage}
}

// path is the list's path for a query.
func (h *Handler) listPath(q Query) string {
	values := url.Values{}
	for _, v := range []struct{ name, value string }{{"q", q.Text}, {"layer", q.Layer}, {"type", q.Type}, {"cloud", q.Cloud}, {"source", q.Source}, {"state", q.State}, {"after", q.After}} {
		if v.value != "" {
			values.Set(v.name, v.value)
		}
	}
	if q.ByDate {
		values.Set("sort", "date")
	}
	if len(values) == 0 {
		return h.Base
	}
	return h.Base + "?" + values.Encode()
}

func (h *Handler) getList(w http.ResponseWriter, r *request) error {
	q := parseQuery(r.URL.Query())
	found, err := r.registry.Search(r.Context(), q)
	if err != nil {
		return err
	}
	if found.Total == 0 {
		return h.render(w, r, content{Template: "empty", Title: "No packs yet", Section: "packs", Data: h.address(r)})
	}
	if len(found.Packs) == 0 && found.Found > 0 && q.After != "" { // the rows after it went meanwhile
		q.After = ""
		http.Redirect(w, r.Request, h.listPath(q), http.StatusSeeOther)
		return nil
	}
	p := listPage{Query: q, List: found, Filters: filters(q, found)}
	if found.More != "" {
		next := q
		next.After = found.More
		p.Next = h.listPath(next)
	}
	first := q
	if first.After = ""; q.After != "" {
		p.First = h.listPath(first)
	}
	title := "Packs"
	if found.Found == 0 {
		title = "No pack matches"
		p.With, p.Other = h.fewer(q)
	}
	return h.render(w, r, content{Template: "list", Title: title, Section: "packs", OwnSearch: true, Data: p})
}

func filters(q Query, found List) []filter {
	choose := func(name, label, chosen string, values ...string) filter {
		f := filter{Name: name, Label: label, Any: "Any"}
		if chosen != "" && !slices.Contains(values, chosen) {
			values = append(slices.Clone(values), chosen)
		}
		for _, v := range values {
			f.Options = append(f.Options, option{v, v, v == chosen})
		}
		return f
	}
	state := filter{Name: "state", Label: "State", Any: "All but disabled"}
	for _, o := range []option{{Value: "current", Text: "Current"}, {Value: "deprecated", Text: "Deprecated"}, {Value: "disabled", Text: "Disabled"}, {Value: "all", Text: "All"}} {
		o.Selected = o.Value == q.State
		state.Options = append(state.Options, o)
	}
	return []filter{
		choose("layer", "Layer", q.Layer, layers...),
		choose("type", "Type", q.Type, found.Types...),
		choose("cloud", "Cloud", q.Cloud, clouds...),
		choose("source", "Source", q.Source, found.Sources...),
		state,
		{Name: "sort", Label: "Sort by", Any: "Name", Options: []option{{"date", "Last update", q.ByDate}}},
	}
}

// fewer says which filters are set, and where there is more.
func (h *Handler) fewer(q Query) (with string, other []link) {
	var set []string
	for _, f := range []struct{ name, value string }{{"layer", q.Layer}, {"type", q.Type}, {"cloud", q.Cloud}, {"source", q.Source}, {"state", q.State}} {
		if f.value != "" {
			set = append(set, f.name+" "+f.value)
		}
	}
	if n := len(set); n > 1 {
		set = []string{strings.Join(set[:n-1], ", ") + " and " + set[n-1]}
	}
	if len(set) > 0 {
		with = " with " + set[0]
	}
	if q.Text != "" && len(set) > 0 {
		other = append(other, link{"Words", h.listPath(Query{Text: q.Text}), "“" + q.Text + "” without the filters", ""})
		without := q
		without.Text, without.After = "", ""
		other = append(other, link{"Filters", h.listPath(without), "Every pack" + with, ""})
	}
	return with, append(other, link{"All", h.Base, "Everything", ""})
}
