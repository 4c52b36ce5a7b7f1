package ui

import "net/http"

// rowsPerPage is how many packs a page of the list shows.
const rowsPerPage = 50

type listPage struct {
	Query Query
	List  List
}

func (h *Handler) getList(w http.ResponseWriter, r *request) error {
	q := Query{Text: r.URL.Query().Get("q"), Limit: rowsPerPage}
	found, err := r.registry.Search(r.Context(), q)
	if err != nil {
		return err
	}
	return h.render(w, r, content{Template: "list", Title: "Packs", Section: "packs", OwnSearch: true, Data: listPage{q, found}})
}
