package s3

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
)

func TestAServerWithoutConditionalWrites(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	p.Inject(func(r *http.Request) testserver.Fault {
		if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != "" && r.Method == http.MethodPut {
			return testserver.Unimplemented
		}
		return testserver.None
	})
	o := options(s, s.Bucket(t))
	o.Endpoint = p.Endpoint
	if _, err := New(t.Context(), o); !errors.Is(err, errUnconditional) || !strings.Contains(err.Error(), "storage.s3.singlewriter: true") {
		t.Fatalf("%v", err)
	}
	drivertest.Run(t, func(t *testing.T) driver.Driver {
		o := options(s, s.Bucket(t))
		o.Endpoint, o.SingleWriter = p.Endpoint, true
		return open(t, o)
	})
}

func TestRedirects(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	o := options(s, s.Bucket(t))
	d := open(t, o)
	if address, err := d.URL(t.Context(), "x"); address != "" || err != nil {
		t.Errorf("redirects are off: %q, %v", address, err)
	}
	o.Redirect, o.RedirectEndpoint = true, p.Endpoint
	d = open(t, o)
	ctx := t.Context()
	if _, err := d.URL(ctx, "x"); !errors.Is(err, driver.ErrNotExist) {
		t.Errorf("%v", err)
	}
	must(t, d.Create(ctx, "x", []byte("content"), driver.Durable))
	one, err := d.Stream(ctx, "one", nil)
	must(t, err)
	_, err = one.Write([]byte("content"))
	must(t, err)
	_, err = one.Checkpoint(ctx)
	must(t, err)
	must(t, one.Commit(ctx, "y"))
	for _, key := range []string{"x", "y"} {
		address, err := d.URL(ctx, key)
		must(t, err)
		if !strings.HasPrefix(address, p.Endpoint+"/") || strings.Contains(address, o.SecretKey) {
			t.Fatalf("%s: %s", key, address)
		}
		response, err := http.Get(address) //nolint:gosec,noctx // a server of ours
		must(t, err)
		text, err := io.ReadAll(response.Body)
		must(t, errors.Join(err, response.Body.Close()))
		if string(text) != "content" || response.Header.Get("Content-Type") != "application/octet-stream" || response.Header.Get("Content-Disposition") != "attachment" {
			t.Errorf("%s: %s %q (%s)", key, response.Status, text, response.Header.Get("Content-Type"))
		}
	}
	// An object of several pieces has no address of its own.
	two, err := d.Stream(ctx, "two", nil)
	must(t, err)
	for range 2 {
		_, err = two.Write(make([]byte, minSegment))
		must(t, err)
		_, err = two.Checkpoint(ctx)
		must(t, err)
	}
	must(t, two.Commit(ctx, "z"))
	if address, err := d.URL(ctx, "z"); address != "" || err != nil {
		t.Errorf("%q, %v", address, err)
	}
}

func TestOptionsThatCannotWork(t *testing.T) {
	s := testserver.StartS3(t)
	for name, tt := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"small parts":             {func(o *Options) { o.PartSize = 1000 }, "1000"},
		"a root with two slashes": {func(o *Options) { o.Root = "a//b" }, "must be moved to the new one first"},
		"a root with dots":        {func(o *Options) { o.Root = "/a/../b/" }, "rootdirectory"},
		"no CA file":              {func(o *Options) { o.CAFile = "/none/ca.crt" }, "/none/ca.crt"},
		"no CA in it": {func(o *Options) {
			o.CAFile = filepath.Join(t.TempDir(), "ca.crt")
			if err := os.WriteFile(o.CAFile, []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "no certificate in PEM"},
		"a damaged CA in it": {func(o *Options) {
			dir := t.TempDir()
			testserver.Certificate(t, dir, "ca.crt", "ca.key", "a CA")
			o.CAFile = filepath.Join(dir, "ca.crt")
			text, err := os.ReadFile(o.CAFile)
			must(t, err)
			must(t, os.WriteFile(o.CAFile, append(text, text[:len(text)/2]...), 0o600))
		}, "damaged"},
		"no room for temporary files": {func(o *Options) { o.TempDir = "/none" }, "TMPDIR"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(s, s.Bucket(t))
			tt.change(&o)
			if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestTLSWithAPrivateCA(t *testing.T) {
	s := testserver.StartS3(t)
	target, err := url.Parse(s.Endpoint)
	must(t, err)
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}})
	dir := t.TempDir()
	testserver.Certificate(t, dir, "ca.crt", "ca.key", "127.0.0.1")
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "ca.crt"), filepath.Join(dir, "ca.key"))
	must(t, err)
	front.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	front.Config.ErrorLog = log.New(io.Discard, "", 0)
	front.StartTLS()
	defer front.Close()
	o := options(s, s.Bucket(t))
	o.Endpoint, o.MaxBackoff = front.URL, time.Millisecond
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	o.CAFile = filepath.Join(dir, "ca.crt")
	d := open(t, o)
	u := d.newUpload("large")
	_, err = u.Write(make([]byte, 2*minPart+1))
	must(t, err)
	must(t, u.finish(t.Context()))
	u.abandon()
	o.CAFile, o.SkipVerify = "", true
	d = open(t, o)
	if info, err := d.Stat(t.Context(), "large"); err != nil || info.Size != 2*minPart+1 {
		t.Errorf("%v, %v", info, err)
	}
}
