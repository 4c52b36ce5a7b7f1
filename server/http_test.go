package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver/inmemory"
)

// This file holds what a client may rely on of HTTP/1.1 itself, whatever the registry is built upon.

// converse sends text in one piece, says that nothing follows, and returns the status and body of each answer.
func converse(t *testing.T, addr, text string) (statuses []int, bodies []string) {
	t.Helper()
	conn := dial(t, addr, text)
	conn.SetReadDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the read below reports
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(conn)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%q: the connection stays open after %q", text, all)
	}
	for in := bufio.NewReader(bytes.NewReader(all)); ; {
		if _, err := in.Peek(1); err != nil {
			return statuses, bodies
		}
		r, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Fatalf("%q: %v in the answers %q", text, err, all)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatalf("%q: %v in the answers %q", text, err, all)
		}
		statuses, bodies = append(statuses, r.StatusCode), append(bodies, string(body))
	}
}

// A proxy and the registry must agree on where a request ends. What could be read in two ways is refused, and the connection with it:
// nothing that follows is taken for a request.
func TestRequestsThatCouldBeReadInTwoWaysAreRefused(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0'}\n")
	const next = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, test := range map[string]struct {
		text string
		want []int
	}{
		"two lengths":                       {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello" + next, []int{400}},
		"two lengths in a line":             {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 5, 6\r\n\r\nhello" + next, []int{400}},
		"a length that is none":             {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: +5\r\n\r\nhello" + next, []int{400}},
		"space before a colon":              {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length : 5\r\n\r\nhello" + next, []int{400}},
		"no header's name":                  {"GET /v2/ HTTP/1.1\r\nHost: h\r\n: b\r\n\r\n" + next, []int{400}},
		"an unknown encoding":               {"GET /v2/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n" + next, []int{501}},
		"two encodings":                     {"GET /v2/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + next, []int{501}},
		"no host":                           {"GET /v2/ HTTP/1.1\r\n\r\n" + next, []int{400}},
		"two hosts":                         {"GET /v2/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" + next, []int{400}},
		"a host that is none":               {"GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n" + next, []int{400}},
		"a NUL":                             {"GET /v2/ HTTP/1.1\r\nHost: h\r\nA: \x00\r\n\r\n" + next, []int{400}},
		"a carriage return alone":           {"GET /v2/ HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n" + next, []int{400}},
		"an unknown version":                {"GET /v2/ HTTP/1.10\r\nHost: h\r\n\r\n" + next, []int{400}},
		"another protocol":                  {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
		"a chunk that is none":              {"PUT /v2/a/manifests/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n" + next, []int{400}},
		"a length beside an encoding":       {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + next, []int{200, 404}}, // RFC 9112, 6.3: the encoding holds
		"a body with a GET":                 {"GET /v2/ HTTP/1.1\r\nHost: h\r\nContent-Length: " + strconv.Itoa(len(next)) + "\r\n\r\n" + next + next, []int{200, 404}},
		"what asks to close the connection": {"GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + next, []int{200}},
	} {
		t.Run(name, func(t *testing.T) {
			if got, bodies := converse(t, addr, test.text); !slices.Equal(got, test.want) {
				t.Errorf("answered with %v, not %v: %q", got, test.want, bodies)
			}
		})
	}
}

// Requests that come in one piece, or in many, are answered in turn.
func TestRequestsOfOneConnectionAreAnsweredInTurn(t *testing.T) {
	addr, _, _ := run(t, "http: {addr: '127.0.0.1:0'}\n")
	get := func(name string) string { return "GET /v2/" + name + "/tags/list HTTP/1.1\r\nHost: h\r\n\r\n" }
	statuses, bodies := converse(t, addr, get("one")+"POST /v2/r/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"+get("three"))
	if !slices.Equal(statuses, []int{404, 202, 404}) || !strings.Contains(bodies[0], "one") || !strings.Contains(bodies[2], "three") {
		t.Errorf("%v %q", statuses, bodies)
	}
	c := dial(t, addr, "G")
	for _, piece := range []string{"ET /v2/ HT", "TP/1.1\r", "\nHost: h\r\n\r", "\n"} {
		if _, err := io.WriteString(c, piece); err != nil {
			t.Fatal(err)
		}
	}
	if r, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || r.StatusCode != http.StatusOK {
		t.Errorf("%v, %v", r, err)
	}
}

// A connection that waits for its next request ends as soon as the server drains.
func TestIdleConnectionsDoNotHoldUpTheEnd(t *testing.T) {
	addr, _, stop := run(t, "http: {addr: '127.0.0.1:0', draintimeout: 1h}\n")
	c := dial(t, addr, "GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
	in := bufio.NewReader(c)
	r, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, r.Body) //nolint:errcheck // the status is all that matters
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("the connection goes on: %v", err)
	}
}

// overPipes serves f's registry, as it is set up for Run, on a connection that holds nothing on the way. Call it in a bubble of synctest.
func overPipes(t *testing.T, f *fixture) (client net.Conn) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	server, err := f.httpServer(ctx, &group)
	if err != nil {
		t.Fatal(err)
	}
	listener := make(pipeListener, 1)
	go server.Serve(listener) //nolint:errcheck // it ends with the listener
	client, conn := net.Pipe()
	listener <- conn
	t.Cleanup(func() {
		client.Close()
		close(listener)
		server.Close()
		cancel()
		group.Wait()
	})
	return client
}

// A client that asks and never reads an answer does not keep its connection, however small the answers are: those are sent when their
// handlers have returned.
func TestAClientThatReadsNoAnswerIsCutOff(t *testing.T) {
	f := start(t, inmemory.New(), "}", nil)
	synctest.Test(t, func(t *testing.T) {
		client := overPipes(t, f)
		if _, err := fmt.Fprint(client, "GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if answer, err := io.ReadAll(client); err != nil || len(answer) > 0 {
			t.Errorf("ten minutes later the answer comes: %q, %v", answer, err)
		}
	})
}

// A connection that is used seldom goes on being one: what bounds an answer does not bound the next one.
func TestAConnectionThatIsUsedSeldomIsNotCutOff(t *testing.T) {
	f := start(t, inmemory.New(), "}", nil)
	synctest.Test(t, func(t *testing.T) {
		client := overPipes(t, f)
		in := bufio.NewReader(client)
		for _, pause := range []time.Duration{0, idleTimeout - time.Second, 0} {
			time.Sleep(pause)
			if _, err := fmt.Fprintf(client, "POST /v2/r/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", digest.FromString("x")); err != nil {
				t.Fatal(err)
			}
			for _, want := range []int{http.StatusContinue, http.StatusCreated} {
				if want == http.StatusCreated {
					io.WriteString(client, "x") //nolint:errcheck // the answer reports
				}
				r, err := http.ReadResponse(in, nil)
				if err != nil || r.StatusCode != want {
					t.Fatalf("after %s: %v, %v, not %d", pause, r, err, want)
				}
			}
		}
		time.Sleep(idleTimeout + time.Second)
		if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("an idle connection goes on: %v", err)
		}
	})
}

// What is refused before its content is read is answered at once, also where the client waits to be asked for the content.
func TestAnAnswerDoesNotWaitForContentThatNobodyReads(t *testing.T) {
	f := start(t, inmemory.New(), "}", nil)
	synctest.Test(t, func(t *testing.T) {
		client := overPipes(t, f)
		began := time.Now()
		if _, err := fmt.Fprint(client, "POST /v2/A/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		r, err := http.ReadResponse(bufio.NewReader(client), nil)
		if err != nil || r.StatusCode != http.StatusBadRequest || time.Since(began) > 0 {
			t.Errorf("%v, %v, after %s", r, err, time.Since(began))
		}
	})
}
