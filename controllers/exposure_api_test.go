package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// started makes a registry of the tests' spec and of changes to it, with its Secrets.
func started(t *testing.T, namespace, changes string) *v1alpha1.PackRegistry {
	t.Helper()
	now := time.Now()
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", now.Add(-time.Hour), now.AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	patchSpec(t, r, changes)
	return r
}

func wantURL(t *testing.T, r *v1alpha1.PackRegistry, want string) {
	t.Helper()
	eventually(t, "status.url is "+want, func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		if r.Status.URL != want {
			return fmt.Errorf("%q", r.Status.URL)
		}
		return nil
	})
}

func gone(t *testing.T, o client.Object, namespace, name string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s is gone", o, name), func() error {
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, o); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
}

func TestAPIIngressAndNetworkPolicy(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	must(t, api.Create(t.Context(), &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: "traefik"}, Spec: networkingv1.IngressClassSpec{Controller: "example.com/traefik"}}))
	r := started(t, namespace, `{"ingress":{"className":"traefik"},"networkPolicy":{"enabled":true}}`)
	bind(t, namespace, "packs-data")
	ingress := get(t, namespace, "packs", &networkingv1.Ingress{})
	if got := ingress.Spec.TLS[0]; got.SecretName != r.Spec.TLS.SecretRef.Name || got.Hosts[0] != "packs.example.com" {
		t.Errorf("%+v", got)
	}
	eventually(t, "the pods speak HTTP", func() error {
		for _, v := range get(t, namespace, "packs", &appsv1.Deployment{}).Spec.Template.Spec.Volumes {
			if v.Name == "certificate" {
				return fmt.Errorf("they have a certificate")
			}
		}
		return nil
	})
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonAddressPending, "class traefik")
	wantURL(t, r, "")
	ingress = get(t, namespace, "packs", &networkingv1.Ingress{})
	ingress.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	must(t, api.Status().Update(t.Context(), ingress))
	wantURL(t, r, "https://packs.example.com")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	policy := get(t, namespace, "packs", &networkingv1.NetworkPolicy{})
	if len(policy.Spec.Ingress) != 2 || policy.Spec.Ingress[1].From[0].PodSelector.MatchLabels[children.LabelOperator] != "true" {
		t.Errorf("%+v", policy.Spec)
	}
	o.settle(t)
	o.writes.Store(0)
	patchSpec(t, r, `{"suspend":true}`)
	patchSpec(t, r, `{"suspend":false}`)
	o.settle(t)
	if n := o.writes.Load(); n > 4 { // the status of two generations
		t.Errorf("%d writes for nothing", n)
	}
	patchSpec(t, r, `{"ingress":null,"networkPolicy":null}`)
	gone(t, ingress, namespace, "packs")
	gone(t, policy, namespace, "packs")
	rollOut(t, namespace, "packs")
	wantURL(t, r, "https://packs."+namespace+".svc")
}

