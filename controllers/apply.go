package controllers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// child is an object that is wanted, beside the one that exists.
type child interface {
	kind() string
	name() string
	// object is the live object, or nil.
	object() client.Object
	// want is the apply configuration.
	want() runtime.ApplyConfiguration
	// upToDate says whether what the operator owns of the live object is what it wants.
	upToDate() (bool, error)
	// empty is an object of the kind, to read into.
	empty() client.Object
	// withLive is the same child beside another live object.
	withLive(client.Object) child
}

// namedApply is what typed apply configurations have in common.
type namedApply interface {
	runtime.ApplyConfiguration
	GetName() *string
}

type typedChild[L client.Object, W namedApply] struct {
	kindName string
	live     L
	exists   bool
	wanted   W
	extract  func(L, string) (W, error)
}

func newChild[L client.Object, W namedApply](kind string, live L, want W, extract func(L, string) (W, error)) child {
	return typedChild[L, W]{kind, live, !reflect.ValueOf(live).IsNil(), want, extract}
}

func (c typedChild[L, W]) kind() string                     { return c.kindName }
func (c typedChild[L, W]) name() string                     { return *c.wanted.GetName() }
func (c typedChild[L, W]) want() runtime.ApplyConfiguration { return c.wanted }

func (c typedChild[L, W]) object() client.Object {
	if !c.exists {
		return nil
	}
	return c.live
}

func (c typedChild[L, W]) empty() client.Object {
	return reflect.New(reflect.TypeFor[L]().Elem()).Interface().(client.Object)
}

func (c typedChild[L, W]) withLive(o client.Object) child {
	c.live, c.exists = o.(L), true
	return c
}

func (c typedChild[L, W]) upToDate() (bool, error) {
	wanted, err := digest(c.wanted)
	if err != nil {
		return false, err
	}
	have := c.live.GetAnnotations()[annotationOwned]
	if have == "" { // read from the API server, not from the cache
		owned, err := c.extract(c.live, FieldOwner)
		if err != nil {
			return false, fmt.Errorf("read what we own: %w", err)
		}
		if have, err = digest(owned); err != nil {
			return false, err
		}
	}
	return have == wanted, nil
}

// ofEarlier says whether an object belongs to a PackRegistry of the same name that was deleted: it goes by itself.
func ofEarlier(r *v1alpha1.PackRegistry, o client.Object) bool {
	controller := metav1.GetControllerOf(o)
	return controller != nil && controller.UID != r.UID && controller.Kind == "PackRegistry" && controller.Name == r.Name
}

// foreign says why an object is not ours, or "".
func foreign(r *v1alpha1.PackRegistry, o client.Object) string {
	if o.GetLabels()[children.LabelManagedBy] != children.ManagedBy || o.GetLabels()[children.LabelRegistry] != r.Name {
		return "it lacks the operator's labels"
	}
	if controller := metav1.GetControllerOf(o); controller != nil && controller.UID != r.UID {
		return fmt.Sprintf("%s %s controls it", controller.Kind, controller.Name)
	}
	return ""
}

// apply brings one child in line, unless it is. A child of somebody else is left alone.
func (r *Reconciler) apply(ctx context.Context, o *observed, c child) error {
	live := c.object()
	if live == nil {
		// The cache holds only objects with our labels; another one of this name would be taken over by an apply.
		live = c.empty()
		err := r.APIReader.Get(ctx, client.ObjectKey{Namespace: o.registry.Namespace, Name: c.name()}, live)
		switch {
		case apierrors.IsNotFound(err):
			live = nil
		case err != nil:
			return err
		default:
			c = c.withLive(live)
		}
	}
	if live != nil {
		if ofEarlier(o.registry, live) {
			return errOfEarlier
		}
		if why := foreign(o.registry, live); why != "" {
			return &conflictError{c.kind(), c.name(), why}
		}
		same, err := c.upToDate()
		if err != nil || same {
			return err
		}
	}
	wanted, err := digest(c.want())
	if err != nil {
		return err
	}
	registry := client.ObjectKeyFromObject(o.registry)
	if live != nil && r.unchanged.isMadeOf(registry, live, wanted) {
		return nil
	}
	log.FromContext(ctx).Info("apply", "kind", c.kind(), "name", c.name(), "exists", live != nil)
	err = r.Apply(ctx, c.want(), client.FieldOwner(FieldOwner), client.ForceOwnership)
	if err == nil && live != nil && leftAsItWas(live, c.want()) {
		r.unchanged.remember(registry, live, wanted)
	}
	result := "ok"
	if err != nil {
		result = "error"
	}
	applies.WithLabelValues(c.kind(), result).Inc()
	return err
}

// triggerResync annotates pods whose Secrets have changed, upon which the kubelet syncs their volumes.
func (r *Reconciler) triggerResync(ctx context.Context, d *decision) error {
	var failed []error
	for _, pod := range slices.SortedFunc(maps.Keys(d.resync), func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) }) {
		version := d.resync[pod]
		intent := corev1apply.Pod(pod.Name, pod.Namespace).WithUID(pod.UID).
			WithAnnotations(map[string]string{children.AnnotationSecrets: version})
		err := r.Apply(ctx, intent, client.FieldOwner(FieldOwner), client.ForceOwnership)
		// A pod that went away meanwhile has nothing to look at; applying to another one of the name is a conflict.
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			failed = append(failed, fmt.Errorf("pod %s: %w", pod.Name, err))
		}
	}
	return errors.Join(failed...)
}
