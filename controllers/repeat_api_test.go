package controllers

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
)

// touch makes an event of a registry's, several times over: news of its Deployment.
func touch(t *testing.T, o *operator, r *v1alpha1.PackRegistry) {
	t.Helper()
	for i := range 3 {
		before := o.reconciles.Load()
		d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/touched":"%d"}}}`, i)
		must(t, api.Patch(t.Context(), d, client.RawPatch(types.MergePatchType, patch)))
		eventually(t, "the operator has seen it", func() error {
			if o.reconciles.Load() == before {
				return errors.New("not yet")
			}
			return nil
		})
		o.settle(t)
	}
}

// What is refused is not asked for at every event: neither the growth of a claim, which is applied unchanged beside it, nor a
// deletion.
func TestAPIRefusalsAreNotAskedForAtEveryEvent(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	var growths, deletions atomic.Int64
	o := startOperatorWith(t, namespace, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if d, ok := intent.(interface{ GetKind() *string }); ok && *d.GetKind() == claimKind {
				growths.Add(1)
			}
			return c.Apply(ctx, intent, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, o client.Object, opts ...client.DeleteOption) error {
			if _, ok := o.(*networkingv1.NetworkPolicy); ok {
				deletions.Add(1)
				return forbidden("NetworkPolicy", o.GetName())
			}
			return c.Delete(ctx, o, opts...)
		},
	})
	r := runningRegistry(t, namespace, "packs", func(r *v1alpha1.PackRegistry) { r.Spec.NetworkPolicy = &v1alpha1.NetworkPolicySpec{Enabled: true} })
	get(t, namespace, "packs", &networkingv1.NetworkPolicy{})
	o.settle(t)
	growths.Store(0)
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"size":"2Gi"}},"networkPolicy":null}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "PersistentVolumeClaim packs-data was refused", "NetworkPolicy packs was refused")
	o.settle(t)
	touch(t, o, r)
	if growths.Load() != 1 || deletions.Load() != 1 {
		t.Errorf("%d growths and %d deletions were asked for", growths.Load(), deletions.Load())
	}
}

// Autoscalers are looked for once, not at each event of a Deployment that somebody has scaled.
func TestAPIAutoscalersAreNotListedAtEveryEvent(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	lists := &countingReader{kind: "HorizontalPodAutoscalerList"}
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
	o := startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, func(r *Reconciler) {
		lists.Reader = r.APIReader
		r.APIReader = lists
	})
	r := runningRegistry(t, namespace, "packs", func(*v1alpha1.PackRegistry) {})
	scale(t, &appsv1.Deployment{}, namespace, "packs", 3, "kubectl")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonScaledElsewhere)
	o.settle(t)
	touch(t, o, r)
	if n := lists.calls.Load(); n != 1 {
		t.Errorf("%d lists", n)
	}
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // a person who has changed something looks
	o.settle(t)
	if n := lists.calls.Load(); n != 2 {
		t.Errorf("%d lists", n)
	}
}

// countingReader counts lists of a kind.
type countingReader struct {
	client.Reader
	kind  string
	calls atomic.Int64
}

func (c *countingReader) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if list.GetObjectKind().GroupVersionKind().Kind == c.kind {
		c.calls.Add(1)
	}
	return c.Reader.List(ctx, list, opts...)
}
