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
	{"GET", "about", (*Handler).getAbout},
	{"GET", "assets/{file}", (*Handler).getAsset},
	{"GET", "packs/{name}", (*Handler).getPack},
	{"GET", "packs/{name}/{reference}", (*Handler).getPack},
	{"GET", "packs/{name}/{reference}/values", (*Handler).getValues},
	{"GET", "packs/{name}/{reference}/versions", (*Handler).getVersions},
	{"GET", "packs/{name}/{reference}/diff", (*Handler).chooseDiff},
	{"GET", "packs/{name}/{reference}/diff/{other}", (*Handler).getDiff},
	{"GET", "packs/{name}/{reference}/dependencies", (*Handler).getDependencies},
	{"GET", "packs/{name}/{reference}/images", (*Handler).getImages},
	{"GET", "packs/{name}/{reference}/files", (*Handler).getFile},
	{"GET", "packs/{name}/{reference}/files/{path...}", (*Handler).getFile},
	{"GET", "login", (*Handler).getLogin},
	{"POST", "login", (*Handler).postLogin},
	{"POST", "logout", (*Handler).postLogout},
	{"GET", "packs/{name}/{reference}/delete", (*Handler).askDelete},
	{"POST", "packs/{name}/{reference}/delete", (*Handler).postDelete},
	{"POST", "packs/{name}/{reference}/untag", (*Handler).postUntag},
	{"POST", "packs/{name}/{reference}/tag", (*Handler).postTag},
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
