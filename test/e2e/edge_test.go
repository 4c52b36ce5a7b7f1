package e2e

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/client"
	"packregistry.dev/internal/testserver"
)

// This file is about what stands before a registry: Traefik as Ingress and Gateway controller, and cert-manager, each the
// real program, as a process in the cluster's network.

// edgeAddress is where Traefik listens: an address of its own on the node's bridge.
const edgeAddress = "10.89.0.4"

// applyText applies YAML documents, and takes them away again after the test.
func applyText(t *testing.T, text string) {
	t.Helper()
	for document := range strings.SplitSeq(text, "\n---\n") {
		u := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal([]byte(document), u))
		if len(u.Object) == 0 {
			continue
		}
		eventually(t, 30*time.Second, u.GetKind()+" "+u.GetName()+" is made", func() error { return kube.Create(t.Context(), u) })
		t.Cleanup(func() {
			if err := kube.Delete(context.WithoutCancel(t.Context()), u); ctrlclient.IgnoreNotFound(err) != nil && !meta.IsNoMatchError(err) {
				t.Error(err)
			}
		})
	}
}

// installKinds installs custom resources that come with a Go module; what Helm would fill in is left out.
func installKinds(t *testing.T, tool, module string, patterns ...string) {
	t.Helper()
	for _, file := range testserver.ModuleFiles(t, tool, module, patterns...) {
		if strings.HasSuffix(file, "kustomization.yaml") {
			continue
		}
		data, err := os.ReadFile(file)
		must(t, err)
		applyText(t, regexp.MustCompile(`(?m)^.*\{\{.*$`).ReplaceAllString(string(data), ""))
	}
}

// startTraefik starts Traefik at edgeAddress, as controller of Ingresses and, if asked for, of the Gateway API.
func startTraefik(t *testing.T, gateway bool) {
	t.Helper()
	folder, err := tool("traefik")
	must(t, err)
	netns := "--net=" + filepath.Join(clusterState, "netns")
	sh(t, "nsenter", netns, "ip", "addr", "replace", edgeAddress+"/24", "dev", "node0")
	t.Cleanup(func() {
		if out, err := exec.Command("nsenter", netns, "ip", "addr", "del", edgeAddress+"/24", "dev", "node0").CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
	})
	arguments := []string{
		"--global.checknewversion=false", "--global.sendanonymoususage=false", "--log.level=INFO",
		"--entrypoints.websecure.address=" + edgeAddress + ":443",
		// Large packs: no fixed time for a whole upload. Challenges of registries pass.
		"--entrypoints.websecure.transport.respondingtimeouts.readtimeout=0", "--entrypoints.websecure.allowacmebypass=true",
		"--providers.kubernetesingress=true", "--providers.kubernetesingress.ingressendpoint.ip=" + edgeAddress,
	}
	if gateway {
		arguments = append(arguments, "--providers.kubernetesgateway=true", "--providers.kubernetesgateway.experimentalchannel=true",
			"--providers.kubernetesgateway.statusaddress.ip="+edgeAddress)
	}
	work := t.TempDir()
	execInside(t, []string{"KUBECONFIG=" + filepath.Join(clusterState, "admin.kubeconfig"), "HOME=" + work}, filepath.Join(folder, "traefik"), arguments...)
	answersInside(t, "Traefik answers", edgeAddress+":443")
}

// connectTo is a client of a registry that is reached by an address inside the cluster's network.
func connectTo(t *testing.T, host, dial string, ca []byte) *client.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "ca.crt")
	must(t, os.WriteFile(file, ca, 0o600))
	c, err := client.Connect(client.Server{Host: host, Username: "ann", Password: "secret", CAFile: file,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) { return dialInside(ctx, network, dial) }})
	must(t, err)
	eventually(t, time.Minute, host+" answers", func() error { return c.Ping(t.Context()) })
	return c
}

// pushAndPull pushes a pack by an address, and pulls it back.
func pushAndPull(t *testing.T, host, dial string, ca []byte) {
	t.Helper()
	pushed(t, connectTo(t, host, dial, ca))
	wantHello(t, host, dial, ca)
}

// wantHello pulls the pack that pushed pushes.
func wantHello(t *testing.T, host, dial string, ca []byte) {
	t.Helper()
	wantPack(t, connectTo(t, host, dial, ca))
}

func wantURL(t *testing.T, r *v1alpha1.PackRegistry, want string) {
	t.Helper()
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r))
	if r.Status.URL != want {
		t.Errorf("status.url is %q, want %q", r.Status.URL, want)
	}
}

