package controllers

import (
	"context"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// This file finds what a spec asks for and may not have (package limits). Such a spec is not carried out, as one that is invalid.

// hostsAge is how long the hosts of a namespace are remembered. Namespaces are not watched.
const hostsAge = 30 * time.Second

// hostsPoll is how often to look again whether the hosts of a PackRegistry are allowed, and whether others may have them, where
// namespaces list hosts at all.
const hostsPoll = 5 * time.Minute

// knownHosts is what a namespace's annotation said, and when.
type knownHosts struct {
	allowed string
	at      time.Time
}

// observeLimits notes what is not allowed.
func (r *Reconciler) observeLimits(ctx context.Context, o *observed) error {
	o.refused = r.Limits.Refused(&o.registry.Spec, r.Image)
	r.Limits.Strip(&o.registry.Spec)
	if r.Limits == nil || r.Limits.HostsAnnotation == "" || len(o.registry.Spec.Hosts) == 0 {
		return nil
	}
	allowed, err := r.allowedHosts(ctx, o.registry.Namespace, o.now)
	if err != nil {
		return err
	}
	o.hostsMayChange = true
	o.refusedHosts = r.Limits.RefusedHosts(o.registry.Spec.Hosts, o.registry.Namespace, allowed)
	return nil
}

// dropRefusedHosts takes the hosts out of other PackRegistries that their namespaces may not have: who asks for such a host keeps it
// from nobody.
func (r *Reconciler) dropRefusedHosts(ctx context.Context, others []v1alpha1.PackRegistry, now time.Time) error {
	if r.Limits == nil || r.Limits.HostsAnnotation == "" {
		return nil
	}
	for i := range others {
		other := &others[i]
		if len(other.Spec.Hosts) == 0 {
			continue
		}
		allowed, err := r.allowedHosts(ctx, other.Namespace, now)
		if err != nil {
			return err
		}
		other.Spec.Hosts = slices.DeleteFunc(slices.Clone(other.Spec.Hosts), func(host string) bool {
			return len(r.Limits.RefusedHosts([]string{host}, other.Namespace, allowed)) > 0
		})
	}
	return nil
}

// allowedHosts is the annotation of a namespace.
func (r *Reconciler) allowedHosts(ctx context.Context, name string, now time.Time) (string, error) {
	if known, ok := r.namespaceHosts.Load(name); ok {
		if last := known.(knownHosts); now.Sub(last.at) < hostsAge { //nolint:forcetypeassert // nothing else is put there
			return last.allowed, nil
		}
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.APIReader.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		if apierrors.IsNotFound(err) {
			r.namespaceHosts.Delete(name)
			return "", nil // it is going, and nobody may have anything there
		}
		return "", err
	}
	allowed := namespace.Annotations[r.Limits.HostsAnnotation]
	r.namespaceHosts.Store(name, knownHosts{allowed, now})
	return allowed, nil
}
