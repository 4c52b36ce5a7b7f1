//go:build linux

package ui

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"packregistry.dev/internal/testserver"
)

// patience is how long one step of a browser may take on a machine that has other things to do.
const patience = time.Minute

// chromium is a browser with one tab, which reports what must never happen on any page.
type chromium struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // the tab's
	// origin is where all requests must go to.
	origin string

	listen sync.WaitGroup

	mu sync.Mutex
	// elsewhere is the requests to other origins of files that are opened on their own, and blocked those that Chromium says it blocked. Events
	// of the two kinds come in any order.
	elsewhere map[network.RequestID]string
	blocked   map[network.RequestID]bool
}

// raw says whether an address is that of a file as it is. What such a file tries is blocked by the policy that comes with it, which the console says.
func raw(address string) bool { return strings.HasSuffix(address, "?raw=1") }

// browse starts Chromium, which is one of the tools of these tests: without it they fail where they are meant to run (CI), and are
// skipped elsewhere.
func browse(t *testing.T, origin string) *chromium {
	t.Helper()
	if _, err := exec.LookPath("chromium"); err != nil {
		testserver.Missing(t, "Chromium is missing: hack/prepare.sh tests installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath("chromium"), chromedp.NoSandbox, chromedp.IgnoreCertErrors,
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"), chromedp.UserDataDir(t.TempDir()))
	allocator, end := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, endTab := chromedp.NewContext(allocator)
	b := &chromium{t: t, ctx: ctx, origin: origin, elsewhere: map[network.RequestID]string{}, blocked: map[network.RequestID]bool{}}
	b.do(chromedp.Navigate("about:blank"))
	b.call(network.Enable.Method, network.EnableParams{})
	requests, failures, messages := chromedp.Events(ctx, network.RequestWillBeSent), chromedp.Events(ctx, network.LoadingFailed), chromedp.Console(ctx)
	b.listen.Go(func() {
		for e, err := range requests {
			if err != nil {
				return
			}
			if u := e.Request.URL; !strings.HasPrefix(u, origin+"/") && u != "about:blank" {
				if !raw(e.DocumentURL) {
					t.Errorf("a page sends a request elsewhere: %s", u)
					continue
				}
				b.mu.Lock()
				b.elsewhere[e.RequestID] = u
				b.mu.Unlock()
			}
		}
	})
	b.listen.Go(func() {
		for e, err := range failures {
			if err != nil {
				return
			}
			b.mu.Lock()
			b.blocked[e.RequestID] = b.blocked[e.RequestID] || e.BlockedReason == network.BlockedReasonCsp
			b.mu.Unlock()
		}
	})
	b.listen.Go(func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			if raw(m.URL) && (strings.Contains(m.Text, "Blocked script execution") || strings.Contains(m.Text, "The action has been blocked")) {
				continue
			}
			t.Errorf("the console says: %s (%s)", m, m.URL)
		}
	})
	t.Cleanup(func() {
		endTab()
		end()
		b.listen.Wait()
	})
	return b
}

// do carries steps out, none of which may fail.
func (b *chromium) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

func (b *chromium) call(method string, params any) {
	b.t.Helper()
	b.do(func(ctx context.Context, t *chromedp.Target) (none chromedp.Void, err error) {
		return none, t.Call(ctx, method, params, nil)
	})
}

// open opens a page, by its path or address.
func (b *chromium) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.origin + strings.TrimPrefix(path, b.origin)))
}

// evaluate runs an expression in the page, which is a promise or a value.
func evaluate[T any](b *chromium, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T]("Promise.resolve("+expression+")", chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%.80s: %v", expression, err)
	}
	return v
}

// path is the path of the page that is shown.
func (b *chromium) path() string { return evaluate[string](b, "location.pathname+location.search") }

// await waits until an expression is true.
func (b *chromium) await(expression string) {
	b.t.Helper()
	for until := time.Now().Add(patience); time.Now().Before(until); {
		if ok, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](expression)); err == nil && ok {
			return
		}
		select { // the browser says nothing when a page is there
		case <-time.After(20 * time.Millisecond):
		case <-b.t.Context().Done():
		}
	}
	b.t.Fatalf("at %s never: %s", b.path(), expression)
}

// awaitBlocked waits until all requests to other origins are blocked, of which there was one at least.
func (b *chromium) awaitBlocked() {
	b.t.Helper()
	for until := time.Now().Add(patience); ; {
		b.mu.Lock()
		some, left := len(b.elsewhere) > 0, maps.Clone(b.elsewhere)
		maps.DeleteFunc(left, func(id network.RequestID, _ string) bool { return b.blocked[id] })
		b.mu.Unlock()
		if some && len(left) == 0 {
			return
		}
		if time.Now().After(until) {
			b.t.Fatalf("requests to other origins were not blocked, or none was tried: %v", left)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-b.t.Context().Done():
		}
	}
}

// keys presses keys, as somebody without a mouse does.
func (b *chromium) keys(keys string) { b.t.Helper(); b.do(chromedp.KeyEvent(keys)) }

// tabTo presses Tab until an element has the focus, which must show.
func (b *chromium) tabTo(selector string) {
	b.t.Helper()
	for range 200 {
		b.keys("\t")
		if evaluate[bool](b, "document.activeElement.matches("+quote(selector)+")") {
			if evaluate[string](b, "getComputedStyle(document.activeElement).outlineStyle") == "none" {
				b.t.Errorf("%s: the focus of %s does not show", b.path(), selector)
			}
			return
		}
	}
	b.t.Fatalf("%s: Tab never leads to %s", b.path(), selector)
}

// logIn logs in with the keyboard alone.
func (b *chromium) logIn(user, password string) {
	b.t.Helper()
	b.open("/ui/login")
	b.await("document.activeElement.id=='user'")
	b.keys(user + "\t" + password + "\r")
	b.await("location.pathname=='/ui/' && !!document.querySelector('form.me')")
}

// axe is axe-core's source.
var axe = sync.OnceValues(func() (string, error) {
	out, err := exec.CommandContext(context.Background(), filepath.Join("..", "..", "hack", "axe.sh")).Output()
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "axe.min.js"))
	return string(text), err
})

// check reports what axe-core finds wrong with the page that is shown.
func (b *chromium) check() {
	b.t.Helper()
	source, err := axe()
	if err != nil {
		testserver.Missing(b.t, "axe-core cannot be had: %v", err)
	}
	if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[bool](source+";true")); err != nil {
		b.t.Fatal(err)
	}
	found := evaluate[[]string](b, "axe.run().then(r=>r.violations.map(v=>v.id+': '+v.help+' '+v.nodes.slice(0,3).map(n=>n.html).join(' ')))")
	for _, violation := range found {
		b.t.Errorf("%s: %s", b.path(), violation)
	}
}

// appear sets the window's width and the colours.
func (b *chromium) appear(width int64, colours string) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, 900))
	b.call(emulation.SetEmulatedMedia.Method, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: colours}}})
}

// keep writes a screenshot of the whole page below bin/.
func (b *chromium) keep(name string) {
	b.t.Helper()
	picture, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Fatal(err)
	}
	dir := filepath.Join("..", "..", "bin", "screenshots")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), picture, 0o644); err != nil { //nolint:gosec // for everybody to look at
		b.t.Fatal(err)
	}
}

func quote(s string) string {
	text, _ := json.Marshal(s) //nolint:errcheck // it is text
	return string(text)
}
