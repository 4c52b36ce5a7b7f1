package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"packregistry.dev/pack"
	"packregistry.dev/server/internal/health"
	"packregistry.dev/server/internal/transfer"
	"packregistry.dev/server/store"
)

// code is an error as the distribution specification 1.1 names it ("Error Codes"), with its HTTP status.
type code struct {
	status int
	name   string
	// message is what a person reads where the error itself brings none.
	message string
}

// The codes of the specification, and the few more that clients of this kind of registry know.
var (
	codeBlobUnknown     = code{http.StatusNotFound, "BLOB_UNKNOWN", "blob unknown to this repository"}
	codeUploadInvalid   = code{http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "blob upload invalid"}
	codeUploadUnknown   = code{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to this repository"}
	codeRangeInvalid    = code{http.StatusRequestedRangeNotSatisfiable, "RANGE_INVALID", "the chunk does not begin where the upload stands"}
	codeDigestInvalid   = code{http.StatusBadRequest, "DIGEST_INVALID", "the digest is malformed, or not that of the content"}
	codeManifestMissing = code{http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "the manifest names content that this repository lacks"}
	codeManifestInvalid = code{http.StatusBadRequest, "MANIFEST_INVALID", "manifest invalid"}
	codeManifestUnknown = code{http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown to this repository"}
	codeNameInvalid     = code{http.StatusBadRequest, "NAME_INVALID", "invalid repository name"}
	codeNameUnknown     = code{http.StatusNotFound, "NAME_UNKNOWN", "repository unknown to this registry"}
	codeSizeInvalid     = code{http.StatusRequestEntityTooLarge, "SIZE_INVALID", "too large"}
	codeTagInvalid      = code{http.StatusBadRequest, "TAG_INVALID", "invalid tag"}
	codeTagExists       = code{http.StatusConflict, "TAG_EXISTS", "the tag exists already"}
	codePagination      = code{http.StatusBadRequest, "PAGINATION_NUMBER_INVALID", "n must be a whole number of zero or more"}
	codeUnauthorized    = code{http.StatusUnauthorized, "UNAUTHORIZED", "authentication required"}
	codeTokenInvalid    = code{http.StatusBadRequest, "TOKEN_REQUEST_INVALID", "not a request for a token"}
	codeDenied          = code{http.StatusForbidden, "DENIED", "this user may not do that"}
	codeTooMany         = code{http.StatusTooManyRequests, "TOOMANYREQUESTS", "too many requests"}
	codeNoSpace         = code{http.StatusInsufficientStorage, "INSUFFICIENT_STORAGE", "the registry's storage is full"}
	codeUnavailable     = code{http.StatusServiceUnavailable, "UNAVAILABLE", "try again"}
	codeStalled         = code{http.StatusRequestTimeout, "REQUEST_TIMEOUT", "the request stopped in the middle"}
	codeClientClosed    = code{statusClientClosed, "CLIENT_CLOSED_REQUEST", "the client closed the connection before the answer"}
	codeUnsupported     = code{http.StatusMethodNotAllowed, "UNSUPPORTED", "the operation is unsupported"}
	codeNotFound        = code{http.StatusNotFound, "NOT_FOUND", "no such page"}
	codePackInvalid     = code{http.StatusBadRequest, "MANIFEST_INVALID", "not a valid pack"}
	codeUnknown         = code{http.StatusInternalServerError, "UNKNOWN", "the registry failed; its log says why"}
)

// statusClientClosed is what logs and metrics say of requests whose client hung up, as nginx's do. Nobody reads such an answer.
const statusClientClosed = 499

// apiError is an error for the client: what to answer, and what it is about.
type apiError struct {
	code   code
	detail any
	err    error
}

func (e *apiError) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return e.code.message
}

func (e *apiError) Unwrap() error { return e.err }

// fail makes an error for the client. A format replaces the code's own message.
func fail(c code, format string, args ...any) *apiError {
	e := &apiError{code: c}
	if format != "" {
		e.err = fmt.Errorf(format, args...)
	}
	return e
}

// with adds a detail, which is rendered as JSON.
func (e *apiError) with(detail any) *apiError {
	e.detail = detail
	return e
}

// as turns the store's absence into the code that fits what was asked for.
func as(c code, err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return &apiError{code: c, err: err}
	}
	return err
}

// classify finds the answer for any error that a handler returns.
func classify(err error) *apiError {
	var known *apiError
	var invalid *pack.Error
	var tooLarge *http.MaxBytesError
	var full health.FullError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, transfer.ErrStalled), errors.Is(err, transfer.ErrSlow):
		return &apiError{code: codeStalled, err: err}
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return &apiError{code: codeNoSpace}
	case errors.As(err, &full):
		return &apiError{code: codeNoSpace, err: full}
	case errors.As(err, &invalid):
		return (&apiError{code: codePackInvalid, err: err}).with(invalid.Violations)
	case errors.As(err, &tooLarge):
		return fail(codeSizeInvalid, "larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, store.ErrOutOfOrder):
		return &apiError{code: codeRangeInvalid, err: err}
	case errors.Is(err, store.ErrTooManySteps):
		return &apiError{code: codeUploadInvalid, err: err}
	case errors.Is(err, store.ErrDigestMismatch):
		return &apiError{code: codeDigestInvalid, err: err}
	case errors.Is(err, store.ErrTryAgain):
		return &apiError{code: codeUnavailable, err: err}
	case errors.Is(err, store.ErrTagExists):
		return &apiError{code: codeTagExists, err: err}
	}
	return nil
}

// writeError renders an error in the specification's form.
func writeError(w http.ResponseWriter, e *apiError) {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Detail  any    `json:"detail,omitempty"`
	}
	if h := w.Header(); e.code == codeTooMany && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	message := e.Error()
	if e.code == codeUnknown {
		message = codeUnknown.message
	}
	writeJSON(w, e.code.status, map[string][]entry{"errors": {{e.code.name, message, e.detail}}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h["X-Content-Type-Options"] = noSniffing // errors quote what was sent
	h.Set("Content-Length", fmt.Sprint(len(body)+1))
	w.WriteHeader(status)
	w.Write(append(body, '\n')) //nolint:errcheck // the client is gone
}
