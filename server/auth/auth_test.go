package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/internal/htpasswd"
	"packregistry.dev/internal/testserver"
)

var home = netip.MustParseAddr("192.0.2.1")

func line(t testing.TB, user, password string, cost int) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), cost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(hash) + "\n"
}

func open(t testing.TB, text string) (*HTPasswd, string, *strings.Builder) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	h, err := OpenHTPasswd(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return h, path, &log
}

func TestCheck(t *testing.T) {
	h, _, _ := open(t, "# users\n\n"+line(t, "ann", "secret", 4)+line(t, "bob", "other", 4)+line(t, "ann", "second line", 4))
	for i, tt := range []struct {
		user, password string
		want           error
	}{
		{"ann", "secret", nil},
		{"ann", "secret", nil}, // from memory
		{"bob", "other", nil},
		{"ann", "other", ErrDenied},
		{"ann", "second line", ErrDenied}, // the first line of a user holds
		{"ann", "", ErrDenied},
		{"", "", ErrDenied},
		{"nobody", "secret", ErrDenied},
		{"annsecret", "", ErrDenied},
		{"ann", strings.Repeat("x", 1000), ErrDenied},
	} {
		if err := h.Check(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), tt.user, tt.password); !errors.Is(err, tt.want) {
			t.Errorf("%s/%s: %v, want %v", tt.user, tt.password, err, tt.want)
		}
	}
}

// bcrypt repeats a password with a NUL until it has 72 bytes, and reads no more. Such spellings are wrong, at a failure's cost,
// and nobody collects forgiveness, or room in the memory of right passwords, with them.
func TestAPasswordHasOneSpelling(t *testing.T) {
	long := strings.Repeat("0123456789ab", 6)
	h, _, _ := open(t, line(t, "mal", "p", 4)+line(t, "long", long, 4))
	rounds := 0
	compare := h.state.Load().table.compare
	h.state.Load().table.compare = func(hash, password []byte) error { rounds++; return compare(hash, password) }
	spellings := [][2]string{{"long", long + "x"}, {"long", long + "\x00" + long}}
	for n := 1; n < 36; n++ {
		spellings = append(spellings, [2]string{"mal", "p" + strings.Repeat("\x00p", n)})
	}
	for i, s := range spellings {
		rounds = 0
		err := h.Check(t.Context(), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), s[0], s[1])
		if !errors.Is(err, ErrDenied) || !strings.Contains(err.Error(), "bcrypt") || strings.Contains(err.Error(), s[1]) {
			t.Errorf("%q: %v", s[1], err)
		}
		if rounds != 1 {
			t.Errorf("%q: %d comparisons", s[1], rounds)
		}
	}
	if n := len(h.state.Load().remembered); n != 0 {
		t.Errorf("%d right passwords are remembered", n)
	}
	for user, password := range map[string]string{"mal": "p", "long": long} {
		if err := h.Check(t.Context(), home, user, password); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
}

func TestRightCredentialsAreComputedOnce(t *testing.T) {
	h, _, _ := open(t, line(t, "ann", "secret", 6))
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			if err := h.Check(context.Background(), home, "ann", "secret"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	before := h.computed.Load()
	if before > 3 { // one, or a few where a request came between the computation and the memory
		t.Errorf("%d computations for one credential", before)
	}
	for range 100 {
		h.Check(t.Context(), home, "ann", "secret") //nolint:errcheck // checked above
	}
	if got := h.computed.Load(); got != before {
		t.Errorf("%d more computations for a remembered credential", got-before)
	}
}

// Every failure takes the same work, that of the file's highest cost, whether the user is unknown or the password wrong, and
// whatever the user's own hash costs: time tells nothing. The work is counted, in rounds of bcrypt, not timed.
func TestEveryFailureCostsTheSame(t *testing.T) {
	for _, costs := range [][]int{{4}, {4, 4}, {4, 7}, {7, 4, 5, 6}, {8, 5}} {
		var text strings.Builder
		for i, cost := range costs {
			text.WriteString(line(t, fmt.Sprint("user", i), "right", cost))
		}
		file, err := htpasswd.Parse([]byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		table := newTable(file)
		work := 0
		table.compare = func(hash, password []byte) error {
			cost, err := bcrypt.Cost(hash)
			if err != nil {
				t.Errorf("%v: compared with what is no hash: %v", costs, err)
			}
			work += 1 << cost
			return bcrypt.CompareHashAndPassword(hash, password)
		}
		for user := range len(costs) + 1 { // the last is unknown
			work = 0
			if table.matches(fmt.Sprint("user", user), []byte("wrong")) {
				t.Errorf("%v: a wrong password matches", costs)
			}
			if want := 1 << slices.Max(costs); work != want {
				t.Errorf("%v: user %d: %d rounds, want %d", costs, user, work, want)
			}
		}
		for user := range costs {
			if !table.matches(fmt.Sprint("user", user), []byte("right")) {
				t.Errorf("%v: user %d: the right password does not match", costs, user)
			}
		}
	}
}

func TestUnusableLinesAreReported(t *testing.T) {
	ann := line(t, "ann", "secret", 4)
	h, path, log := open(t, "\ufeff"+ann+"md5:$apr1$abcdefgh$ijklmnop\n"+ann[:len(ann)-2]+"\nplain:hunter2\n\"bob:"+ann[4:len(ann)-1]+"\"\n")
	for _, words := range []string{"line=2 ", "an MD5 hash", "line=3 ", "a damaged bcrypt hash", "line=4 ", "plain text", "line=5 ", "quotes"} {
		if !strings.Contains(log.String(), words) {
			t.Errorf("the log lacks %q", words)
		}
	}
	for _, secret := range []string{"hunter2", "ijklmnop", ann[20:40]} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log shows a line's content")
		}
	}
	if got := htpasswd.Lines(h.Unusable()); got != "2, 3, 4, 5" {
		t.Errorf("unusable lines: %s", got)
	}
	if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
		t.Errorf("the line after the byte order mark: %v", err)
	}
	if err := h.Check(t.Context(), home, "plain", "hunter2"); !errors.Is(err, ErrDenied) {
		t.Errorf("plain text matches: %v", err)
	}
	if err := os.WriteFile(path, []byte(ann), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.load(); err != nil || len(h.Unusable()) != 0 {
		t.Errorf("mended: %v, %v", h.Unusable(), err)
	}
}