// certificateFor replaces the registry's certificate by one for a host, and returns what to trust.
func certificateFor(t *testing.T, r *v1alpha1.PackRegistry, host string) []byte {
	t.Helper()
	secret := &corev1.Secret{}
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "certificate"}, secret))
	secret.Data = newCertificate(t, host)
	must(t, kube.Update(t.Context(), secret))
	return secret.Data[corev1.TLSCertKey]
}

func TestAnIngressByTraefik(t *testing.T) {
	class := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "traefik"}, Spec: networkingv1.IngressClassSpec{Controller: "traefik.io/ingress-controller"}}
	must(t, kube.Create(t.Context(), class))
	t.Cleanup(func() {
		if err := kube.Delete(context.WithoutCancel(t.Context()), class); err != nil {
			t.Error(err)
		}
	})
	startTraefik(t, false)
	r := newRegistry(t, "ingress")
	host := "ingress.example.com"
	ca := certificateFor(t, r, host)
	r.Spec.Hosts = []string{host}
	r.Spec.Ingress = &v1alpha1.IngressSpec{ClassName: ptr.To("traefik"), Annotations: map[string]string{"traefik.ingress.kubernetes.io/router.tls": "true"}}
	began := time.Now()
	must(t, kube.Create(t.Context(), r))
	waitReady(t, r)
	took := time.Since(began)
	t.Logf("apply to Ready=True with an Ingress took %s", took.Round(time.Millisecond))
	if took > 12*time.Second {
		t.Errorf("it took %s", took)
	}
	wantURL(t, r, "https://"+host)
	pushAndPull(t, host, edgeAddress+":443", ca)
}

const gateways = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: traefik}
spec: {controllerName: traefik.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: terminate, namespace: $NAMESPACE}
spec:
  gatewayClassName: traefik
  listeners:
  - {name: https, protocol: HTTPS, port: 443, tls: {mode: Terminate, certificateRefs: [{kind: Secret, name: certificate}]}, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: passthrough, namespace: $NAMESPACE}
spec:
  gatewayClassName: traefik
  listeners:
  - {name: tls, protocol: TLS, port: 443, tls: {mode: Passthrough}, allowedRoutes: {namespaces: {from: All}}}
