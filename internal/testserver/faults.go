package testserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Call is a request that went through a proxy.
type Call struct {
	Method, Path, Query string
	Header              http.Header
	Status              int
}

// Fault is what a proxy does to a request instead of passing it on as it is.
type Fault string

// The faults that happen to S3 calls.
const (
	None Fault = ""
	// Error500 and SlowDown are answered without the server having seen the request.
	Error500 Fault = "500"
	SlowDown Fault = "503"
	// Lost means that the server did what was asked and its answer never came.
	Lost Fault = "lost"
	// Hang means that nothing comes until the client gives up.
	Hang Fault = "hang"
	// HalfRequest ends the connection in the middle of what the client sends, HalfAnswer in the middle of the answer.
	HalfRequest Fault = "half request"
	HalfAnswer  Fault = "half answer"
	// Twice means that the server saw the request two times; the client is given the second answer.
	Twice Fault = "twice"
	// Late means that the connection breaks and that the server sees the request when Deliver is called.
	Late Fault = "late"
	// Unimplemented answers as servers do that lack what was asked for.
	Unimplemented Fault = "501"
	// Denied answers as servers do where a policy forbids the call.
	Denied Fault = "403"
)

// Proxy stands between a client and an S3 server.
type Proxy struct {
	// Endpoint is its URL.
	Endpoint string
	target   string
	client   *http.Transport

	mu    sync.Mutex
	fault func(*http.Request) Fault
	calls []Call
	// Happened counts faults.
	happened map[Fault]int
	late     []func()
}

// StartProxy starts a proxy in front of a server.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	p := &Proxy{target: target, happened: map[Fault]int{}, fault: func(*http.Request) Fault { return None },
		client: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true}}
	server := httptest.NewUnstartedServer(p)
	server.Config.ErrorLog = nil
	server.Start()
	p.Endpoint = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		p.client.CloseIdleConnections()
	})
	return p
}

// Inject chooses a fault for each request from now on.
func (p *Proxy) Inject(fault func(*http.Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = fault
}

// Randomly returns a chooser that picks one of the faults for that share of all requests.
func Randomly(seed uint64, share float64, faults ...Fault) func(*http.Request) Fault {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test that can be repeated
	return func(*http.Request) Fault {
		mu.Lock()
		defer mu.Unlock()
		if dice.Float64() >= share {
			return None
		}
		return faults[dice.IntN(len(faults))]
	}
}

// Deliver hands the requests that were held to the server, and says how many those were.
func (p *Proxy) Deliver() int {
	p.mu.Lock()
	late := p.late
	p.late = nil
	p.mu.Unlock()
	for _, pass := range late {
		pass()
	}
	return len(late)
}

// Calls returns what went through since the last Reset.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Call(nil), p.calls...)
}

// Reset forgets the calls so far.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = nil
}

// Happened returns how often each fault was injected.
func (p *Proxy) Happened() map[Fault]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	counts := map[Fault]int{}
	for f, n := range p.happened {
		counts[f] = n
	}
	return counts
}

// refuse plays faults of which nothing reaches the server, and says whether it has.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, fault Fault) bool {
	switch fault {
	case Error500:
		p.answer(w, r, http.StatusInternalServerError, "InternalError")
	case SlowDown:
		p.answer(w, r, http.StatusServiceUnavailable, "SlowDown")
	case Unimplemented:
		p.answer(w, r, http.StatusNotImplemented, "NotImplemented")
	case Denied:
		p.answer(w, r, http.StatusForbidden, "AccessDenied")
	case Hang:
		io.Copy(io.Discard, r.Body) //nolint:errcheck // it may break off
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
		panic(http.ErrAbortHandler)
	case HalfRequest:
		io.CopyN(io.Discard, r.Body, r.ContentLength/2) //nolint:errcheck // it may break off
		panic(http.ErrAbortHandler)
	default:
		return false
	}
	return true
}

func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	fault := p.fault(r)
	if fault != None {
		p.happened[fault]++
	}
	p.mu.Unlock()
	if p.refuse(w, r, fault) {
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if fault == Late {
		held := r.Clone(context.Background())
		p.mu.Lock()
		p.late = append(p.late, func() {
			if response, err := p.pass(held, body); err == nil {
				response.Body.Close()
			}
		})
		p.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	if fault == Twice {
		if first, err := p.pass(r, body); err == nil {
			io.Copy(io.Discard, first.Body) //nolint:errcheck // only that it was asked matters
			first.Body.Close()
		}
	}
	response, err := p.pass(r, body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer response.Body.Close()
	p.record(r, response.StatusCode)
	if fault == Lost {
		io.Copy(io.Discard, response.Body) //nolint:errcheck // nobody gets it
		panic(http.ErrAbortHandler)
	}
	for name, values := range response.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(response.StatusCode)
	if fault == HalfAnswer {
		length, _ := strconv.ParseInt(response.Header.Get("Content-Length"), 10, 64) //nolint:errcheck // none is zero
		io.CopyN(w, response.Body, length/2)                                         //nolint:errcheck // broken off on purpose
		http.NewResponseController(w).Flush()                                        //nolint:errcheck // as before
		panic(http.ErrAbortHandler)
	}
	io.Copy(w, response.Body) //nolint:errcheck // the client may be gone
}

// pass hands a request to the server as it came, the host that was signed included.
func (p *Proxy) pass(r *http.Request, body []byte) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, p.target+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.URL.RawPath = r.URL.RawPath
	out.Header = r.Header.Clone()
	out.Host = r.Host
	out.ContentLength = int64(len(body))
	return p.client.RoundTrip(out)
}

func (p *Proxy) record(r *http.Request, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, Call{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Clone(), status})
}

func (p *Proxy) answer(w http.ResponseWriter, r *http.Request, status int, code string) {
	io.Copy(io.Discard, r.Body) //nolint:errcheck // it may break off
	p.record(r, status)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>injected</Message></Error>", code)
	}
}

// Port returns the number of an address's port.
func Port(t testing.TB, addr string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(addr, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
