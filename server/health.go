package server

import (
	"net/http"

	"packregistry.dev/internal/htpasswd"
)

// getHealth answers without authentication, as load balancers need it.
func (s *Server) getHealth(w http.ResponseWriter, _ *request) error {
	answer := map[string]any{"status": "UP"}
	status := http.StatusOK
	if wrong := s.health.Wrong(); len(wrong) > 0 {
		status = http.StatusServiceUnavailable
		answer["status"] = "DOWN"
		shown := map[string]string{}
		for part := range wrong { // why is for the log: anybody may ask here
			shown[part] = "failing"
		}
		if s.health.Draining.Load() {
			shown["server"] = "draining"
		}
		answer["checks"] = shown
	}
	if warnings := s.warnings(); len(warnings) > 0 {
		answer["warnings"] = warnings
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, answer)
	return nil
}

// warnings returns what needs attention while clients are served, by part. Anybody may read it: lines are named by number.
func (s *Server) warnings() map[string]string {
	if s.users == nil {
		return nil
	}
	if s.users.Status() != nil {
		return map[string]string{"users": "the users' file cannot be read; the users read last stay"}
	}
	if unusable := s.users.Unusable(); len(unusable) > 0 {
		return map[string]string{"users": "lines of the users' file can never match: " + htpasswd.Lines(unusable) + "; the log says why"}
	}
	return nil
}
