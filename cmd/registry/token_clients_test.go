package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"packregistry.dev/internal/testserver"
)

// visitors are the clients that people have, on a registry that has users and lets in others too: each in a home where
// somebody has logged in, and in one where nobody has.
type visitors struct {
	user, nobody *clients
}

// fails runs a program that must be refused, and returns what it printed.
func (c *clients) fails(program string, args ...string) string {
	c.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = c.work
	cmd.Env = append(os.Environ(), c.env...)
	out, err := cmd.CombinedOutput()
	if err == nil {
		c.t.Errorf("%s %s went through:\n%s", filepath.Base(program), strings.Join(args, " "), out)
	}
	return string(out)
}

// Clients decide by the answer to GET /v2/ whether to log in at all. Here all of them pull what is public without a login, and
// with one push to it and use what is not.
func TestClientsWithAndWithoutALogin(t *testing.T) {
	dir := t.TempDir()
	testserver.Certificate(t, dir, "ca.crt", "key.pem", "127.0.0.1")
	encrypted := newVisitors(t, dir, "127.0.0.1:0", fmt.Sprintf(", tls: {certificate: %[1]s/ca.crt, key: %[1]s/key.pem}", dir))
	// docker's command line pushes manifests to 127.0.0.1 by plain HTTP, whatever is served there.
	// Over that the server must be configured with the URL.
	host := freeAddress(t)
	plain := newVisitors(t, dir, host, ", host: 'http://"+host+"'")
	for name, test := range map[string]func(v visitors){"crane": visitors.crane, "oras": visitors.oras, "helm": visitors.helm, "skopeo": visitors.skopeo, "docker": visitors.docker, "curl": visitors.curl} {
		t.Run(name, func(t *testing.T) {
			v := encrypted
			if name == "docker" {
				v = plain
			}
			test(visitors{v.user.with(t), v.nobody.with(t)})
		})
	}
}

