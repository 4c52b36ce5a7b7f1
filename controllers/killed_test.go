package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// childrenOf lists what was made in a namespace, by kind and name.
func childrenOf(t *testing.T, namespace string) []string {
	t.Helper()
	var names []string
	for _, list := range []client.ObjectList{&appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.ConfigMapList{},
		&corev1.PersistentVolumeClaimList{}, &policyv1.PodDisruptionBudgetList{}} {
		must(t, api.List(t.Context(), list, client.InNamespace(namespace), client.MatchingLabels{children.LabelManagedBy: children.ManagedBy}))
		must(t, meta.EachListItem(list, func(o runtime.Object) error {
			names = append(names, fmt.Sprintf("%T/%s", o, o.(client.Object).GetName())) //nolint:forcetypeassert // items are objects
			return nil
		}))
	}
	slices.Sort(names)
	return names
}

var errKilled = errors.New("killed")

// writing is how an operator writes whose process dies after so many writes: the one after that, and all later ones, never
// reach the API server.
func dyingAfter(writes int64, made *atomic.Int64) interceptor.Funcs {
	count := func(write func() error) error {
		if made.Add(1) > writes {
			return errKilled
		}
		return write()
	}
	return interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return count(func() error { return c.Apply(ctx, intent, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return count(func() error { return c.Delete(ctx, obj, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, intent runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return count(func() error { return c.SubResource(sub).Apply(ctx, intent, opts...) })
		},
	}
}

// The operator dies after each of its writes, in turn; the next one ends where one that never died does.
func TestAPIKilledAtEveryWrite(t *testing.T) {
	needAPI(t)
	t.Parallel()
	begin := func(namespace string) *v1alpha1.PackRegistry {
		must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
		must(t, api.Create(t.Context(), keysSecret(namespace, "secret")))
		r := newRegistry(namespace)
		r.Spec.Replicas = ptr.To[int32](2)
		r.Spec.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "packs", Region: "eu-west-1", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
		r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
		must(t, api.Create(t.Context(), r))
		return r
	}
	finish := func(r *v1alpha1.PackRegistry) {
		rollOut(t, r.Namespace, r.Name)
		wantCondition(t, r, v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
	}
	undisturbed := begin(newNamespace(t))
	o := startOperator(t, undisturbed.Namespace)
	finish(undisturbed)
	o.stop()
	want := childrenOf(t, undisturbed.Namespace)
	if len(want) != 8 {
		t.Fatalf("children: %v", want)
	}
	for writes := range int64(len(want) + 1) {
		t.Run(fmt.Sprintf("after %d", writes), func(t *testing.T) {
			r := begin(newNamespace(t))
			var made atomic.Int64
			victim := startOperatorWith(t, r.Namespace, dyingAfter(writes, &made))
			eventually(t, "it dies", func() error {
				if made.Load() <= writes {
					return fmt.Errorf("%d writes", made.Load())
				}
				return nil
			})
			victim.stop()
			startOperator(t, r.Namespace)
			finish(r)
			got := childrenOf(t, r.Namespace)
			// A configuration of the certificate's or credential's own version has a name of its own.
			if len(got) != len(want) {
				t.Errorf("children\n%v, want\n%v", got, want)
			}
			d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
			if d.Generation != 1 {
				t.Errorf("the Deployment was changed %d times", d.Generation-1)
			}
		})
	}
}

// The API server refuses for a while, as one does that is restarted: the operator goes on by itself.
func TestAPIServerThatIsAwayForAWhile(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	var away atomic.Bool
	away.Store(true)
	refuse := func(write func() error) error {
		if away.Load() {
			return apierrors.NewServiceUnavailable("the API server is being restarted")
		}
		return write()
	}
	startOperatorWith(t, namespace, interceptor.Funcs{
		Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return refuse(func() error { return c.Apply(ctx, intent, opts...) })
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, intent runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return refuse(func() error { return c.SubResource(sub).Apply(ctx, intent, opts...) })
		},
	})
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	began := time.Now()
	eventually(t, "it has tried for a while", func() error {
		if time.Since(began) < 2*time.Second {
			return errors.New("not yet")
		}
		return nil
	})
	away.Store(false)
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, "True", v1alpha1.ReasonReady)
}
