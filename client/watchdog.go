package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// timeoutError is given for what took too long. It has lasted long enough that trying again is up to the caller.
type timeoutError struct{ message string }

func (e *timeoutError) Error() string { return e.message }

// watchdog ends requests in which nothing moves: no byte of the request is sent and none of the answer comes. How long a
// whole transfer may take has no bound. Once all of a request's content was sent, the server has work to do with it, and gets
// longer until it answers.
type watchdog struct {
	limit, answer time.Duration
	next          http.RoundTripper
}

func newWatchdog(limit, answer time.Duration, next http.RoundTripper) *watchdog {
	return &watchdog{limit, answer, next}
}

// RoundTrip implements http.RoundTripper.
func (w *watchdog) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	a := &activity{limit: w.limit, cancel: cancel, ctx: ctx}
	host := r.URL.Host
	a.timer = time.AfterFunc(w.limit, func() {
		cancel(&timeoutError{fmt.Sprintf("%s stopped answering: nothing came for %s", host, a.now())})
	})
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &watchedBody{r.Body, a, w.limit, w.answer, false}
	}
	response, err := w.next.RoundTrip(r)
	if err != nil {
		a.end()
		return nil, a.cause(err)
	}
	a.stop()
	response.Body = &watchedBody{response.Body, a, w.limit, w.limit, true}
	return response, nil
}

// activity is what moves in one request.
type activity struct {
	ctx    context.Context //nolint:containedctx // it lives as long as one request
	cancel context.CancelCauseFunc

	mu sync.Mutex
	// limit is how long nothing may move now.
	limit           time.Duration
	timer           *time.Timer
	answered, ended bool
}

// now is the limit that holds now.
func (a *activity) now() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.limit
}

// moved is called for what moves in the request, or in the answer once that has begun; limit is how long nothing may move after it.
func (a *activity) moved(answer bool, limit time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.ended && a.answered == answer {
		a.limit = limit
		a.timer.Reset(limit)
	}
}

func (a *activity) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answered = true
	a.timer.Stop()
}

func (a *activity) end() {
	a.mu.Lock()
	a.ended = true
	a.timer.Stop()
	a.mu.Unlock()
	a.cancel(nil)
}

// cause replaces the error of a request that the watchdog ended by its reason.
func (a *activity) cause(err error) error {
	if stalled, ok := context.Cause(a.ctx).(*timeoutError); ok { //nolint:errorlint // it is the cause itself
		return stalled
	}
	return err
}

// watchedBody is the body of a request, or of an answer, where time counts only while something is waited for: who reads
// an answer may take its time.
type watchedBody struct {
	io.ReadCloser
	a *activity
	// limit is how long nothing may move, and after, once it was read to its end.
	limit, after time.Duration
	answer       bool
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.a.moved(b.answer, b.limit)
	n, err := b.ReadCloser.Read(p)
	if !b.answer {
		limit := b.limit
		if errors.Is(err, io.EOF) {
			limit = b.after
		}
		b.a.moved(false, limit)
		return n, err
	}
	b.a.stop()
	if err != nil { // an end too: it may be that of the connection, which the watchdog closed
		err = b.a.cause(err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	err := b.ReadCloser.Close()
	if b.answer {
		b.a.end()
	}
	return err
}
