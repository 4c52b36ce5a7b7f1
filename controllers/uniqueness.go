package controllers

import (
	"context"
	"fmt"
	"slices"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// Indexes by what only one PackRegistry can have.
const (
	hostIndex  = "spec.hosts"
	claimIndex = "spec.storage.claim"
)

// hostsOf are the hosts of a registry. One that could not be decoded is none, and nobody else's either.
func hostsOf(r *v1alpha1.PackRegistry) []string {
	return slices.DeleteFunc(slices.Clone(r.Spec.Hosts), func(host string) bool { return host == "" })
}

func claimsOf(r *v1alpha1.PackRegistry) []string {
	if name := children.ClaimName(r); name != "" {
		return []string{name}
	}
	return nil
}

// conflicting are other PackRegistries that want a host or a claim of this one.
func (r *Reconciler) conflicting(ctx context.Context, registry *v1alpha1.PackRegistry) ([]v1alpha1.PackRegistry, error) {
	var found []v1alpha1.PackRegistry
	add := func(options ...client.ListOption) error {
		list := &v1alpha1.PackRegistryList{}
		if err := r.List(ctx, list, options...); err != nil {
			return err
		}
		for _, other := range list.Items {
			if other.UID != registry.UID && !slices.ContainsFunc(found, func(f v1alpha1.PackRegistry) bool { return f.UID == other.UID }) {
				found = append(found, other)
			}
		}
		return nil
	}
	for _, host := range hostsOf(registry) {
		if err := add(client.MatchingFields{hostIndex: host}); err != nil {
			return nil, err
		}
	}
	for _, claim := range claimsOf(registry) {
		if err := add(client.InNamespace(registry.Namespace), client.MatchingFields{claimIndex: claim}); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// olderThan says who came first; UIDs decide between those of one second.
func olderThan(a, b *v1alpha1.PackRegistry) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.UID < b.UID
}

// findConflict says what an older PackRegistry has already, or "". One of another namespace is not named: who may read this
// one may not know of that one.
func findConflict(registry *v1alpha1.PackRegistry, others []v1alpha1.PackRegistry) string {
	for i := range others {
		other := &others[i]
		if !other.DeletionTimestamp.IsZero() || !olderThan(other, registry) {
			continue
		}
		who := "PackRegistry " + other.Name
		if other.Namespace != registry.Namespace {
			who = "a PackRegistry of another namespace"
		}
		for _, host := range hostsOf(registry) {
			if slices.Contains(other.Spec.Hosts, host) {
				return fmt.Sprintf("host %s belongs to %s, which is older: use another host, or delete one of them", host, who)
			}
		}
		if claim := children.ClaimName(registry); other.Namespace == registry.Namespace && claim != "" && claim == children.ClaimName(other) {
			return fmt.Sprintf("PersistentVolumeClaim %s belongs to %s, which is older: use another claim, or delete one of them", claim, who)
		}
	}
	return ""
}
