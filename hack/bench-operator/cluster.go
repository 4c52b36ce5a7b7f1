package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// parallel does something so many times with so many workers, until the first error.
func parallel(ctx context.Context, workers, count int, do func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= count {
					return
				}
				if err := do(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// ours are the kinds of children, each with an empty list.
func ours() []client.ObjectList {
	return []client.ObjectList{&appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.ConfigMapList{},
		&corev1.PersistentVolumeClaimList{}, &policyv1.PodDisruptionBudgetList{}}
}

// count counts the operator's children in its namespace.
func (b *bench) count(ctx context.Context) (int, error) {
	n := 0
	for _, list := range ours() {
		kinds := &metav1.PartialObjectMetadataList{}
		gvk, err := apiutil.GVKForObject(list, b.api.Scheme())
		if err != nil {
			return 0, err
		}
		kinds.SetGroupVersionKind(gvk)
		if err := b.api.List(ctx, kinds, client.InNamespace(namespace), client.MatchingLabels{children.LabelManagedBy: children.ManagedBy}); err != nil {
			return 0, err
		}
		n += len(kinds.Items)
	}
	return n, nil
}

// perRegistry is how many children each of the registries here has: a claim, its users, the CA, what publishes it, the
// certificate, a Service, a configuration and a Deployment.
const perRegistry = 8

// make makes registries from one number to another, and returns how long it took until all of their children were there,
// and how many those are.
func (b *bench) make(ctx context.Context, from, to int) (time.Duration, int, error) {
	fmt.Fprintf(os.Stderr, "making PackRegistries %d to %d\n", from, to)
	began := time.Now()
	if err := parallel(ctx, 8, to-from, func(ctx context.Context, i int) error {
		size := resource.MustParse("1Gi")
		return b.api.Create(ctx, &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("r%05d", from+i)},
			Spec: v1alpha1.PackRegistrySpec{
				Hosts:   []string{fmt.Sprintf("r%05d.example.com", from+i)},
				Storage: v1alpha1.StorageSpec{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{Size: &size}},
				Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
				TLS:     v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}},
			}})
	}); err != nil {
		return 0, 0, err
	}
	want := to * perRegistry
	for reported := time.Now(); ; {
		n, err := b.count(ctx)
		if err != nil {
			return 0, 0, err
		}
		if n >= want {
			return time.Since(began), (to - from) * perRegistry, nil
		}
		if time.Since(reported) > 10*time.Second {
			reported = time.Now()
			fmt.Fprintf(os.Stderr, "  %d children of %d\n", n, want)
		}
		select {
		case <-ctx.Done():
			return 0, 0, ctx.Err()
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// applyBare applies the same children once more, elsewhere, with nothing but a client, and returns how many a second.
func (b *bench) applyBare(ctx context.Context) (float64, error) {
	var all []*unstructured.Unstructured
	for _, list := range ours() {
		if err := b.api.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{children.LabelManagedBy: children.ManagedBy}); err != nil {
			return 0, err
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error {
			gvk, err := apiutil.GVKForObject(o, b.api.Scheme())
			if err != nil {
				return err
			}
			fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
			if err != nil {
				return err
			}
			u := &unstructured.Unstructured{Object: fields}
			u.SetGroupVersionKind(gvk)
			labels := u.GetLabels()
			delete(fields, "status")
			fields["metadata"] = map[string]any{"name": u.GetName(), "namespace": bare}
			delete(labels, children.LabelManagedBy) // the operator does not watch them
			u.SetLabels(labels)
			if spec, ok := fields["spec"].(map[string]any); ok {
				delete(spec, "clusterIP")
				delete(spec, "clusterIPs")
				delete(spec, "volumeName")
			}
			all = append(all, u)
			return nil
		}); err != nil {
			return 0, err
		}
	}
	fmt.Fprintf(os.Stderr, "applying the same %d children with a bare client\n", len(all))
	began := time.Now()
	err := parallel(ctx, workers, len(all), func(ctx context.Context, i int) error {
		return b.api.Apply(ctx, client.ApplyConfigurationFromUnstructured(all[i]), client.FieldOwner("bare"), client.ForceOwnership)
	})
	return float64(len(all)) / time.Since(began).Seconds(), err
}

// simulate plays the controllers of Deployments and claims until the context ends.
func (b *bench) simulate(ctx context.Context) {
	for ctx.Err() == nil {
		b.simulateOnce(ctx) //nolint:errcheck // tried again
		select {
		case <-ctx.Done():
		case <-time.After(simulationPause):
		}
	}
}

// simulationPause keeps the simulation, which lists everything, from taking the API server's time.
const simulationPause = 5 * time.Second

func (b *bench) simulateOnce(ctx context.Context) error {
	claims, deployments := &corev1.PersistentVolumeClaimList{}, &appsv1.DeploymentList{}
	if err := b.api.List(ctx, claims, client.InNamespace(namespace)); err != nil {
		return err
	}
	if err := b.api.List(ctx, deployments, client.InNamespace(namespace)); err != nil {
		return err
	}
	var todo []client.Object
	for i := range claims.Items {
		if c := &claims.Items[i]; c.Status.Phase != corev1.ClaimBound {
			c.Status.Phase = corev1.ClaimBound
			todo = append(todo, c)
		}
	}
	for i := range deployments.Items {
		if d := &deployments.Items[i]; d.Status.ObservedGeneration != d.Generation {
			n := ptr.Deref(d.Spec.Replicas, 1)
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
				Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"}}}
			todo = append(todo, d)
		}
	}
	return parallel(ctx, 4, len(todo), func(ctx context.Context, i int) error {
		return client.IgnoreNotFound(b.api.Status().Update(ctx, todo[i]))
	})
}

// writes counts what the API server has seen the operator write, but for its lease and events.
func (b *bench) writes() (int, error) {
	f, err := os.Open(b.audit)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n := 0
	scanner := bufio.NewScanner(f)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		var event struct {
			User      struct{ Username string }
			ObjectRef struct{ Resource string }
		}
		if err := json.Unmarshal(scanner.Bytes(), &event); err != nil {
			return 0, err
		}
		if event.User.Username == "operator" && event.ObjectRef.Resource != "leases" && event.ObjectRef.Resource != "events" {
			n++
		}
	}
	return n, scanner.Err()
}
