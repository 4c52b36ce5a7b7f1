package controllers

import (
	"context"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// optionalState is what there is of a registry's object of such a kind.
type optionalState struct {
	// kind with its version; empty where the cluster lacks it.
	kind schema.GroupVersionKind
	live *unstructured.Unstructured
}

// observeOptional reads a registry's objects of kinds that a cluster may lack: those that it asks for, and those that it
// may have asked for before.
func (r *Reconciler) observeOptional(ctx context.Context, o *observed) {
	if r.kinds == nil {
		return
	}
	kinds, wants := r.kinds.known(ctx), children.Optional(o.registry)
	for kind := range wants {
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	o.optional, o.unknown, o.discoveryTTL = map[schema.GroupKind]optionalState{}, map[schema.GroupKind]error{}, r.kinds.age
	for _, kind := range kinds {
		_, wanted := wants[kind]
		state, err := r.observeKind(ctx, o.registry, kind, wanted)
		if err != nil { // what is not known now is neither made nor deleted, and holds up nothing else
			log.FromContext(ctx).Info("cannot read an object of an optional kind", "kind", kind.String(), "error", err.Error())
			o.unknown[kind] = err
			continue
		}
		o.optional[kind] = state
	}
}

// observeKind reads a registry's object of one such kind.
func (r *Reconciler) observeKind(ctx context.Context, registry *v1alpha1.PackRegistry, kind schema.GroupKind, wanted bool) (state optionalState, err error) {
	if state.kind, err = r.kinds.find(ctx, kind); err != nil || state.kind.Empty() {
		return state, err
	}
	informer, err := r.kinds.cache.GetInformer(ctx, emptyOfKind(state.kind), cache.BlockUntilSynced(false))
	if err != nil {
		return state, err
	}
	reader := r.Metadata
	if !informer.HasSynced() { // a watch that began just now, or a kind that is going away
		reader = r.APIReader
	}
	if state.live, err = lookup(ctx, reader, registry, children.OptionalName(registry), emptyOfKind(state.kind)); err != nil {
		return state, err
	}
	if wanted && state.live == nil { // it goes with its kind, too
		state.kind, err = r.kinds.confirm(ctx, kind)
	}
	return state, err
}

func emptyOfKind(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

// planOptional lists the children of such kinds, as far as the cluster has them: those that are certificates, or the others.
func (d *decision) planOptional(o *observed, into *[]child, certificates bool) error {
	wanted := children.Optional(o.registry)
	if len(o.unknown) > 0 {
		d.requeueIn(optionalPoll)
	}
	for _, kind := range slices.SortedFunc(maps.Keys(o.optional), byKind) {
		state := o.optional[kind]
		if (kind == children.CertificateKind) != certificates {
			continue
		}
		want := wanted[kind]
		switch {
		case want == nil && state.live != nil && controlledBy(o.registry, state.live) && foreign(o.registry, state.live) == "":
			d.unwanted = append(d.unwanted, state.live)
		case want != nil && state.kind.Empty():
			d.requeueIn(optionalPoll)
		case want != nil:
			want.SetGroupVersionKind(state.kind)
			sum, err := digest(want)
			if err != nil {
				return err
			}
			d.requeueIn(o.discoveryTTL) // that a kind or a version of it has gone is no event
			annotations := want.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			annotations[annotationIntent] = sum
			want.SetAnnotations(annotations)
			*into = append(*into, optionalChild{live: state.live, wanted: want})
		}
	}
	return nil
}

// byKind brings kinds in one order: what is refused of several is reported in the order in which they are applied.
func byKind(a, b schema.GroupKind) int { return strings.Compare(a.String(), b.String()) }

// annotationIntent is on objects of such kinds: a digest of what the operator applied. Which fields it owns of them could
// only be read with their schemas.
const annotationIntent = "packregistry.dev/intent"

// optionalChild is an object of a kind that a cluster may lack.
type optionalChild struct {
	live, wanted *unstructured.Unstructured
}

func (c optionalChild) kind() string { return c.wanted.GetKind() }
func (c optionalChild) name() string { return c.wanted.GetName() }

func (c optionalChild) object() client.Object {
	if c.live == nil {
		return nil
	}
	return c.live
}

func (c optionalChild) want() runtime.ApplyConfiguration {
	return client.ApplyConfigurationFromUnstructured(c.wanted)
}

func (c optionalChild) empty() client.Object { return emptyOfKind(c.wanted.GroupVersionKind()) }

func (c optionalChild) withLive(o client.Object) child {
	c.live = o.(*unstructured.Unstructured) //nolint:forcetypeassert // of empty
	return c
}

// upToDate: the same was applied before, and all of it is still there.
func (c optionalChild) upToDate() (bool, error) {
	return contains(c.live.Object, c.wanted.Object), nil
}

// contains says whether everything of a value is in another. Lists are compared as wholes, but for what each of their
// elements holds besides.
func contains(live, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		live, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for key, value := range want {
			if there, ok := live[key]; !ok || !contains(there, value) {
				return false
			}
		}
		return true
	case []any:
		live, ok := live.([]any)
		if !ok || len(live) != len(want) {
			return false
		}
		for i := range want {
			if !contains(live[i], want[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(live, want)
}

// lacks says whether a registry asks for a kind that the cluster does not have.
func lacks(o *observed, kind schema.GroupKind) bool {
	if _, wanted := children.Optional(o.registry)[kind]; !wanted {
		return false
	}
	state, ok := o.optional[kind]
	return o.unknown[kind] == nil && (!ok || state.kind.Empty())
}

// conditionOf reads a condition of an object of such a kind.
func conditionOf(conditions []any, kind string) (status, reason, message string) {
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok || m["type"] != kind {
			continue
		}
		status, _ = m["status"].(string)
		reason, _ = m["reason"].(string)
		message, _ = m["message"].(string)
		return status, reason, message
	}
	return "", "", ""
}

// nested is a list at a path, or nil.
func nested(u *unstructured.Unstructured, path ...string) []any {
	list, _, err := unstructured.NestedSlice(u.Object, path...)
	if err != nil {
		return nil
	}
	return list
}

// routeOf is the registry's route, with its kind.
func routeOf(o *observed) (optionalState, schema.GroupKind) {
	kind := children.RouteKind(o.registry)
	return o.optional[kind], kind
}

// routed says whether every Gateway that the spec names has taken the route.
func routed(o *observed) condition {
	route, kind := routeOf(o)
	if lacks(o, kind) {
		return isFalse(v1alpha1.ReasonGatewayAPINotInstalled, "the cluster does not have %s (%s), which spec.gateway needs: install the Gateway API; this is noticed by itself", kind.Kind, kind.Group)
	}
	if err := o.unknown[kind]; err != nil {
		return isUnknown(v1alpha1.ReasonReconcileFailed, "the %s cannot be read: %s; trying again", kind.Kind, clip(withoutAddresses(err)))
	}
	if route.live == nil {
		return isUnknown(v1alpha1.ReasonProgressing, "the %s is being made", kind.Kind)
	}
	parents := nested(route.live, "status", "parents")
	for _, ref := range o.registry.Spec.Gateway.ParentRefs {
		status := parentStatus(parents, ref, o.registry.Namespace)
		for _, condition := range []string{"Accepted", "ResolvedRefs"} {
			switch value, reason, message := conditionOf(status, condition); value {
			case "True":
			case "False":
				return isFalse(v1alpha1.ReasonRouteRefused, "%s %s refuses the %s: %s: %s", children.ParentKind(ref), ref.Name, kind.Kind, reason, clip(message))
			default:
				return isFalse(v1alpha1.ReasonAddressPending, "the %s waits for %s %s", kind.Kind, children.ParentKind(ref), ref.Name)
			}
		}
	}
	return isTrue(v1alpha1.ReasonAddressAssigned, "clients reach the registry at %s", routeURL(o))
}

// parentStatus are the conditions that a route has for one of its parents.
func parentStatus(parents []any, ref v1alpha1.ParentRef, namespace string) []any {
	if ref.Namespace != "" {
		namespace = ref.Namespace
	}
	for _, p := range parents {
		parent, ok := p.(map[string]any)
		if !ok {
			continue
		}
		of, _ := parent["parentRef"].(map[string]any)
		ns, _ := of["namespace"].(string)
		section, _ := of["sectionName"].(string)
		port, _ := of["port"].(int64)
		kind, _ := of["kind"].(string)
		if of["name"] == ref.Name && (kind == "" || kind == children.ParentKind(ref)) && (ns == "" || ns == namespace) && section == ref.SectionName && port == int64(ref.Port) {
			conditions, _ := parent["conditions"].([]any)
			return conditions
		}
	}
	return nil
}

// routeURL is the address behind a Gateway. Its listeners are not ours to read; the port is that of the spec, or 443.
func routeURL(o *observed) string {
	port := o.registry.Spec.Gateway.ParentRefs[0].Port
	scheme := "https"
	if port == 80 && !children.ServesTLS(o.registry) {
		scheme, port = "http", 0
	}
	return address(scheme, canonicalHost(o.registry), port)
}
