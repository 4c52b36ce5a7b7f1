package ui

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// Logins is how the sender of one request logs in and out.
type Logins interface {
	// Secure says whether a password can be sent: over HTTPS, or to a proxy that says that it was.
	Secure() bool
	// LogIn checks a password, and adds a session to the answer. It returns ErrDenied, perhaps wrapped, a *ThrottledError, or what failed.
	LogIn(ctx context.Context, w http.ResponseWriter, user, password string) error
	// LogOut takes the session away from the browser.
	LogOut(w http.ResponseWriter)
}

// ErrDenied says that there is no such user, or that the password is another.
var ErrDenied = errors.New("wrong user name or password")

// ThrottledError says that so many wrong passwords came from there that the next one must wait.
type ThrottledError struct{ RetryAfter time.Duration }

func (e *ThrottledError) Error() string { return "too many wrong passwords" }

// maxForm is how many bytes a form may have.
const maxForm = 16 << 10

// readForm reads a form that was sent, and refuses one that is none.
func readForm(w http.ResponseWriter, r *request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return &failure{Status: http.StatusBadRequest, Heading: "This form cannot be read", Text: "Go back and send it again."}
	}
	return nil
}

type loginPage struct {
	// Secure is false where no password can be taken.
	Secure bool
	// Address is the same page by HTTPS.
	Address    string
	Next, User string
	// Wrong is set where a password was not taken, and Wait is for how long the next one will not be.
	Wrong bool
	Wait  int
}

func (h *Handler) getLogin(w http.ResponseWriter, r *request) error {
	logins, err := h.logins(r)
	if err != nil {
		return err
	}
	next := h.localPath(r.URL.Query().Get("next"))
	if r.viewer.User() != "" {
		http.Redirect(w, r.Request, next, http.StatusSeeOther)
		return nil
	}
	return h.showLogin(w, r, http.StatusOK, loginPage{Secure: logins.Secure(), Next: next})
}

func (h *Handler) postLogin(w http.ResponseWriter, r *request) error {
	logins, err := h.logins(r)
	if err != nil {
		return err
	}
	if err := readForm(w, r); err != nil {
		return err
	}
	p := loginPage{Secure: logins.Secure(), Next: h.localPath(r.PostForm.Get("next")), User: r.PostForm.Get("user")}
	if !p.Secure {
		return h.showLogin(w, r, http.StatusForbidden, p)
	}
	var throttled *ThrottledError
	switch err := logins.LogIn(r.Context(), w, p.User, r.PostForm.Get("password")); {
	case err == nil:
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r.Request, p.Next, http.StatusSeeOther)
		return nil
	case errors.As(err, &throttled):
		p.Wait = max(1, int(math.Ceil(throttled.RetryAfter.Seconds())))
		w.Header().Set("Retry-After", strconv.Itoa(p.Wait))
		return h.showLogin(w, r, http.StatusTooManyRequests, p)
	case errors.Is(err, ErrDenied):
		p.Wrong = true
		return h.showLogin(w, r, http.StatusForbidden, p) // 401 would have to ask for a scheme of HTTP's
	default:
		return err
	}
}

func (h *Handler) postLogout(w http.ResponseWriter, r *request) error {
	if h.Logins != nil {
		h.Logins(r.Request).LogOut(w)
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r.Request, h.Base, http.StatusSeeOther)
	return nil
}

func (h *Handler) logins(r *request) (Logins, error) {
	if h.Logins == nil || !r.viewer.CanLogIn() {
		return nil, &failure{Status: http.StatusNotFound, Heading: "Nobody logs in here", Text: "This registry has no users: what it shows, it shows to everybody."}
	}
	return h.Logins(r.Request), nil
}

func (h *Handler) showLogin(w http.ResponseWriter, r *request, status int, p loginPage) error {
	_, rest, _ := strings.Cut(h.address(r), "://")
	p.Address = "https://" + rest + h.Base + "login"
	w.Header().Set("Cache-Control", "no-store")
	return h.render(w, r, content{Template: "login", Status: status, Title: "Log in", OwnSearch: true, Data: p})
}

// localPath returns where to go after a login: a page of these, whatever the link to the login said.
func (h *Handler) localPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Opaque != "" || strings.ContainsFunc(u.Path, func(c rune) bool { return c < ' ' || c == '\\' }) ||
		!strings.HasPrefix(u.Path, h.Base) || path.Clean(u.Path) != strings.TrimSuffix(u.Path, "/") || u.Path == h.Base+"login" || u.Path == h.Base+"logout" {
		return h.Base
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}

// fromElsewhere says whether a link of another site led here. A browser then sends no session with the request, though it may have one.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return (site == "cross-site" || site == "same-site") && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Method == http.MethodGet
}
