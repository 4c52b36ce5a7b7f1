package children_test

import (
	"encoding/json"
	"testing"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
