package server

import (
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"

	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/telemetry"
	"packregistry.dev/server/store"
)

// This file finds out who asks, by password or token, and what they may do.

// authenticate finds out who asks. Somebody without a credential is nobody, not an error.
func (s *Server) authenticate(w http.ResponseWriter, r *request) error {
	if s.policy == nil {
		return nil
	}
	if scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); s.tokens != nil && strings.EqualFold(scheme, "Bearer") {
		return s.authenticateToken(w, r, strings.TrimSpace(token))
	}
	return s.authenticateBasic(w, r)
}

func (s *Server) authenticateBasic(w http.ResponseWriter, r *request) error {
	user, password, ok := r.BasicAuth()
	if ok {
		return s.checkPassword(w, r, user, password)
	}
	if r.Header.Get("Authorization") != "" {
		s.challenge(w, r, "", "")
		return fail(codeUnauthorized, "use basic authentication (RFC 7617)")
	}
	return nil
}

// checkPassword finds out whether a user has that password, and asks for another where not.
func (s *Server) checkPassword(w http.ResponseWriter, r *request, user, password string) error {
	err := s.login(r, user, password)
	var throttled *auth.ThrottledError
	switch {
	case errors.As(err, &throttled):
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(throttled.RetryAfter.Seconds()))))
	case errors.Is(err, auth.ErrDenied):
		s.challenge(w, r, "", "")
	}
	return err
}

// login finds out whether a user has that password, and slows down who guesses.
func (s *Server) login(r *request, user, password string) error {
	err := auth.ErrDenied
	if s.users != nil {
		err = s.users.Check(r.Context(), r.client.Addr, user, password)
	}
	var throttled *auth.ThrottledError
	switch {
	case err == nil:
		r.user = user
		s.metrics.Auth("accepted")
		return nil
	case errors.As(err, &throttled):
		s.metrics.Auth("throttled")
		s.log.Debug("login put off", "user", telemetry.Clip(user), "from", r.client.Addr, "request", r.id)
		return fail(codeTooMany, "%w", err)
	case !errors.Is(err, auth.ErrDenied):
		return err // the client went away
	}
	s.metrics.Auth("denied")
	s.log.Warn("login refused", "audit", true, "user", telemetry.Clip(user), "from", r.client.Addr, "request", r.id)
	return fail(codeUnauthorized, "%w", err)
}

// challenge says how to log in: with a token for a scope, where clients are given tokens, or else with a password. problem
// is RFC 6750's error, where a token was brought that will not do.
func (s *Server) challenge(w http.ResponseWriter, r *request, scope, problem string) {
	if realm := s.tokenRealm(r); realm != "" {
		value := "Bearer realm=" + quote(realm) + ",service=" + quote(tokenService)
		if scope != "" {
			value += ",scope=" + quote(scope)
		}
		if problem != "" {
			value += ",error=" + quote(problem)
		}
		w.Header().Set("WWW-Authenticate", value)
		return
	}
	realm := "basic-realm"
	if c := s.config.Auth; c != nil && c.HTPasswd != nil {
		realm = c.HTPasswd.Realm
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="`+realm+`", charset="UTF-8"`)
}

var actions = map[permission]auth.Action{pull: auth.Pull, push: auth.Push, del: auth.Delete}

// authorize compares what the route needs with what the user may do, and with what the token is for, if there is one.
func (s *Server) authorize(w http.ResponseWriter, r *request, needs permission) error {
	if s.policy == nil {
		return nil
	}
	if r.repository == nil {
		return s.authorizeList(w, r)
	}
	allowed := s.policy.Allows(r.user, actions[needs], r.repository.Name())
	switch {
	case allowed && (r.token == nil || r.token.Allows("repository", r.repository.Name(), string(actions[needs]))):
		return nil
	case allowed || r.user == "":
		return s.unauthorized(w, r, s.scope(r, needs))
	}
	s.forbidden(r, actions[needs], r.repository.Name())
	return fail(codeDenied, "%s may not %s here (auth.access)", r.user, actions[needs])
}

// forbidden counts what a caller may not do, and records it where that is a user.
func (s *Server) forbidden(r *request, action auth.Action, repository string) {
	if r.user == "" {
		s.metrics.Auth("missing")
		return
	}
	s.metrics.Auth("forbidden")
	s.log.Warn("not allowed", "audit", true, "action", action, "repository", repository, "user", r.user, "from", r.client.Addr, "request", r.id)
}

// authorizeList is for routes without a repository. They ask only for somebody who may do anything at all; lists show what
// may be pulled. Clients decide by the version check whether to log in, so it asks for at least a token of nobody.
func (s *Server) authorizeList(w http.ResponseWriter, r *request) error {
	const catalogScope = "registry:catalog:*"
	switch {
	case r.user == "" && !s.policy.Anonymous():
		return s.unauthorized(w, r, "")
	case r.route == versionPattern && r.user == "" && r.token == nil && s.tokenRealm(r) != "":
		return s.unauthorized(w, r, "")
	case (r.route == catalogPattern || r.route == indexPattern) && r.token != nil && !r.token.Allows("registry", "catalog", "*"):
		return s.unauthorized(w, r, catalogScope)
	}
	return nil
}

// unauthorized asks for a login, or for a token of another scope.
func (s *Server) unauthorized(w http.ResponseWriter, r *request, scope string) error {
	s.metrics.Auth("missing")
	if r.token == nil {
		s.challenge(w, r, scope, "")
		return fail(codeUnauthorized, "")
	}
	s.challenge(w, r, scope, "insufficient_scope")
	if r.user == "" {
		return fail(codeUnauthorized, "")
	}
	return fail(codeUnauthorized, "the token is not for this; ask for one with the scope %s", scope)
}

// scope is what a token must be for so that a request is let in.
func (s *Server) scope(r *request, needs permission) string {
	named := map[permission]string{pull: "pull", push: "pull,push", del: "delete"}[needs]
	// Names are those of the request: clients add scopes of their own making, and keep tokens by what they asked for.
	name, from := r.name, r.URL.Query().Get("from")
	if r.api == "v1" {
		name, from = r.repository.Name(), s.repositoryName(r.api, from)
	}
	scope := "repository:" + name + ":" + named
	if needs == push && store.ValidName(s.basePaths.Repository(from)) {
		scope += " repository:" + from + ":pull"
	}
	return scope
}

// mayPull says whether the caller may read a repository besides the one that the request is for.
func (s *Server) mayPull(r *request, repository string) bool {
	return s.policy == nil || s.policy.Allows(r.user, auth.Pull, repository) && (r.token == nil || r.token.Allows("repository", repository, string(auth.Pull)))
}
