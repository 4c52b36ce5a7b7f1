package ui

import "net/http"

type aboutPage struct {
	About
	// Usage says whether the viewer sees what concerns those who push.
	Usage bool
}

func (h *Handler) getAbout(w http.ResponseWriter, r *request) error {
	about, err := r.registry.About(r.Context())
	if err != nil {
		return err
	}
	return h.render(w, r, content{Template: "about", Title: "About", Section: "about", Data: aboutPage{about, r.viewer.May(Push, "")}})
}
