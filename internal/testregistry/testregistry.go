// Package testregistry serves registries to tests of their clients.
package testregistry

import (
	"encoding/pem"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"packregistry.dev/server"
	"packregistry.dev/server/auth"
	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver/inmemory"
)

// The user of a registry that is served here.
const (
	Username = "ann"
	Password = "secret"
)

// Registry is a registry in this process.
type Registry struct {
	// Host is its host:port, and CAFile the file of its certificate; empty where it speaks no TLS.
	Host, CAFile string
}

// Options say how a registry differs.
type Options struct {
	// Settings are further lines of its configuration file, and Access is its section auth.access.
	Settings, Access string
	PlainHTTP        bool
	// Edit changes it before it starts.
	Edit func(*httptest.Server)
}

// New serves a registry with one user until the test ends.
func New(t testing.TB, o Options) Registry {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(Password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(file, []byte(Username+":"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	users, err := auth.OpenHTPasswd(file, log)
	if err != nil {
		t.Fatal(err)
	}
	if o.Access == "" {
		o.Access = "{}"
	}
	text := "version: 0.1\nstorage: inmemory\nauth: {htpasswd: {path: x}, access: " + o.Access + "}\n" + o.Settings
	c, _, err := config.Parse([]byte(text), config.Options{})
	if err != nil {
		t.Fatal(err)
	}
	content, err := store.Open(t.Context(), inmemory.New())
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(server.New(c, content, users, log))
	if o.Edit != nil {
		o.Edit(h)
	}
	t.Cleanup(h.Close)
	if o.PlainHTTP {
		h.Start()
		return Registry{Host: strings.TrimPrefix(h.URL, "http://")}
	}
	h.StartTLS()
	r := Registry{Host: strings.TrimPrefix(h.URL, "https://"), CAFile: filepath.Join(dir, "ca.crt")}
	if err := os.WriteFile(r.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return r
}
