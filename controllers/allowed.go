package controllers

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// This file finds what a spec asks for and may not have (package limits). Such a spec is not carried out, as one that is invalid.

// hostsAge is how long the hosts of a namespace are remembered. Namespaces are not watched.
const hostsAge = 30 * time.Second

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
	allowed, err := r.allowedHosts(ctx, o)
	if err != nil {
		return err
	}
	o.refusedHosts = r.Limits.RefusedHosts(o.registry.Spec.Hosts, o.registry.Namespace, allowed)
	return nil
}

// allowedHosts is the annotation of the registry's namespace.
func (r *Reconciler) allowedHosts(ctx context.Context, o *observed) (string, error) {
	name := o.registry.Namespace
	if known, ok := r.namespaceHosts.Load(name); ok {
		if last := known.(knownHosts); o.now.Sub(last.at) < hostsAge { //nolint:forcetypeassert // nothing else is put there
			return last.allowed, nil
		}
	}
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := r.APIReader.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		if apierrors.IsNotFound(err) {
			return "", nil // it is going, and nobody may have anything there
		}
		return "", err
	}
	allowed := namespace.Annotations[r.Limits.HostsAnnotation]
	r.namespaceHosts.Store(name, knownHosts{allowed, o.now})
	return allowed, nil
}
