package pages

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/ui"
)

// User returns the user of a request's session; it is empty where there is none that is good. Sessions count over HTTPS only.
func (p *Pages) User(r *http.Request, secure bool) (string, error) {
	if p.sessions == nil || !secure {
		return "", nil
	}
	for _, c := range r.CookiesNamed(p.cookie) {
		user, err := p.sessions.Open(r.Context(), c.Value)
		if !errors.Is(err, auth.ErrSession) {
			return user, err
		}
	}
	return "", nil
}

// logins is how the sender of one request logs in and out.
type logins struct {
	p *Pages
	v *Visit
}

func (l logins) Secure() bool { return l.v.Secure }

func (l logins) LogIn(ctx context.Context, w http.ResponseWriter, user, password string) error {
	if !l.v.Secure {
		return errors.New("a login over plain HTTP")
	}
	var throttled *auth.ThrottledError
	switch err := l.v.Login(user, password); {
	case errors.As(err, &throttled):
		return &ui.ThrottledError{RetryAfter: throttled.RetryAfter}
	case errors.Is(err, auth.ErrDenied):
		return fmt.Errorf("%w: %w", ui.ErrDenied, err)
	case err != nil:
		return err
	}
	sealed, err := l.p.sessions.Seal(ctx, user)
	if errors.Is(err, auth.ErrSession) { // the user went meanwhile
		return ui.ErrDenied
	}
	if err != nil {
		return err
	}
	http.SetCookie(w, l.p.newCookie(sealed, int(auth.SessionLife.Seconds())))
	return nil
}

func (l logins) LogOut(w http.ResponseWriter) { http.SetCookie(w, l.p.newCookie("", -1)) }

// newCookie is the session's cookie. A browser takes no cookie whose name begins so from another host, or over plain HTTP.
func (p *Pages) newCookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: p.cookie, Value: value, Path: "/", MaxAge: maxAge, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
}
