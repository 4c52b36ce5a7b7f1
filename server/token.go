package server

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/internal/tokens"
	"packregistry.dev/server/store"
)

// The distribution token flow (distribution/distribution, docs/content/spec/auth/token.md and oauth.md) at /v2, for
// registries that have users and let in others too. Clients decide by the answer to GET /v2/ whether to log in at all: to a
// plain 200 they never send a password. Here they are sent to /token, where everybody gets a token, with the rights that
// they have. docs/adr/0001-tokens.md says why it is like this.

const (
	// tokenService is what the challenge calls this server. Nothing depends on it.
	tokenService = "packregistry"
	// maxTokenRequest bounds the form of a token request.
	maxTokenRequest = 64 << 10
)

// newTokens returns nil where clients must log in for everything, or cannot at all: a challenge for Basic says so.
func newTokens(content *store.Store, users *auth.HTPasswd, policy *auth.Policy, log *slog.Logger) *tokens.Tokens {
	if users == nil || policy == nil || !policy.Anonymous() {
		return nil
	}
	return tokens.New(content, users, log)
}

// authenticateToken finds out who brings a token.
func (s *Server) authenticateToken(w http.ResponseWriter, r *request, token string) error {
	t, err := s.tokens.Verify(r.Context(), token)
	if errors.Is(err, auth.ErrToken) {
		s.metrics.Auth("denied")
		s.challenge(w, r, "", "invalid_token")
		return fail(codeUnauthorized, "%w", err)
	}
	if err != nil {
		return err
	}
	r.user, r.token = t.User, t
	s.metrics.Auth("accepted")
	return nil
}

// tokenRealm is the URL where clients get tokens, or empty where the request is to be answered with a challenge for Basic.
func (s *Server) tokenRealm(r *request) string {
	if s.tokens == nil || r.api != "v2" {
		return ""
	}
	if !s.knowsBase(r) {
		s.warnedOfBase.Do(func() {
			s.log.Warn("plain HTTP does not show which URL clients use, so they are not offered tokens, and docker, podman and skopeo do not log in where "+
				"they need not: set http.host, or name the proxy that ends TLS in http.trustedproxies", "from", r.client.Addr)
		})
		return ""
	}
	return s.base(r) + s.prefix + "token"
}

// getToken gives a token to a user, who sends a password as for any request, or to nobody.
func (s *Server) getToken(w http.ResponseWriter, r *request) error {
	if s.tokens == nil {
		return fail(codeNotFound, "this registry gives no tokens; use basic authentication (RFC 7617)")
	}
	if err := s.authenticateBasic(w, r); err != nil {
		return err
	}
	return s.giveToken(w, r, r.URL.Query()["scope"])
}

// postToken is the same in the form of OAuth 2.
func (s *Server) postToken(w http.ResponseWriter, r *request) error {
	if s.tokens == nil {
		return fail(codeNotFound, "this registry gives no tokens; use basic authentication (RFC 7617)")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxTokenRequest)
	if err := r.ParseForm(); err != nil {
		return fail(codeTokenInvalid, "no form: %v", err)
	}
	if grant := r.PostForm.Get("grant_type"); grant != "password" {
		return fail(codeTokenInvalid, "grant_type %q is not supported; use password", telemetry.Clip(grant))
	}
	if err := s.checkPassword(w, r, r.PostForm.Get("username"), r.PostForm.Get("password")); err != nil {
		return err
	}
	return s.giveToken(w, r, r.PostForm["scope"])
}

func (s *Server) giveToken(w http.ResponseWriter, r *request, asked []string) error {
	wanted := auth.ParseScopes(asked)
	for i := range wanted { // rights go by repositories' own names
		wanted[i].Name = s.basePaths.Repository(wanted[i].Name)
	}
	scopes := s.policy.Grant(r.user, wanted)
	now := s.tokens.Now()
	token, err := s.tokens.Sign(r.Context(), r.user, scopes)
	if errors.Is(err, auth.ErrToken) {
		s.challenge(w, r, "", "")
		return fail(codeUnauthorized, "unknown user or wrong password")
	}
	if err != nil {
		return err
	}
	granted := make([]string, len(scopes))
	for i, scope := range scopes {
		granted[i] = scope.Type + ":" + scope.Name + ":" + strings.Join(scope.Actions, ",")
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, map[string]any{
		"token": token, "access_token": token, "token_type": "Bearer", "scope": strings.Join(granted, " "),
		"expires_in": int(auth.TokenLife.Seconds()), "issued_at": now.UTC().Format(time.RFC3339),
	})
	return nil
}
