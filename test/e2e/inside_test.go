package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/internal/testserver"
)

// This file is about the inside of the cluster's network: servers that run there, and clients that connect there.

// Where servers beside the cluster listen: the node's own address, which pods can reach.
const (
	nodeAddress = "10.89.0.2"
	dnsAddress  = "10.96.0.10:53"
	s3Port      = "9100"
	acmePort    = "14000"
)

// dialInside connects from within the cluster's network. A socket belongs to the namespace of the thread that made it, so
// a thread is moved there for that moment.
func dialInside(ctx context.Context, network, address string) (net.Conn, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	target, err := os.Open(filepath.Join(clusterState, "netns"))
	if err != nil {
		return nil, err
	}
	defer target.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, network, address)
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread would go on in the wrong network
	}
	return conn, err
}

// clientInside talks to a Service by its cluster address, as pods do; it trusts the bundle.
func clientInside(t *testing.T, service *corev1.Service, bundle string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(bundle)) {
		t.Fatalf("no certificate in %q", bundle)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return dialInside(ctx, network, net.JoinHostPort(service.Spec.ClusterIP, fmt.Sprint(service.Spec.Ports[0].Port)))
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// execInside starts a program in the cluster's network, for the time of the test.
func execInside(t *testing.T, environ []string, program string, args ...string) *testserver.Process {
	t.Helper()
	return testserver.Exec(t, environ, "nsenter", append([]string{"--net=" + filepath.Join(clusterState, "netns"), "--", program}, args...)...)
}

func answersInside(t *testing.T, what, address string) {
	t.Helper()
	eventually(t, 30*time.Second, what, func() error {
		c, err := dialInside(t.Context(), "tcp", address)
		if err == nil {
			c.Close()
		}
		return err
	})
}

// startS3Inside starts an S3 server with a bucket, and returns its endpoint and a Secret's content for it.
func startS3Inside(t *testing.T, bucket string) (endpoint string, keys map[string][]byte) {
	t.Helper()
	folder, err := tool("versitygw")
	must(t, err)
	data := t.TempDir()
	must(t, os.Mkdir(filepath.Join(data, bucket), 0o700))
	keys = map[string][]byte{"AWS_ACCESS_KEY_ID": []byte("AKIAE2EE2EE2EE2EE2E0"), "AWS_SECRET_ACCESS_KEY": []byte("the/secret/of/e2e")}
	address := net.JoinHostPort(nodeAddress, s3Port)
	execInside(t, []string{"ROOT_ACCESS_KEY_ID=" + string(keys["AWS_ACCESS_KEY_ID"]), "ROOT_SECRET_ACCESS_KEY=" + string(keys["AWS_SECRET_ACCESS_KEY"])},
		filepath.Join(folder, "versitygw"), "--port", address, "--keep-alive", "--quiet", "posix", data)
	answersInside(t, "the S3 server answers", address)
	return "http://" + address, keys
}

// startACMEInside starts an ACME server that resolves names as pods do, and returns its directory and the CA of its own
// certificate.
func startACMEInside(t *testing.T) (directory string, ca []byte) {
	t.Helper()
	folder, err := tool("pebble")
	must(t, err)
	work := t.TempDir()
	testserver.Certificate(t, work, "cert.pem", "key.pem", nodeAddress)
	address := net.JoinHostPort(nodeAddress, acmePort)
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": address, "managementListenAddress": "127.0.0.1:15000",
		"certificate": filepath.Join(work, "cert.pem"), "privateKey": filepath.Join(work, "key.pem"), "httpPort": 80, "tlsPort": 443,
		"retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles":   map[string]any{"default": map[string]any{"description": "default", "validityPeriod": 90 * 24 * 3600}},
	}})
	must(t, err)
	must(t, os.WriteFile(filepath.Join(work, "config.json"), config, 0o600))
	execInside(t, []string{"PEBBLE_VA_NOSLEEP=1"}, filepath.Join(folder, "pebble"), "-config", filepath.Join(work, "config.json"), "-dnsserver", dnsAddress)
	answersInside(t, "the ACME server answers", address)
	ca, err = os.ReadFile(filepath.Join(work, "cert.pem"))
	must(t, err)
	return "https://" + address + "/dir", ca
}

func serviceOf(t *testing.T, namespace, name string) *corev1.Service {
	t.Helper()
	service := &corev1.Service{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: namespace, Name: name}, service))
	return service
}
