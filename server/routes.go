package server

import (
	"net/http"
	"strings"
	"time"

	"packregistry.dev/pack"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/internal/clientip"
	"packregistry.dev/server/store"
)

// permission is what a route asks of whoever calls it.
type permission int

const (
	open permission = iota // no credential
	pull                   // reads content
	push                   // adds content
	del                    // removes content
)

// handler answers one route. An error is rendered and logged in one place.
type handler func(s *Server, w http.ResponseWriter, r *request) error

// route is a row of the table. A pattern is an API, v1 or v2, then the repository's name where there is one (it may hold
// slashes), then fixed words and one parameter in braces.
type route struct {
	method  string
	pattern string
	needs   permission
	handle  handler
	// content says that requests bring bytes of blobs, of which only so many may do so at once.
	content bool
}

// routes is the whole API. Every row of a repository is served by both APIs: /v1/<pack>/… is
// /v2/spectro-packs/archive/<pack>/….
var routes = []route{
	{"GET", "/health", open, (*Server).getHealth, false},
	{"GET", "/token", open, (*Server).getToken, false},
	{"POST", "/token", open, (*Server).postToken, false},
	{"GET", versionPattern, pull, (*Server).versionCheck, false},
	{"GET", catalogPattern, pull, (*Server).catalog, false},
	{"GET", indexPattern, pull, (*Server).getIndex, false},
	{"GET", filesPattern, pull, (*Server).getFiles, false},
	{"GET", "/{api}/{name}/tags/list", pull, (*Server).listTags, false},
	{"GET", "/{api}/{name}/manifests/{reference}", pull, (*Server).getManifest, false},
	{"PUT", "/{api}/{name}/manifests/{reference}", push, (*Server).putManifest, false},
	{"DELETE", "/{api}/{name}/manifests/{reference}", del, (*Server).deleteManifest, false},
	{"GET", "/{api}/{name}/referrers/{digest}", pull, (*Server).listReferrers, false},
	{"GET", "/{api}/{name}/blobs/{digest}", pull, (*Server).getBlob, false},
	{"DELETE", "/{api}/{name}/blobs/{digest}", del, (*Server).deleteBlob, false},
	{"POST", "/{api}/{name}/blobs/uploads/", push, (*Server).startUpload, true},
	{"GET", "/{api}/{name}/blobs/uploads/{id}", push, (*Server).uploadStatus, false},
	{"PATCH", "/{api}/{name}/blobs/uploads/{id}", push, (*Server).appendUpload, true},
	{"PUT", "/{api}/{name}/blobs/uploads/{id}", push, (*Server).finishUpload, true},
	{"DELETE", "/{api}/{name}/blobs/uploads/{id}", push, (*Server).cancelUpload, false},
}

// Patterns of routes that are not of a repository, to authorize them by.
const (
	versionPattern = "/{api}/"
	catalogPattern = "/{api}/_catalog"
	indexPattern   = "/v1/_index"
)

// request is an HTTP request with what its path said.
type request struct {
	*http.Request
	// api is "v1", the pack API, or "v2", the distribution API.
	api string
	// name is the name in the path; repository is what it stands for in the store.
	name       string
	repository *store.Repository
	// param is the last segment, where the pattern has one; of the route of files, reference and path.
	param string
	// user is who asks; empty where nobody said.
	user string
	// token is what the user was known by, if it was a token.
	token *auth.Token
	// client is who sent the request.
	client clientip.Client
	// waits is until when the request waits for its share, once it does.
	waits time.Time
	// id names the request in the log.
	id string
	// route is the row's pattern, for the log and the metrics.
	route string
}

// match finds the row for a method and a path below the prefix. Where only the method does not fit, allowed lists those
// that would.
func match(method, path string) (found *route, api, name, param string, allowed []string) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for i := range routes {
		row := &routes[i]
		d, n, p, ok := row.matchPath(path)
		if !ok {
			continue
		}
		if row.method == method {
			return row, d, n, p, nil
		}
		allowed = append(allowed, row.method)
		if row.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	return nil, "", "", "", allowed
}

func (row *route) matchPath(path string) (api, name, param string, ok bool) {
	if row.pattern == filesPattern {
		return matchFiles(path)
	}
	rest, hasAPI := strings.CutPrefix(row.pattern, "/{api}/")
	if !hasAPI {
		return "", "", "", path == row.pattern
	}
	switch {
	case strings.HasPrefix(path, "/v1/"), strings.HasPrefix(path, "/v2/"):
		api, path = path[1:3], path[4:]
	case path == "/v1", path == "/v2":
		api, path = path[1:3], ""
	default:
		return "", "", "", false
	}
	suffix, hasName := strings.CutPrefix(rest, "{name}/")
	if !hasName {
		return api, "", "", path == rest
	}
	// The name may hold any component, "blobs" included, so the pattern is matched from the end.
	if i := strings.IndexByte(suffix, '{'); i >= 0 {
		suffix = suffix[:i]
		slash := strings.LastIndexByte(path, '/')
		path, param = path[:slash+1], path[slash+1:]
		if param == "" {
			return "", "", "", false
		}
	}
	name, ok = strings.CutSuffix(path, "/"+suffix)
	return api, name, param, ok && name != ""
}

// filesPattern is the one route that ends in a path of any length. A pack's name is a single component, so it is matched
// from the start.
const filesPattern = "/v1/{name}/files/{reference}/{path}"

func matchFiles(path string) (api, name, param string, ok bool) {
	name, rest, ok := strings.Cut(strings.TrimPrefix(path, "/v1/"), "/files/")
	if !ok || !strings.HasPrefix(path, "/v1/") || name == "" || strings.Contains(name, "/") {
		return "", "", "", false
	}
	if slash := strings.IndexByte(rest, '/'); slash < 1 {
		return "", "", "", false
	}
	return "v1", name, rest, true
}

// repositoryName maps a name in the path of an API to the repository's own, which all but answers goes by.
func (s *Server) repositoryName(api, name string) string {
	if api == "v1" {
		return pack.Repository(name)
	}
	return s.basePaths.Repository(name)
}
