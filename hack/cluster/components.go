package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"time"
)

// component is one program that the supervisor keeps running.
type component struct {
	name string
	args []string
	// ready is waited for before the next one starts; nil means at once.
	ready func(context.Context) error
}

func lookPath(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return name
	}
	return path
}

// programs are all components in the order of their start.
func (c *cluster) programs() []component {
	etcdReady := func(ctx context.Context) error { return c.get(ctx, "http://127.0.0.1:2379/health") }
	kube := func(name string, args ...string) component {
		return component{name: name, args: append([]string{c.bin("kubernetes"), name}, args...)}
	}
	apiserver := kube("kube-apiserver",
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", fmt.Sprintf("--secure-port=%d", apiInside), "--advertise-address="+nodeIP,
		"--service-cluster-ip-range="+serviceCIDR,
		"--tls-cert-file="+c.path("pki", "apiserver.crt"), "--tls-private-key-file="+c.path("pki", "apiserver.key"),
		"--client-ca-file="+c.path("pki", "ca.crt"), "--authorization-mode=Node,RBAC",
		"--kubelet-client-certificate="+c.path("pki", "apiserver-kubelet.crt"),
		"--kubelet-client-key="+c.path("pki", "apiserver-kubelet.key"),
		"--kubelet-certificate-authority="+c.path("pki", "ca.crt"),
		"--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file="+c.path("pki", "service-account.key"),
		"--service-account-signing-key-file="+c.path("pki", "service-account.key"),
		"--allow-privileged=true", "--profiling=false",
		"--audit-log-path="+c.path("logs", "audit.log"), "--audit-policy-file="+c.path("audit.yaml"), "--audit-log-maxsize=50", "--audit-log-maxbackup=2",
	)
	apiserver.ready = c.apiReady
	return []component{
		{name: "etcd", ready: etcdReady, args: []string{c.bin("etcd"), "--name=node", "--data-dir=" + c.path("etcd"),
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=node=http://127.0.0.1:2380",
			// A demonstration's data need not survive the loss of power; syncing each write costs seconds in all.
			"--unsafe-no-fsync"}},
		apiserver,
		c.containerd(c.node1(), "containerd"),
		kube("kube-controller-manager", "--kubeconfig="+c.path("controller-manager.kubeconfig"), "--leader-elect=false",
			"--service-account-private-key-file="+c.path("pki", "service-account.key"), "--root-ca-file="+c.path("pki", "ca.crt"),
			"--use-service-account-credentials=true", "--bind-address=127.0.0.1", "--flex-volume-plugin-dir="+c.path("volume-plugins"),
			"--cluster-signing-cert-file="+c.path("pki", "ca.crt"), "--cluster-signing-key-file="+c.path("pki", "ca.key")),
		kube("kube-scheduler", "--kubeconfig="+c.path("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address=127.0.0.1"),
		c.kubelet(c.node1(), "kubelet"),
		kube("kube-proxy", "--config="+c.path("kube-proxy.yaml")),
		{name: "coredns", args: []string{c.bin("coredns"), "-conf", c.path("Corefile")}},
		kube("local-provisioner", "--kubeconfig="+c.path("provisioner.kubeconfig"), "--root="+c.path("volumes"), "--node="+nodeName),
		kube("local-loadbalancer", "--kubeconfig="+c.path("loadbalancer.kubeconfig"), "--address="+nodeIP),
	}
}

// nodePrograms are what a further node consists of.
func (c *cluster) nodePrograms(n node) []component {
	return []component{c.containerd(n, n.name+"-containerd"), c.kubelet(n, n.name+"-kubelet")}
}

func (c *cluster) containerd(n node, name string) component {
	return component{name: name, args: []string{c.bin("containerd"), "--config", n.path("containerd.toml")}, ready: func(context.Context) error {
		_, err := os.Stat(n.path("run", "containerd.sock"))
		return err
	}}
}

func (c *cluster) kubelet(n node, name string) component {
	return component{name: name, args: []string{c.bin("kubernetes"), "kubelet", "--kubeconfig=" + c.path(n.identity+".kubeconfig"), "--config=" + n.path("kubelet.yaml"),
		"--root-dir=" + n.path("kubelet"), "--cert-dir=" + n.path("kubelet", "pki"), "--hostname-override=" + n.name, "--node-ip=" + n.ip}}
}

// get asks a URL inside the namespace.
func (c *cluster) get(ctx context.Context, url string) error {
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return c.dialInside(ctx, address) },
		DisableKeepAlives: true,
	}
	if ca, err := os.ReadFile(c.path("pki", "ca.crt")); err == nil {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(ca)
		transport.TLSClientConfig = &tls.Config{RootCAs: roots}
		if pair, err := tls.LoadX509KeyPair(c.path("pki", "admin.crt"), c.path("pki", "admin.key")); err == nil {
			transport.TLSClientConfig.Certificates = []tls.Certificate{pair}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 1000)) //nolint:errcheck // for the message
		return fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	return nil
}

func (c *cluster) apiReady(ctx context.Context) error {
	return c.get(ctx, fmt.Sprintf("https://%s:%d/readyz", nodeIP, apiInside))
}
