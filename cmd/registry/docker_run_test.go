package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"packregistry.dev/internal/testserver"
)

// container is a folder that a registry runs in as in its image: chroot, the built-in configuration, no other files.
func container(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		testserver.Missing(t, "running in a root directory of its own needs root")
	}
	root := t.TempDir()
	for _, dir := range []string{"auth", "data", "certs", "tmp", "etc/spectro"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program, err := os.ReadFile(binary(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root+"/registry", program, 0o755); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	// htpasswd -Bbn admin admin > /auth/htpasswd-basic
	hash := htpasswd(t, "admin", "admin")
	if err := os.WriteFile(root+"/auth/htpasswd-basic", []byte(hash), 0o600); err != nil {
		t.Fatal(err)
	}
	return root
}

func inContainer(root string) func(*exec.Cmd) {
	return func(c *exec.Cmd) {
		c.Path, c.Dir = "/registry", "/"
		c.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	}
}

// curl does what the documents say verifies an installation.
func curl(t *testing.T, want int, args ...string) string {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-sS", "-w", "\n%{http_code}"}, args...)...).CombinedOutput()
	body, _, more := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if !more { // the status alone
		body = ""
	}
	if err != nil || !strings.HasSuffix(string(out), fmt.Sprint(want)) {
		t.Errorf("curl %v: %s %v, want %d", args, out, err, want)
	}
	return body
}

// The documents' command lines, word for word but for the port on the host.
func TestDocumentedDockerRun(t *testing.T) {
	t.Run("HTTPS mode", func(t *testing.T) {
		root := container(t)
		// The documents' command for a self-signed certificate, with a smaller key for the sake of time.
		out, err := exec.Command("openssl", "req", "-newkey", "rsa:2048", "-nodes", "-sha256", "-keyout", root+"/certs/tls.key", "-x509", "-days", "365",
			"-out", root+"/certs/tls.crt", "-subj", "/CN=localhost").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		addr := testserver.FreeAddr(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=info", "REGISTRY_AUTH=htpasswd", "REGSITRY_AUTH_HTPASSWD_REALM=Registry Realm", //nolint:misspell // as documented
			"REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic", "REGISTRY_HTTP_TLS_CERTIFICATE=/certs/tls.crt", "REGISTRY_HTTP_TLS_KEY=/certs/tls.key",
			"REGISTRY_HTTP_ADDR=" + addr}, []string{"serve"}, inContainer(root))
		url := fmt.Sprintf("https://localhost:%d", testserver.Port(t, addr))
		if body := curl(t, 200, "--cacert", root+"/certs/tls.crt", url+"/health"); !strings.Contains(body, `{"status":"UP"}`) {
			t.Errorf("/health: %s", body)
		}
		curl(t, 200, "--cacert", root+"/certs/tls.crt", "-u", "admin:admin", url+"/v1/_catalog")
		curl(t, 401, "--cacert", root+"/certs/tls.crt", "-u", "admin:wrong", url+"/v1/_catalog")
		if !strings.Contains(p.output.String(), "did you mean REGISTRY_AUTH_HTPASSWD_REALM") {
			t.Errorf("the misspelt variable is not reported: %s", p.output)
		}
	})
	t.Run("HTTP mode", func(t *testing.T) {
		root := container(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=info", "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=Registry Realm",
			"REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic", "REGISTRY_HTTP_ADDR=127.0.0.1:0"}, []string{"serve", "/etc/spectro/config.yml"}, func(c *exec.Cmd) {
			inContainer(root)(c)
			copyFile(t, "../../server/config/default.yml", root+"/etc/spectro/config.yml")
		})
		curl(t, 200, p.url+"/health")
		curl(t, 200, "-u", "admin:admin", p.url+"/v1/_catalog")
		if head := curl(t, 401, "-i", p.url+"/v1/_catalog"); !strings.Contains(head, "HTTP/1.1 401") {
			t.Errorf("%s", head)
		}
		r, _, err := p.do("GET", "/v1/", nil)
		if err != nil || r.Header.Get("WWW-Authenticate") != `Basic realm="Registry Realm", charset="UTF-8"` {
			t.Errorf("%v %v", r, err)
		}
		if !strings.Contains(p.output.String(), "not recommended") {
			t.Errorf("the log does not say that plain HTTP is not recommended: %s", p.output)
		}
		if entries, err := os.ReadDir(root + "/data/.spectro-server"); err != nil || len(entries) == 0 {
			t.Errorf("the packs are not below /data: %v", err)
		}
	})
	t.Run("realm and level by variables", func(t *testing.T) {
		root := container(t)
		p := launch(t, []string{"REGISTRY_LOG_LEVEL=debug", "REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_REALM=My Enterprise Realm", "REGISTRY_HTTP_ADDR=127.0.0.1:0"},
			[]string{"serve"}, inContainer(root))
		r, _, err := p.do("GET", "/v1/", nil)
		if err != nil || !strings.Contains(r.Header.Get("WWW-Authenticate"), "My Enterprise Realm") {
			t.Errorf("%v %v", r, err)
		}
	})
	t.Run("a configuration of one's own", func(t *testing.T) {
		root := container(t)
		if err := os.WriteFile(root+"/etc/myconfig.yml", []byte("version: 0.1\nlog: {level: debug}\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := launch(t, nil, []string{"/registry", "serve", "/etc/myconfig.yml"}, inContainer(root))
		curl(t, 200, p.url+"/v1/_catalog")
	})
	t.Run("REGISTRY_AUTH=htpasswd with no section in the file", func(t *testing.T) {
		root := container(t)
		if err := os.WriteFile(root+"/etc/c.yml", []byte("version: 0.1\nstorage: inmemory\nhttp: {addr: '127.0.0.1:0'}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		p := begin(t, []string{"REGISTRY_AUTH=htpasswd"}, []string{"serve", "/etc/c.yml"}, inContainer(root))
		<-p.done
		if !strings.Contains(p.output.String(), "auth.htpasswd.path: missing") {
			t.Errorf("%s", p.output)
		}
		p = launch(t, []string{"REGISTRY_AUTH=htpasswd", "REGISTRY_AUTH_HTPASSWD_PATH=/auth/htpasswd-basic"}, []string{"serve", "/etc/c.yml"}, inContainer(root))
		curl(t, 401, p.url+"/v1/_catalog")
		curl(t, 200, "-u", "admin:admin", p.url+"/v1/_catalog")
	})
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