// The Gateway API is installed after the registry has asked for it; then a Gateway refuses, and takes, its route.
func TestAPIGatewayIsNoticed(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	r := started(t, namespace, `{"gateway":{"parentRefs":[{"name":"edge","namespace":"infra","sectionName":"tls"}]}}`)
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonGatewayAPINotInstalled, "TLSRoute", "install the Gateway API")
	wantKstatus(t, r, status.InProgressStatus)

	installKinds(t, kindsOf(t, "traefik", "sigs.k8s.io/gateway-api", "config/crd/experimental/*_tlsroutes.yaml", "config/crd/experimental/*_httproutes.yaml")...)
	route := emptyOfKind(schema.GroupVersionKind{Group: children.TLSRouteKind.Group, Version: "v1alpha2", Kind: "TLSRoute"})
	get(t, namespace, "packs", route)
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonAddressPending, "Gateway edge")
	answer := func(value, reason string) {
		t.Helper()
		condition := func(kind string) any {
			return map[string]any{"type": kind, "status": value, "reason": reason, "message": "says the test", "lastTransitionTime": "2026-01-01T00:00:00Z"}
		}
		eventually(t, "the route has a status", func() error {
			must(t, api.Get(t.Context(), client.ObjectKeyFromObject(route), route))
			route.Object["status"] = map[string]any{"parents": []any{map[string]any{"controllerName": "example.com/x",
				"parentRef": map[string]any{"name": "edge", "namespace": "infra", "sectionName": "tls"}, "conditions": []any{condition("Accepted"), condition("ResolvedRefs")}}}}
			return api.Status().Update(t.Context(), route)
		})
	}
	answer("False", "NotAllowedByListeners")
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonRouteRefused, "NotAllowedByListeners", "says the test")
	answer("True", "Accepted")
	wantURL(t, r, "https://packs.example.com")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	// Nothing more is written, also by an operator that was started anew; drift is corrected; what is unwanted goes.
	o.settle(t)
	o.stop()
	o = startOperator(t, namespace)
	o.settle(t)
	if n := o.writes.Load(); n != 0 {
		t.Errorf("%d writes after a restart", n)
	}
	must(t, api.Patch(t.Context(), route, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"hostnames":["other.example.com"]}}`))))
	eventually(t, "drift is corrected", func() error {
		must(t, api.Get(t.Context(), client.ObjectKeyFromObject(route), route))
		if hosts, _, _ := unstructured.NestedStringSlice(route.Object, "spec", "hostnames"); !slices.Equal(hosts, []string{"packs.example.com"}) {
			return fmt.Errorf("%v", hosts)
		}
		return nil
	})
	must(t, api.Delete(t.Context(), route))
	get(t, namespace, "packs", route)
	patchSpec(t, r, `{"tls":{"secretRef":null,"disabled":{}}}`)
	gone(t, route, namespace, "packs")
	get(t, namespace, "packs", emptyOfKind(schema.GroupVersionKind{Group: children.HTTPRouteKind.Group, Version: "v1", Kind: "HTTPRoute"}))
	patchSpec(t, r, `{"gateway":null}`)
	gone(t, emptyOfKind(schema.GroupVersionKind{Group: children.HTTPRouteKind.Group, Version: "v1", Kind: "HTTPRoute"}), namespace, "packs")
}

// An optional kind is taken away while registries use it, comes back, and then in another version only.
func TestAPIAKindGoesAndComesBack(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	installKinds(t, tlsRouteCRD)
	startOperator(t, namespace)
	r := started(t, namespace, `{"gateway":{"parentRefs":[{"name":"edge"}]}}`)
	route := func(version string) *unstructured.Unstructured {
		return emptyOfKind(children.TLSRouteKind.WithVersion(version))
	}
	get(t, namespace, "packs", route("v1alpha2"))
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonAddressPending, "Gateway edge")

	crd := &unstructured.Unstructured{}
	must(t, yaml.Unmarshal([]byte(tlsRouteCRD), crd))
	deleteKind(t, crd)
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonGatewayAPINotInstalled, "TLSRoute")

	installKinds(t, tlsRouteCRD)
	get(t, namespace, "packs", route("v1alpha2"))
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionFalse, v1alpha1.ReasonAddressPending, "Gateway edge")

	must(t, api.Patch(t.Context(), crd, client.RawPatch(types.JSONPatchType, []byte(
		`[{"op":"replace","path":"/spec/versions/0/served","value":false},{"op":"replace","path":"/spec/versions/1/served","value":true}]`))))
	eventually(t, "the route's new version is watched", func() error {
		now := route("v1")
		if err := api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: "packs"}, now); err != nil {
			return err
		}
		now.Object["status"] = map[string]any{"parents": []any{map[string]any{"parentRef": map[string]any{"name": "edge"}, "conditions": []any{
			map[string]any{"type": "Accepted", "status": "True"}, map[string]any{"type": "ResolvedRefs", "status": "True"}}}}}
		if err := api.Update(t.Context(), now); err != nil {
			return err
		}
		must(t, api.Get(t.Context(), client.ObjectKeyFromObject(r), r))
		if r.Status.URL != "https://packs.example.com" {
			return fmt.Errorf("status.url is %q", r.Status.URL)
		}
		return nil
	})
}

func TestAPIIssuer(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	startOperator(t, namespace)
	r := started(t, namespace, `{"tls":{"secretRef":null,"issuerRef":{"name":"ca"}}}`)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonCertManagerMissing, "cert-manager")
	installKinds(t, kindsOf(t, "certmanager", "github.com/cert-manager/cert-manager", "deploy/crds/crd-certificates.yaml")...)
	issued := emptyOfKind(children.CertificateKind.WithVersion("v1"))
	get(t, namespace, "packs", issued)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued)
	say := func(conditions ...map[string]any) {
		t.Helper()
		var list []any
		for _, c := range conditions {
			list = append(list, c)
		}
		eventually(t, "the Certificate has a status", func() error {
			must(t, api.Get(t.Context(), client.ObjectKeyFromObject(issued), issued))
			issued.Object["status"] = map[string]any{"conditions": list}
			return api.Status().Update(t.Context(), issued)
		})
	}
	notReady := map[string]any{"type": "Ready", "status": "False", "reason": "DoesNotExist", "message": "Issuing certificate as Secret does not exist"}
	say(notReady)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonNotIssued, "DoesNotExist", "Secret does not exist")
	failed := map[string]any{"type": "Issuing", "status": "False", "reason": "Failed", "message": "the order was refused"}
	say(notReady, failed)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonIssuanceFailed, "Failed", "the order was refused")
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("pods without a certificate were made: %v", err)
	}
	secret := certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	secret.Name = "packs-registry-tls"
	must(t, api.Create(t.Context(), secret))
	say(map[string]any{"type": "Ready", "status": "True", "reason": "Ready", "message": "up to date"})
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionTrue, v1alpha1.ReasonCertificateValid)
	get(t, namespace, "packs", &appsv1.Deployment{})
	say(map[string]any{"type": "Ready", "status": "True", "reason": "Ready", "message": "up to date"}, failed)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonIssuanceFailed, "Failed", "the order was refused", "valid until")
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonIssuanceFailed, "the order was refused", "valid until")
}

func TestAPIServiceMonitor(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	startOperator(t, namespace)
	r := started(t, namespace, `{"monitoring":{"serviceMonitor":{"enabled":true}}}`)
	wantCondition(t, r, v1alpha1.ConditionExposed, metav1.ConditionTrue, v1alpha1.ReasonServiceMonitorNotInstalled, "does not have ServiceMonitor")
	installKinds(t, serviceMonitorCRD)
	monitor := emptyOfKind(children.ServiceMonitorKind.WithVersion("v1"))
	get(t, namespace, "packs", monitor)
	service := get(t, namespace, "packs-registry-metrics", &corev1.Service{})
	match, _, _ := unstructured.NestedStringMap(monitor.Object, "spec", "selector", "matchLabels")
	for key, value := range match {
		if service.Labels[key] != value {
			t.Errorf("the ServiceMonitor does not find the Service: %v, %v", match, service.Labels)
		}
	}
	if client := get(t, namespace, "packs", &corev1.Service{}); client.Labels[children.MonitorLabel] != "" || len(client.Spec.Ports) != 1 {
		t.Errorf("the clients' Service leads to the metrics: %+v", client)
	}
	wantURL(t, r, "https://packs."+namespace+".svc")
	if !measured(t, namespace, "packregistry_ready") {
		t.Error("the registry has no packregistry_ready")
	}
	patchSpec(t, r, `{"monitoring":null}`)
	gone(t, service, namespace, service.Name)
	gone(t, monitor, namespace, "packs")
	must(t, api.Delete(t.Context(), r))
	eventually(t, "its packregistry_ready goes with it", func() error {
		if measured(t, namespace, "packregistry_ready") {
			return fmt.Errorf("it is still there")
		}
		return nil
	})
}

// measured says whether a namespace's registry has a metric.
func measured(t *testing.T, namespace, metric string) bool {
	t.Helper()
	families, err := metrics.Registry.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() != metric {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "namespace" && label.GetValue() == namespace {
					return true
				}
			}
		}
	}
	return false
}