`

// A registry asks for a route before the Gateway API is there; then HTTPRoute and TLSRoute, and a certificate that a registry
// obtains by its TLSRoute.
func TestGatewayRoutesByTraefik(t *testing.T) {
	edge := newRegistry(t, "httproute")
	host := "httproute.example.com"
	ca := certificateFor(t, edge, host) // of the Gateway
	edge.Spec.Hosts = []string{host}
	edge.Spec.TLS = v1alpha1.TLSSpec{Disabled: &v1alpha1.DisabledSpec{}}
	edge.Spec.Gateway = &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "terminate", SectionName: "https"}}}
	must(t, kube.Create(t.Context(), edge))
	eventually(t, time.Minute, "it is reported that the Gateway API is missing", func() error {
		must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(edge), edge))
		if c := meta.FindStatusCondition(edge.Status.Conditions, v1alpha1.ConditionExposed); c == nil || c.Reason != v1alpha1.ReasonGatewayAPINotInstalled {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	installKinds(t, "traefik", "sigs.k8s.io/gateway-api", "config/crd/experimental/gateway*.yaml")
	eventually(t, time.Minute, "gateways can be made", func() error {
		return kube.List(t.Context(), &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayList"}})
	})
	applyText(t, strings.ReplaceAll(gateways, "$NAMESPACE", edge.Namespace))
	startTraefik(t, true)
	waitReady(t, edge)
	wantURL(t, edge, "https://"+host)
	pushAndPull(t, host, edgeAddress+":443", ca)

	passed := newRegistry(t, "tlsroute")
	host = "tlsroute.example.com"
	ca = certificateFor(t, passed, host)
	passed.Spec.Hosts = []string{host}
	passed.Spec.Gateway = &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "passthrough", Namespace: edge.Namespace, SectionName: "tls"}}}
	must(t, kube.Create(t.Context(), passed))
	waitReady(t, passed)
	wantURL(t, passed, "https://"+host)
	pushAndPull(t, host, edgeAddress+":443", ca)

	directory, acmeCA := startACMEInside(t)
	obtained := newRegistry(t, "obtained")
	must(t, kube.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: obtained.Namespace, Name: "acme-ca"}, Data: map[string][]byte{"ca.crt": acmeCA}}))
	host = leadTo(t, obtained.Namespace, "edge", edgeAddress)
	obtained.Spec.Hosts = []string{host}
	obtained.Spec.TLS = v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{DirectoryURL: directory, CARef: &v1alpha1.CARef{Name: "acme-ca"}}}
	obtained.Spec.Gateway = passed.Spec.Gateway
	began := time.Now()
	must(t, kube.Create(t.Context(), obtained))
	waitReady(t, obtained)
	must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(obtained), obtained))
	if c := obtained.Status.Certificate; c == nil || c.DNSNames[0] != host || !strings.Contains(c.Issuer, "Pebble") {
		t.Fatalf("%+v", c)
	}
	t.Logf("Ready=True with a certificate by TLS-ALPN-01 through a TLSRoute after %s", time.Since(began).Round(time.Millisecond))
	wantURL(t, obtained, "https://"+host)
	for _, port := range serviceOf(t, obtained.Namespace, "obtained").Spec.Ports {
		if port.Port == 80 {
			t.Error("behind a TLSRoute nothing comes by port 80")
		}
	}
	pushAndPull(t, host, edgeAddress+":443", pebbleRoot(t))
}

// leadTo makes a name of the cluster's DNS that leads to an address, as a public name would.
func leadTo(t *testing.T, namespace, name, address string) string {
	t.Helper()
	must(t, kube.Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}}))
	must(t, kube.Create(t.Context(), &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To[int32](443)}}}))
	return name + "." + namespace + ".svc.cluster.local"
}

// pebbleRoot asks the ACME server's management interface for the CA that it signs with.
func pebbleRoot(t *testing.T) []byte {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{DialContext: dialInside, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}} //nolint:gosec // on loopback
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://127.0.0.1:15000/roots/0", nil)
	must(t, err)
	response, err := c.Do(request)
	must(t, err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	must(t, err)
	if block, _ := pem.Decode(data); block == nil {
		t.Fatalf("%s: %s", response.Status, data)
	}
	return data
}

const issuers = `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self, namespace: $NAMESPACE}
spec: {selfSigned: {}}
`

// cert-manager issues, issues again when its Secret goes, and is quoted where it cannot.
func TestCertManagerIssues(t *testing.T) {
	folder, err := tool("certmanager")
	must(t, err)
	installKinds(t, "certmanager", "github.com/cert-manager/cert-manager", "deploy/crds/crd-*.yaml")
	r := newRegistry(t, "issued")
	work := t.TempDir()
	process := execInside(t, []string{"HOME=" + work}, filepath.Join(folder, "controller"),
		"--kubeconfig="+filepath.Join(clusterState, "admin.kubeconfig"), "--leader-elect=false", "--metrics-listen-address=127.0.0.1:19402")
	host := "issued.example.com"
	r.Spec.Hosts = []string{host}
	r.Spec.TLS = v1alpha1.TLSSpec{IssuerRef: &v1alpha1.IssuerRef{Name: "self"}}
	must(t, kube.Create(t.Context(), r))
	eventually(t, time.Minute, "cert-manager's words are reported", func() error {
		must(t, kube.Get(t.Context(), ctrlclient.ObjectKeyFromObject(r), r))
		c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionTLSReady)
		if c == nil || !strings.Contains(c.Message, "cert-manager: ") {
			return fmt.Errorf("%+v\n%s", c, process.Output.String())
		}
		t.Logf("while there is no issuer: %s: %s", c.Reason, c.Message)
		return nil
	})
	applyText(t, strings.ReplaceAll(issuers, "$NAMESPACE", r.Namespace))
	waitReady(t, r)
	issued := func() *corev1.Secret {
		secret := &corev1.Secret{}
		eventually(t, time.Minute, "cert-manager has issued", func() error {
			return kube.Get(t.Context(), ctrlclient.ObjectKey{Namespace: r.Namespace, Name: "issued-registry-tls"}, secret)
		})
		return secret
	}
	first := issued()
	service := serviceOf(t, r.Namespace, "issued").Spec.ClusterIP + ":443"
	pushAndPull(t, host, service, first.Data[corev1.TLSCertKey])
	before := identity(t, r.Namespace)
	must(t, kube.Delete(t.Context(), first))
	eventually(t, time.Minute, "the next certificate is served", func() error {
		now := issued()
		if now.UID == first.UID {
			return errors.New("it is the old one")
		}
		c := clientInside(t, serviceOf(t, r.Namespace, "issued"), string(now.Data[corev1.TLSCertKey]))
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+host+"/health", nil)
		must(t, err)
		response, err := c.Do(request)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if after := identity(t, r.Namespace); after != before {
		t.Errorf("%s became %s", before, after)
	}
}
