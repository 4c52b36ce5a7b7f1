package children_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// metadataOf reads an apply configuration's metadata.
func metadataOf(t *testing.T, intent any) metav1.ObjectMeta {
	t.Helper()
	data, err := json.Marshal(intent)
	if err != nil {
		t.Fatal(err)
	}
	var object metav1.PartialObjectMetadata
	if err := json.Unmarshal(data, &object); err != nil {
		t.Fatal(err)
	}
	return object.ObjectMeta
}

// Argo CD takes every object with app.kubernetes.io/instance: packs for its Application packs, and prunes those that are
// not in git and have no owner. What outlives its PackRegistry has no owner.
func TestNothingThatIsKeptIsTrackedByInstance(t *testing.T) {
	for name, build := range registries {
		t.Run(name, func(t *testing.T) {
			r := build()
			kept := []any{children.CASecret(r, nil)}
			if c := children.Claim(r, nil); c != nil {
				kept = append(kept, c)
			}
			for _, intent := range kept {
				meta := metadataOf(t, intent)
				if instance, ok := meta.Labels[children.LabelInstance]; ok {
					t.Errorf("%s carries %s: %s", meta.Name, children.LabelInstance, instance)
				}
				// By these it is found again.
				if meta.Labels[children.LabelManagedBy] != children.ManagedBy || meta.Labels[children.LabelRegistry] != r.Name {
					t.Errorf("%s has the labels %v", meta.Name, meta.Labels)
				}
			}
		})
	}
}

// A registry whose pods crash must not keep its node from being drained.
func TestDisruptionBudgetLetsPodsThatAreNotReadyGo(t *testing.T) {
	r := registry(v1alpha1.PackRegistrySpec{Replicas: ptr.To[int32](2)})
	budget := children.DisruptionBudget(r, 2)
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p == nil || *p != policyv1.AlwaysAllow {
		t.Errorf("unhealthyPodEvictionPolicy is %v", p)
	}
}

// Of the Secrets and ConfigMaps that a PackRegistry names, pods get the keys that they need: not the key of a CA beside its certificate,
// not a token, not the salt of the users' Secret.
func TestPodsGetOnlyTheKeysThatTheyNeed(t *testing.T) {
	of := func(ref v1alpha1.CARef) *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Storage: v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}},
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:     v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}, ClientCARef: &ref},
		})
	}
	want := map[string][]string{"users": {"htpasswd"}, "certificate": {"tls.crt", "tls.key"}, "client-ca": {"ca.crt"}}
	for _, kind := range []v1alpha1.CARefKind{v1alpha1.CARefSecret, v1alpha1.CARefConfigMap} {
		r := of(v1alpha1.CARef{Kind: kind, Name: "clients"})
		deployment, err := children.Deployment(r, children.DeploymentInput{Config: children.RenderedConfig{Name: "packs-config-0"}})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]string{}
		for _, v := range deployment.Spec.Template.Spec.Volumes {
			var keys []corev1apply.KeyToPathApplyConfiguration
			switch {
			case v.Secret != nil && *v.Name != "config":
				keys = v.Secret.Items
			case v.ConfigMap != nil:
				keys = v.ConfigMap.Items
			default:
				continue
			}
			got[*v.Name] = nil
			for _, key := range keys {
				if *key.Key != *key.Path {
					t.Errorf("%s is mounted as %s", *key.Key, *key.Path)
				}
				got[*v.Name] = append(got[*v.Name], *key.Key)
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("clientCARef of kind %s: pods have %v", kind, got)
		}
	}
}

// What a relabeling does not have would be taken out by the API server, and applied for ever.
func TestRelabelingsAreDecodedStrictly(t *testing.T) {
	for relabeling, words := range map[string]string{
		`{"targetLabel":"a","sourceLabels":["b"],"modulus":2,"action":"hashmod","separator":"","regex":"x","replacement":""}`: "",
		`{"targetLabels":"a"}`: `spec.monitoring.serviceMonitor.relabelings[0]: unknown field "targetLabels"`,
		`{"targetLabel":5}`:    "spec.monitoring.serviceMonitor.relabelings[0].targetLabel: number",
		`{"sourceLabels":"a"}`: "spec.monitoring.serviceMonitor.relabelings[0].sourceLabels",
		`{"modulus":"two"}`:    "spec.monitoring.serviceMonitor.relabelings[0].modulus",
	} {
		spec := &v1alpha1.PackRegistrySpec{Monitoring: &v1alpha1.MonitoringSpec{ServiceMonitor: &v1alpha1.ServiceMonitorSpec{Relabelings: []v1alpha1.Object{object(relabeling)}}}}
		_, err := children.Relabelings(spec)
		if (err == nil) != (words == "") || err != nil && !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", relabeling, err)
		}
	}
}
