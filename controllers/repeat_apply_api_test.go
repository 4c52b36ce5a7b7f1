package controllers

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
)

// What the API server fills in or leaves out within lists and objects that have one owner as a whole is no difference: nothing is
// written again, neither at an event nor by an operator that has just started.
func TestAPIWhatTheAPIServerFillsInIsNotAppliedAgain(t *testing.T) {
	for name, spec := range map[string]string{
		"a field of the pod in env":       `{"pod":{"env":[{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"C","valueFrom":{"resourceFieldRef":{"resource":"limits.cpu"}}}]}}`,
		"an env that is empty":            `{"pod":{"env":[{"name":"OTEL_A","value":""}]}}`,
		"a port without a protocol":       `{"networkPolicy":{"enabled":true,"ingress":[{"ports":[{"port":8080}]},{"from":[{"podSelector":{}}],"ports":[{"port":"serve"},{"port":1,"endPort":9}]}]}}`,
		"projected volumes":               `{"pod":{"volumes":[{"name":"p","projected":{"sources":[{"serviceAccountToken":{"path":"t"}},{"downwardAPI":{"items":[{"path":"a","fieldRef":{"fieldPath":"metadata.labels"}}]}}]}},{"name":"d","downwardAPI":{"items":[{"path":"a","fieldRef":{"fieldPath":"metadata.labels"}},{"path":"b","resourceFieldRef":{"containerName":"registry","resource":"limits.cpu"}}]}}]}}`,
		"an ephemeral volume":             `{"pod":{"volumes":[{"name":"e","ephemeral":{"volumeClaimTemplate":{"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1024Mi"}}}}}}]}}`,
		"empty fields of a sidecar":       `{"pod":{"containers":[{"name":"s","image":"s:1","workingDir":"","stdin":false,"tty":false,"env":[{"name":"A","value":""},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"status.podIP"}}}],"livenessProbe":{"httpGet":{"port":80,"httpHeaders":[{"name":"X","value":""}]}},"command":[],"resources":{},"volumeMounts":[{"name":"v","mountPath":"/v","readOnly":false,"subPath":""}]}],"volumes":[{"name":"v","emptyDir":{}}]}}`,
		"empty fields of what runs first": `{"pod":{"initContainers":[{"name":"s","image":"s:1","workingDir":"","env":[{"name":"A","value":""}],"args":["a"],"restartPolicy":"Always","securityContext":{"capabilities":{"drop":["ALL"]}}}],"volumeMounts":[{"name":"v","mountPath":"/v","readOnly":false}],"volumes":[{"name":"v","configMap":{"name":"c","items":[{"key":"a","path":"b"}]}}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, r := ready(t)
			patchSpec(t, r, spec)
			carriedOut(t, r)
			rollOut(t, r.Namespace, r.Name)
			wantCondition(t, r, v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
			o.settle(t)
			writes := o.writes.Load()
			touch(t, o, r)
			if n := o.writes.Load() - writes; n != 0 {
				t.Errorf("%d writes at an event", n)
			}
			wantNoWritesAfterRestart(t, o, r.Namespace)
		})
	}
}

// Of a registry with every kind of child nothing is written again either: neither at an event nor by an operator that has just started.
func TestAPIEveryChildIsAppliedOnce(t *testing.T) {
	needAPI(t)
	installKinds(t, append(kindsOf(t, "traefik", "sigs.k8s.io/gateway-api", "config/crd/experimental/*_tlsroutes.yaml", "config/crd/experimental/*_httproutes.yaml"), serviceMonitorCRD)...)
	const all = `"replicas":2,"storage":{"persistentVolumeClaim":{"accessModes":["ReadWriteMany"]}},"networkPolicy":{"enabled":true},"monitoring":{"serviceMonitor":{"enabled":true,"interval":"30s"}},"podDisruptionBudget":{}`
	for name, spec := range map[string]string{
		"an Ingress":   `{"tls":{"secretRef":null,"selfSigned":{}},"ingress":{},` + all + `}`,
		"a TLSRoute":   `{"tls":{"secretRef":null,"selfSigned":{}},"gateway":{"parentRefs":[{"name":"edge"}]},` + all + `}`,
		"an HTTPRoute": `{"tls":{"secretRef":null,"disabled":{}},"gateway":{"parentRefs":[{"name":"edge"}]},` + all + `}`,
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t)
			o := startOperator(t, namespace)
			must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
			r := createWith(t, namespace, "packs", spec)
			bind(t, namespace, "packs-data")
			carriedOut(t, r)
			rollOut(t, namespace, r.Name)
			wantCondition(t, r, v1alpha1.ConditionAvailable, "True", v1alpha1.ReasonMinimumAvailable)
			o.settle(t)
			writes := o.writes.Load()
			touch(t, o, r)
			if n := o.writes.Load() - writes; n != 0 {
				t.Errorf("%d writes at an event", n)
			}
			wantNoWritesAfterRestart(t, o, namespace)
		})
	}
}

// What an admission webhook makes of a child is nothing that the operator can know. It sees that applying the same again changes
// nothing, and leaves it at that.
func TestAPIWhatAWebhookChangesIsNotAppliedAgain(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	installKinds(t, serviceMonitorCRD)
	mark := map[string]string{"webhook": "was here"}
	webhook := interceptor.Funcs{Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
		switch of := intent.(type) {
		case *corev1apply.ServiceApplyConfiguration:
			of.WithAnnotations(mark)
		case *corev1apply.SecretApplyConfiguration:
			of.WithAnnotations(mark)
		case *corev1apply.ConfigMapApplyConfiguration:
			of.WithAnnotations(mark)
		case *corev1apply.PersistentVolumeClaimApplyConfiguration:
			of.WithAnnotations(mark)
		case interface{ UnstructuredContent() map[string]any }:
			endpoints, _, err := unstructured.NestedSlice(of.UnstructuredContent(), "spec", "endpoints")
			must(t, err)
			endpoints[0].(map[string]any)["interval"] = "7s"
			must(t, unstructured.SetNestedSlice(of.UnstructuredContent(), endpoints, "spec", "endpoints"))
		}
		return c.Apply(ctx, intent, opts...)
	}}
	o := startOperatorWith(t, namespace, webhook)
	r := createWith(t, namespace, "packs", "{tls: {secretRef: null, selfSigned: {}}, monitoring: {serviceMonitor: {enabled: true, interval: 30s}}}")
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	carriedOut(t, r)
	o.settle(t)
	touch(t, o, r)
	writes := o.writes.Load()
	touch(t, o, r)
	touch(t, o, r)
	if n := o.writes.Load() - writes; n != 0 {
		t.Errorf("%d writes", n)
	}
	// Drift is another matter.
	service := get(t, namespace, "packs", &corev1.Service{})
	must(t, api.Patch(t.Context(), service, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"selector":{"app.kubernetes.io/instance":"other"}}}`))))
	eventually(t, "it is corrected", func() error {
		if got := get(t, namespace, "packs", &corev1.Service{}).Spec.Selector["app.kubernetes.io/instance"]; got != "packs" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}

// carriedOut waits until the spec is.
func carriedOut(t *testing.T, r *v1alpha1.PackRegistry) {
	t.Helper()
	eventually(t, "the spec is carried out", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if live.Status.AppliedGeneration != live.Generation {
			return fmt.Errorf("%+v", live.Status)
		}
		return nil
	})
}
