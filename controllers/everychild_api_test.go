package controllers

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/controllers/children"
)

// Each child of a registry that has them all: what drifts is corrected, and what is deleted comes back.
func TestAPIEveryChild(t *testing.T) {
	needAPI(t)
	o, r := onBucket(t, 2)
	patchSpec(t, r, `{"ingress":{},"networkPolicy":{"enabled":true},"monitoring":{"serviceMonitor":{"enabled":true}}}`)
	installKinds(t, serviceMonitorCRD)
	monitor := emptyOfKind(children.ServiceMonitorKind.WithVersion("v1"))
	monitor.SetName(r.Name)
	named := func(o client.Object, name string) client.Object {
		o.SetName(name)
		return o
	}
	get(t, r.Namespace, r.Name, &networkingv1.Ingress{})
	o.settle(t) // its configuration is another now
	config := configOf(t, r).Name
	list := []client.Object{
		named(&appsv1.Deployment{}, r.Name), named(&corev1.Service{}, r.Name), named(&corev1.Service{}, children.MetricsServiceName(r)),
		named(&corev1.Secret{}, children.UsersName(r)), named(&corev1.Secret{}, config),
		named(&corev1.ConfigMap{}, children.CAName(r)), named(&corev1.Secret{}, children.CAName(r)), named(&corev1.Secret{}, children.TLSSecret(r)),
		named(&policyv1.PodDisruptionBudget{}, r.Name), named(&networkingv1.Ingress{}, r.Name), named(&networkingv1.NetworkPolicy{}, r.Name), monitor,
	}
	for _, child := range list {
		t.Run(fmt.Sprintf("%T/%s", child, child.GetName()), func(t *testing.T) {
			if child.GetName() != config { // an immutable one that exists is looked at no more
				live := get(t, r.Namespace, child.GetName(), child.DeepCopyObject().(client.Object))
				drift := []byte(`{"metadata":{"labels":{"` + children.LabelName + `":"drifted"}}}`)
				must(t, api.Patch(t.Context(), live, client.RawPatch(types.MergePatchType, drift)))
				eventually(t, "drift is corrected", func() error {
					must(t, api.Get(t.Context(), client.ObjectKeyFromObject(live), live))
					if label := live.GetLabels()[children.LabelName]; label == "drifted" {
						return fmt.Errorf("%s", label)
					}
					return nil
				})
			}
			old := get(t, r.Namespace, child.GetName(), child.DeepCopyObject().(client.Object))
			must(t, api.Delete(t.Context(), old))
			eventually(t, "it comes back", func() error {
				now := child.DeepCopyObject().(client.Object)
				if err := api.Get(t.Context(), client.ObjectKeyFromObject(old), now); err != nil {
					return err
				}
				if now.GetUID() == old.GetUID() {
					return fmt.Errorf("it is still the old one")
				}
				return nil
			})
		})
	}
}
