package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/internal/testserver"
)

// clients runs programs that people use against a registry with TLS and users.
type clients struct {
	t    *testing.T
	host string
	// work is where they run, and dir holds the CA's certificate as ca.crt.
	work, dir string
	env       []string
}

// run runs a program that must succeed, and returns what it printed.
func (c *clients) run(program string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = c.work
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		c.t.Fatalf("%s %s: %v\n%s", filepath.Base(program), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (c *clients) file(name, content string) string {
	c.t.Helper()
	path := filepath.Join(c.work, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c *clients) wantFile(name, content string) {
	c.t.Helper()
	got, err := os.ReadFile(filepath.Join(c.work, name))
	if err != nil || string(got) != content {
		c.t.Errorf("%s: %q, %v", name, got, err)
	}
}

func (c *clients) want(out string, words ...string) {
	c.t.Helper()
	for _, word := range words {
		if !strings.Contains(out, word) {
			c.t.Errorf("the output lacks %q:\n%s", word, out)
		}
	}
}

// The clients that people have, as they come, against each driver.
func TestClients(t *testing.T) {
	s := testserver.StartS3(t)
	for name, storage := range map[string]string{
		"filesystem": "filesystem: {rootdirectory: " + t.TempDir() + "}",
		"s3":         fmt.Sprintf("s3: {bucket: %s, regionendpoint: %q, accesskey: %s, secretkey: %s}", s.Bucket(t), s.Endpoint, s.AccessKey, s.SecretKey),
	} {
		t.Run(name, func(t *testing.T) { testClients(t, storage) })
	}
}

func testClients(t *testing.T, storage string) {
	dir := t.TempDir()
	testserver.Certificate(t, dir, "ca.crt", "key.pem", "127.0.0.1") // skopeo takes every *.key in there for a client's
	if err := os.WriteFile(dir+"/htpasswd", []byte(htpasswd(t, "ann", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, nil, []string{"serve", configFile(t, fmt.Sprintf(`
version: 0.1
storage: {%s}
http: {addr: '127.0.0.1:0', tls: {certificate: %[2]s/ca.crt, key: %[2]s/key.pem}}
auth: {htpasswd: {path: %[2]s/htpasswd}}
`, storage, dir))}, nil)
	host := strings.TrimPrefix(p.url, "https://")
	c := &clients{t: t, host: host, work: t.TempDir(), dir: dir}
	home := t.TempDir()
	c.env = []string{"HOME=" + home, "DOCKER_CONFIG=" + home, "SSL_CERT_FILE=" + dir + "/ca.crt", "HELM_REGISTRY_CONFIG=" + home + "/helm.json"}
	auths := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, host, base64.StdEncoding.EncodeToString([]byte("ann:secret")))
	if err := os.WriteFile(home+"/config.json", []byte(auths), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Run("oras", func(t *testing.T) { c.with(t).oras() })
	t.Run("helm", func(t *testing.T) { c.with(t).helm() })
	t.Run("crane", func(t *testing.T) { c.with(t).crane() })
	t.Run("skopeo", func(t *testing.T) { c.with(t).skopeo() })
}

func (c *clients) with(t *testing.T) *clients {
	other := *c
	other.t = t
	return &other
}

func (c *clients) oras() {
	oras := testserver.Tool(c.t, "oras") + "/oras"
	ca := "--ca-file=" + c.dir + "/ca.crt"
	c.file("oras/hello.txt", "hello, world")
	c.run("sh", "-c", "cd oras && "+oras+" push "+ca+" "+c.host+"/oras/hello:v1 --artifact-type application/x.hello hello.txt:text/plain")
	c.run(oras, "pull", ca, c.host+"/oras/hello:v1", "-o", "pulled")
	c.wantFile("pulled/hello.txt", "hello, world")
	c.file("oras/signature", "signed")
	c.run("sh", "-c", "cd oras && "+oras+" attach "+ca+" "+c.host+"/oras/hello:v1 --artifact-type application/x.signature signature:text/plain")
	c.want(c.run(oras, "discover", ca, c.host+"/oras/hello:v1"), "application/x.signature")
	c.run(oras, "tag", ca, c.host+"/oras/hello:v1", "latest")
	c.want(c.run(oras, "repo", "tags", ca, c.host+"/oras/hello"), "v1", "latest")
	c.want(c.run(oras, "repo", "ls", ca, c.host), "oras/hello")
	c.run(oras, "cp", "-r", "--from-ca-file="+c.dir+"/ca.crt", "--to-ca-file="+c.dir+"/ca.crt", c.host+"/oras/hello:v1", c.host+"/oras/copy:v1")
	c.want(c.run(oras, "discover", ca, c.host+"/oras/copy:v1"), "application/x.signature")
	c.run(oras, "manifest", "delete", ca, "-f", c.host+"/oras/copy:v1")
}

func (c *clients) helm() {
	helm := testserver.Tool(c.t, "helm") + "/helm"
	chart, err := filepath.Abs("../../charts/packregistry-operator")
	if err != nil {
		c.t.Fatal(err)
	}
	c.want(c.run(helm, "package", chart, "--version", "1.2.3", "--destination", c.work), "packregistry-operator-1.2.3.tgz")
	ca := "--ca-file=" + c.dir + "/ca.crt"
	c.run(helm, "registry", "login", c.host, "--username", "ann", "--password", "secret", ca)
	c.run(helm, "push", "packregistry-operator-1.2.3.tgz", "oci://"+c.host+"/charts", ca)
	c.run(helm, "pull", "oci://"+c.host+"/charts/packregistry-operator", "--version", "1.2.3", "--untar", "--untardir", "helm", ca)
	got, err := os.ReadFile(filepath.Join(c.work, "helm/packregistry-operator/values.yaml"))
	want, wantErr := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil || wantErr != nil || string(got) != string(want) {
		c.t.Errorf("the chart that came back differs: %v, %v", err, wantErr)
	}
	c.want(c.run(helm, "show", "chart", "oci://"+c.host+"/charts/packregistry-operator", "--version", "1.2.3", ca), "version: 1.2.3")
}

func (c *clients) crane() {
	crane := testserver.Tool(c.t, "crane") + "/crane"
	c.file("layer/etc/motd", "hello\n")
	c.run("tar", "-C", "layer", "-cf", "layer.tar", "etc")
	c.run(crane, "append", "-f", "layer.tar", "-t", c.host+"/crane/image:v1")
	c.run(crane, "validate", "--remote", c.host+"/crane/image:v1")
	digest := strings.TrimSpace(c.run(crane, "digest", c.host+"/crane/image:v1"))
	c.run(crane, "copy", c.host+"/crane/image:v1", c.host+"/crane/mirror:v1")
	c.want(c.run(crane, "digest", c.host+"/crane/mirror:v1"), digest)
	c.run(crane, "tag", c.host+"/crane/image:v1", "latest")
	c.want(c.run(crane, "ls", c.host+"/crane/image"), "v1", "latest")
	c.want(c.run(crane, "catalog", c.host), "crane/image", "crane/mirror")
	c.run(crane, "export", c.host+"/crane/image@"+digest, "exported.tar")
	c.want(c.run("tar", "-xOf", "exported.tar", "etc/motd"), "hello")
	c.run(crane, "pull", "--format=oci", c.host+"/crane/image:v1", "layout")
	c.run(crane, "push", "layout", c.host+"/crane/again:v1")
	c.want(c.run(crane, "digest", c.host+"/crane/again:v1"), digest)
	c.run(crane, "delete", c.host+"/crane/mirror@"+digest)
}

func (c *clients) skopeo() {
	if _, err := exec.LookPath("skopeo"); err != nil {
		testserver.Missing(c.t, "skopeo is not installed; hack/prepare.sh installs it")
	}
	policy := c.file("policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	skopeo := func(args ...string) string {
		return c.run("skopeo", append([]string{"--policy", policy, "--tmpdir", c.work}, args...)...)
	}
	image := "docker://" + c.host + "/crane/image:v1"
	creds, certs := "ann:secret", c.dir
	skopeo("copy", "--src-creds", creds, "--src-cert-dir", certs, image, "dir:"+c.work+"/skopeo")
	skopeo("copy", "--dest-creds", creds, "--dest-cert-dir", certs, "--format", "v2s2", "dir:"+c.work+"/skopeo", "docker://"+c.host+"/skopeo/docker:v1")
	skopeo("copy", "--dest-creds", creds, "--dest-cert-dir", certs, "--format", "oci", "dir:"+c.work+"/skopeo", "docker://"+c.host+"/skopeo/oci:v1")
	c.want(skopeo("inspect", "--creds", creds, "--cert-dir", certs, "--raw", "docker://"+c.host+"/skopeo/docker:v1"), "application/vnd.docker.distribution.manifest.v2+json")
	c.want(skopeo("list-tags", "--creds", creds, "--cert-dir", certs, "docker://"+c.host+"/skopeo/oci"), `"v1"`)
	skopeo("delete", "--creds", creds, "--cert-dir", certs, "docker://"+c.host+"/skopeo/oci:v1")
}