// freeAddress is an address that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it is closed at once
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newVisitors(t *testing.T, dir, addr, more string) visitors {
	t.Helper()
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, []byte(htpasswd(t, "ann", "secret")+htpasswd(t, "bob", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	p := launch(t, nil, []string{"serve", configFile(t, fmt.Sprintf(`
version: 0.1
storage: {filesystem: {rootdirectory: %s}}
http: {addr: '%s'%s}
auth:
  htpasswd: {path: %s}
  access:
    rules:
    - {users: ann, repositories: "**", actions: [pull, push, delete]}
    - {users: bob, repositories: "private/**", actions: [pull]}
    - {anonymous: true, repositories: "public/**", actions: pull}
`, t.TempDir(), addr, more, users))}, nil)
	_, host, _ := strings.Cut(p.url, "://")
	home := func() *clients {
		h := t.TempDir()
		return &clients{t: t, host: host, work: t.TempDir(), dir: dir, env: []string{"HOME=" + h, "DOCKER_CONFIG=" + h, "SSL_CERT_FILE=" + dir + "/ca.crt",
			"HELM_REGISTRY_CONFIG=" + h + "/config.json", "REGISTRY_AUTH_FILE=" + h + "/config.json"}}
	}
	return visitors{home(), home()}
}

func (v visitors) crane() {
	u, n := v.user, v.nobody
	crane := testserver.Tool(u.t, "crane") + "/crane"
	u.file("layer/etc/motd", "hello\n")
	u.run("tar", "-C", "layer", "-cf", "layer.tar", "etc")
	u.run(crane, "auth", "login", u.host, "-u", "ann", "-p", "secret")
	for _, repository := range []string{"public", "private"} {
		image := u.host + "/" + repository + "/crane"
		u.run(crane, "append", "-f", "layer.tar", "-t", image+":v1")
		u.run(crane, "validate", "--remote", image+":v1")
		u.run(crane, "copy", image+":v1", image+"-copy:v1")
		u.run(crane, "tag", image+":v1", "latest")
		u.want(u.run(crane, "ls", image), "v1", "latest")
		digest := strings.TrimSpace(u.run(crane, "digest", image+"-copy:v1"))
		n.fails(crane, "delete", image+"-copy@"+digest)
		u.run(crane, "delete", image+"-copy@"+digest)
		n.want(n.fails(crane, "tag", image+":v1", "mine"), "UNAUTHORIZED")
	}
	u.want(u.run(crane, "catalog", u.host), "public/crane", "private/crane")
	n.run(crane, "validate", "--remote", n.host+"/public/crane:v1")
	n.want(n.fails(crane, "digest", n.host+"/private/crane:v1"), "401")
	if list := n.run(crane, "catalog", n.host); !strings.Contains(list, "public/crane") || strings.Contains(list, "private") {
		n.t.Errorf("the catalog without a login: %s", list)
	}
}

func (v visitors) oras() {
	u, n := v.user, v.nobody
	oras := testserver.Tool(u.t, "oras") + "/oras"
	ca := "--ca-file=" + u.dir + "/ca.crt"
	u.run(oras, "login", ca, u.host, "-u", "ann", "-p", "secret")
	n.fails(oras, "login", ca, u.host, "-u", "ann", "-p", "wrong")
	u.file("oras/hello.txt", "hello")
	n.file("oras/hello.txt", "hello")
	for _, repository := range []string{"public", "private"} {
		artifact := u.host + "/" + repository + "/oras"
		push := "cd oras && " + oras + " push " + ca + " " + artifact + ":v1 --artifact-type application/x.hello hello.txt:text/plain"
		u.run("sh", "-c", push)
		u.run("sh", "-c", strings.Replace(push, " push ", " attach ", 1))
		u.run(oras, "pull", ca, artifact+":v1", "-o", repository)
		u.wantFile(repository+"/hello.txt", "hello")
		u.run(oras, "tag", ca, artifact+":v1", "latest")
		u.run(oras, "cp", "-r", "--from-ca-file="+u.dir+"/ca.crt", "--to-ca-file="+u.dir+"/ca.crt", artifact+":v1", artifact+"-copy:v1")
		u.run(oras, "manifest", "delete", ca, "-f", artifact+"-copy:v1")
		n.want(n.fails("sh", "-c", push), "nauthorized")
	}
	n.run(oras, "pull", ca, n.host+"/public/oras:v1", "-o", "pulled")
	n.wantFile("pulled/hello.txt", "hello")
	n.fails(oras, "pull", ca, n.host+"/private/oras:v1", "-o", "none")
}

func (v visitors) helm() {
	u, n := v.user, v.nobody
	helm := testserver.Tool(u.t, "helm") + "/helm"
	chart, err := filepath.Abs("../../charts/packregistry-operator")
	if err != nil {
		u.t.Fatal(err)
	}
	ca := "--ca-file=" + u.dir + "/ca.crt"
	for _, c := range []*clients{u, n} {
		c.run(helm, "package", chart, "--version", "1.2.3", "--destination", c.work)
	}
	u.run(helm, "registry", "login", u.host, "--username", "ann", "--password", "secret", ca)
	n.fails(helm, "registry", "login", u.host, "--username", "ann", "--password", "wrong", ca)
	for _, repository := range []string{"public", "private"} {
		u.run(helm, "push", "packregistry-operator-1.2.3.tgz", "oci://"+u.host+"/"+repository, ca)
		u.run(helm, "pull", "oci://"+u.host+"/"+repository+"/packregistry-operator", "--version", "1.2.3", "--untar", "--untardir", repository, ca)
		n.fails(helm, "push", "packregistry-operator-1.2.3.tgz", "oci://"+u.host+"/"+repository, ca)
	}
	n.run(helm, "pull", "oci://"+n.host+"/public/packregistry-operator", "--version", "1.2.3", ca)
	n.fails(helm, "pull", "oci://"+n.host+"/private/packregistry-operator", "--version", "1.2.3", ca)
}

func (v visitors) skopeo() {
	if _, err := exec.LookPath("skopeo"); err != nil {
		testserver.Missing(v.user.t, "skopeo is not installed; hack/prepare.sh installs it")
	}
	run := func(c *clients, run func(string, ...string) string, args ...string) string {
		policy := c.file("policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
		return run("skopeo", append([]string{"--policy", policy, "--tmpdir", c.work}, args...)...)
	}
	u, n := v.user, v.nobody
	image := u.archive()
	run(u, u.run, "login", "--cert-dir", u.dir, "-u", "ann", "-p", "secret", u.host)
	run(n, n.fails, "login", "--cert-dir", u.dir, "-u", "ann", "-p", "wrong", u.host)
	for _, repository := range []string{"public", "private"} {
		name := "docker://" + u.host + "/" + repository + "/skopeo:v1"
		run(u, u.run, "copy", "--dest-cert-dir", u.dir, image, name)
		run(u, u.run, "copy", "--src-cert-dir", u.dir, "--dest-cert-dir", u.dir, name, strings.Replace(name, ":v1", "-copy:v1", 1))
		run(u, u.run, "inspect", "--cert-dir", u.dir, name)
		run(u, u.run, "delete", "--cert-dir", u.dir, strings.Replace(name, ":v1", "-copy:v1", 1))
		run(n, n.fails, "copy", "--dest-cert-dir", u.dir, image, name)
		run(n, n.fails, "delete", "--cert-dir", u.dir, name)
	}
	n.want(run(n, n.run, "list-tags", "--cert-dir", u.dir, "docker://"+n.host+"/public/skopeo"), `"v1"`)
	run(n, n.run, "copy", "--src-cert-dir", u.dir, "docker://"+n.host+"/public/skopeo:v1", "dir:"+n.work+"/skopeo")
	n.want(run(n, n.fails, "inspect", "--cert-dir", u.dir, "docker://"+n.host+"/private/skopeo:v1"), "unauthorized")
	n.want(run(n, n.fails, "copy", "--dest-creds", "bob:secret", "--dest-cert-dir", u.dir, image, "docker://"+n.host+"/private/skopeo:v1"), "denied")
}

// docker's own command line, as far as it needs no engine: logins and manifests.
func (v visitors) docker() {
	if _, err := exec.LookPath("docker"); err != nil {
		testserver.Missing(v.user.t, "docker's command line is not installed; hack/prepare.sh installs it")
	}
	u, n := v.user, v.nobody
	crane := testserver.Tool(u.t, "crane") + "/crane"
	for _, c := range []*clients{u, n} {
		c.env = append(c.env, "DOCKER_HOST=unix://"+c.work+"/none.sock")
	}
	n.want(n.fails("docker", "login", n.host, "-u", "ann", "-p", "wrong"), "unauthorized")
	u.want(u.run("docker", "login", u.host, "-u", "ann", "-p", "secret"), "Login Succeeded")
	archive := strings.TrimPrefix(u.archive(), "docker-archive:")
	for _, repository := range []string{"public", "private"} {
		image := u.host + "/" + repository + "/docker"
		u.run(crane, "push", archive, image+":v1") // with docker's login
		u.want(u.run("docker", "manifest", "inspect", "--insecure", image+":v1"), "schemaVersion")
		u.run("docker", "manifest", "create", "--insecure", image+":list", image+":v1")
		u.run("docker", "manifest", "annotate", "--os", "linux", "--arch", "amd64", image+":list", image+":v1")
		u.run("docker", "manifest", "push", "--insecure", image+":list")
		u.want(u.run(crane, "manifest", image+":list"), "manifest.list.v2+json")
	}
	n.want(n.run("docker", "manifest", "inspect", "--insecure", n.host+"/public/docker:v1"), "schemaVersion")
	n.want(n.fails("docker", "manifest", "inspect", "--insecure", n.host+"/private/docker:v1"), "unauthorized")
	n.run("docker", "manifest", "create", "--insecure", n.host+"/public/docker:mine", n.host+"/public/docker:v1")
	n.run("docker", "manifest", "annotate", "--os", "linux", "--arch", "amd64", n.host+"/public/docker:mine", n.host+"/public/docker:v1")
	n.want(n.fails("docker", "manifest", "push", "--insecure", n.host+"/public/docker:mine"), "unauthorized")
	u.run("docker", "logout", u.host)
	u.fails("docker", "manifest", "inspect", "--insecure", u.host+"/private/docker:v1")
}

// curl stands for programs that know basic authentication and nothing else.
func (v visitors) curl() {
	u, n := v.user, v.nobody
	curl := func(run func(string, ...string) string, c *clients, args ...string) string {
		return run("curl", append([]string{"--silent", "--show-error", "--fail", "--cacert", c.dir + "/ca.crt"}, args...)...)
	}
	base := "https://" + u.host
	curl(u.run, u, "-u", "ann:secret", base+"/v2/")
	for _, repository := range []string{"public", "private"} {
		curl(u.run, u, "-u", "ann:secret", "-X", "POST", base+"/v2/"+repository+"/curl/blobs/uploads/")
		curl(n.fails, n, "-X", "POST", base+"/v2/"+repository+"/curl/blobs/uploads/")
	}
	curl(n.run, n, base+"/v1/_catalog")
	curl(n.run, n, base+"/v2/_catalog")
}

// archive is a small image that is not in any registry.
func (c *clients) archive() string {
	c.t.Helper()
	crane := testserver.Tool(c.t, "crane") + "/crane"
	c.file("root/etc/motd", "hello\n")
	c.run("tar", "-C", "root", "-cf", "root.tar", "etc")
	c.run(crane, "append", "-f", "root.tar", "-t", "image:v1", "-o", "image.tar")
	return "docker-archive:" + c.work + "/image.tar"
}
