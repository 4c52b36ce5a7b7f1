//go:build linux

package flood

import (
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var goroutineCount = regexp.MustCompile(`^(?:goroutine profile: total )?(\d+)`)

// goroutines is how many the registry has, but for those of idle connections to its storage, which are kept for a while.
func (r *registry) goroutines(t *testing.T) (n int) {
	t.Helper()
	response, err := r.client.Get(r.debug + "/debug/pprof/goroutine?debug=1") //nolint:noctx // the client has a timeout
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	head, groups, _ := strings.Cut(string(text), "\n")
	count := func(line string) int {
		m := goroutineCount.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no number of goroutines: %.200s", line)
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n = count(head)
	for group := range strings.SplitSeq(strings.TrimSpace(groups), "\n\n") {
		if strings.Contains(group, "net/http.(*persistConn)") {
			n -= count(group)
		}
	}
	return n
}
