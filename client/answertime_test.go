package client

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// working is a registry that takes some of a request's content at once, and then its time to answer.
type working struct {
	takes int64
	time  time.Duration
}

func (s working) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.CopyN(io.Discard, r.Body, s.takes); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
	}
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(s.time):
		return &http.Response{StatusCode: http.StatusCreated, Body: http.NoBody, Request: r}, nil
	}
}

// Once all of a request was sent the registry has work to do, for which it gets longer than for the next byte.
func TestHowLongAnAnswerMayTake(t *testing.T) {
	t.Parallel()
	const content = "a pack"
	for name, tt := range map[string]struct {
		body     io.Reader
		registry working
		gaveUp   string
	}{
		"it validates what came":       {strings.NewReader(content), working{100, answerTimeout - time.Second}, ""},
		"it never answers":             {strings.NewReader(content), working{100, time.Hour}, "nothing came for 5m0s"},
		"it stops in the middle":       {strings.NewReader(content), working{3, stallTimeout + time.Second}, "nothing came for 30s"},
		"it has nothing to work on":    {nil, working{0, stallTimeout + time.Second}, "nothing came for 30s"},
		"it answers a question slowly": {nil, working{0, stallTimeout - time.Second}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "https://packs.example.com/v2/", tt.body)
				if err != nil {
					t.Fatal(err)
				}
				response, err := newWatchdog(stallTimeout, answerTimeout, tt.registry).RoundTrip(r)
				if err == nil {
					response.Body.Close()
				}
				if (err == nil) != (tt.gaveUp == "") || err != nil && !strings.Contains(err.Error(), tt.gaveUp) {
					t.Errorf("%v, want %q", err, tt.gaveUp)
				}
			})
		})
	}
}