func TestMissingOrBrokenFileIsAnError(t *testing.T) {
	if _, err := OpenHTPasswd(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	path := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(path, []byte("ann:x\nno colon in secretword\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenHTPasswd(path, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), "secretword") {
		t.Errorf("broken: %v", err)
	}
}

func TestWatch(t *testing.T) {
	h, path, _ := open(t, line(t, "ann", "old", 4))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.Watch(ctx, 5*time.Millisecond) }()
	defer func() { cancel(); <-done }()
	check := func(password string) bool { return h.Check(t.Context(), home, "ann", password) == nil }
	replace := func(text string) {
		tmp := path + ".new"
		if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(tmp, path); err != nil {
			t.Fatal(err)
		}
	}
	if !check("old") {
		t.Fatal("the old password does not work")
	}
	replace(line(t, "ann", "new", 4))
	testserver.Eventually(t, "the new password works", 10*time.Second, func() bool { return check("new") })
	if check("old") {
		t.Error("the old password, remembered, still works")
	}
	replace("broken")
	testserver.Eventually(t, "the broken file shows", 10*time.Second, func() bool { return h.Status() != nil })
	if !check("new") {
		t.Error("the last good users are gone")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	replace(line(t, "ann", "newest", 4))
	testserver.Eventually(t, "it is read when it is whole again", 10*time.Second, func() bool { return check("newest") && h.Status() == nil })
}

func TestManyUsersLoadFast(t *testing.T) {
	var b strings.Builder
	hash := strings.TrimPrefix(line(t, "", "p", 4), ":")
	for i := range 10_000 {
		fmt.Fprintf(&b, "user%d:%s", i, hash)
	}
	h, _, _ := open(t, b.String())
	if err := h.Check(t.Context(), home, "user9999", "p"); err != nil {
		t.Error(err)
	}
}

func BenchmarkCheck(b *testing.B) {
	h, _, _ := open(b, line(b, "ann", "secret", 10))
	if err := h.Check(b.Context(), home, "ann", "secret"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := h.Check(b.Context(), home, "ann", "secret"); err != nil {
			b.Fatal(err)
		}
	}
}

// Others change, and somebody of the same source is wrong all the time: who was right before, and has the same line, is
// neither computed again nor made to wait. Whose line changed is.
func TestAChangeOfOthersIsNoChange(t *testing.T) {
	ann, bob := line(t, "ann", "secret", 4), line(t, "bob", "builder", 4)
	h, path, _ := open(t, ann+bob)
	for _, user := range [][2]string{{"ann", "secret"}, {"bob", "builder"}} {
		if err := h.Check(t.Context(), home, user[0], user[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(path, []byte(line(t, "carol", "new", 4)+ann+line(t, "bob", "another", 4)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := h.load(); err != nil {
		t.Fatal(err)
	}
	for i := range perUser.burst {
		h.Check(t.Context(), home, "ann", fmt.Sprint(i)) //nolint:errcheck // wrong
	}
	before := h.computed.Load()
	if err := h.Check(t.Context(), home, "ann", "secret"); err != nil {
		t.Errorf("ann: %v", err)
	}
	if n := h.computed.Load() - before; n != 0 {
		t.Errorf("computed %d times", n)
	}
	elsewhere := netip.MustParseAddr("198.51.100.7")
	if err := h.Check(t.Context(), elsewhere, "bob", "builder"); !errors.Is(err, ErrDenied) {
		t.Errorf("bob's old password: %v", err)
	}
	if err := h.Check(t.Context(), elsewhere, "bob", "another"); err != nil {
		t.Errorf("bob's new password: %v", err)
	}
	// Gone, and back with the same line: not remembered over the time that it was gone.
	for _, text := range []string{bob, ann + bob} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := h.load(); err != nil {
			t.Fatal(err)
		}
	}
	before = h.computed.Load()
	if err := h.Check(t.Context(), elsewhere, "ann", "secret"); err != nil || h.computed.Load() != before+1 {
		t.Errorf("ann, after she was gone: %v, computed %d times", err, h.computed.Load()-before)
	}
}
