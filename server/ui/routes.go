package ui

import "net/http"

// page answers one route. An error is rendered and logged in one place.
type page func(h *Handler, w http.ResponseWriter, r *request) error

// routes is every page, by net/http's patterns below Options.Base. GET serves HEAD too.
var routes = []struct {
	method, pattern string
	handle          page
}{
	{"GET", "{$}", (*Handler).getList},
	{"GET", "assets/{file}", (*Handler).getAsset},
}

func (h *Handler) mux() *http.ServeMux {
	mux := http.NewServeMux()
	for _, row := range routes {
		mux.HandleFunc(row.method+" "+h.Base+row.pattern, func(w http.ResponseWriter, hr *http.Request) {
			h.serve(w, hr, row.handle)
		})
	}
	mux.HandleFunc(h.Base, func(w http.ResponseWriter, hr *http.Request) {
		h.serve(w, hr, func(*Handler, http.ResponseWriter, *request) error { return ErrNotFound })
	})
	return mux
}
