package controllers

import (
	"cmp"
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// secretIndex finds PackRegistries by the Secrets that they name.
const secretIndex = "spec.secrets"

// CacheOptions limit what the operator holds in memory to its own objects, and of Secrets, which may be many and large,
// to names and versions. Options hold for a kind however it is read, so Secrets must never be read through the cache
// in full: ClientOptions see to that.
//
// Without namespaces, it is about all of them.
func CacheOptions(namespaces ...string) cache.Options {
	var only map[string]cache.Config
	for _, namespace := range namespaces {
		if only == nil {
			only = map[string]cache.Config{}
		}
		only[namespace] = cache.Config{}
	}
	selector := labels.SelectorFromSet(labels.Set{children.LabelManagedBy: children.ManagedBy})
	ours := func(transform func(any) (any, error)) cache.ByObject {
		return cache.ByObject{Label: selector, Transform: transform}
	}
	return cache.Options{
		DefaultNamespaces: only,
		ByObject: map[client.Object]cache.ByObject{
			&v1alpha1.PackRegistry{}:        {Transform: transformRegistry, Label: labels.Everything()},
			&appsv1.Deployment{}:            ours(transformDeployment),
			&corev1.Service{}:               ours(transformService),
			&corev1.PersistentVolumeClaim{}: ours(transformClaim),
			&corev1.ConfigMap{}:             ours(transformConfigMap),
			&policyv1.PodDisruptionBudget{}: ours(transformBudget),
			&networkingv1.Ingress{}:         ours(transformIngress),
			&networkingv1.NetworkPolicy{}:   ours(transformPolicy),
			&corev1.Pod{}:                   ours(transformPod),
			secretMetadata(): {
				Label: labels.Everything(),
				// Helm keeps each release's whole manifest in Secrets of this type.
				Field:     fields.OneTermNotEqualSelector("type", "helm.sh/release.v1"),
				Transform: transformSecret,
			},
		},
		// Kinds that a cluster may lack cannot be named here.
		DefaultLabelSelector: selector,
		DefaultTransform:     cache.TransformStripManagedFields(),
		// An informer that somebody forgot to declare is a watch of everything.
		ReaderFailOnMissingInformer: true,
	}
}

// ClientOptions make Secrets be read from the API server.
func ClientOptions() client.Options {
	return client.Options{
		Cache:      &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}},
		FieldOwner: FieldOwner,
	}
}

func secretMetadata() *metav1.PartialObjectMetadata {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	return m
}

// SetupWithManager starts the controller with its watches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager, options controller.Options) error {
	for field, values := range map[string]func(*v1alpha1.PackRegistry) []string{secretIndex: secretNames, hostIndex: hostsOf, claimIndex: claimsOf} {
		if err := mgr.GetFieldIndexer().IndexField(context.Background(), &v1alpha1.PackRegistry{}, field, func(o client.Object) []string {
			return values(o.(*v1alpha1.PackRegistry))
		}); err != nil {
			return err
		}
	}
	if options.RateLimiter == nil {
		// What failed is tried again within a minute, however long it has failed: nobody sees when it would go well.
		options.RateLimiter = workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, longestBackoff)
	}
	r.prober = newProber()
	r.prober.ask, r.prober.again = r.askPod, r.askAgain
	if err := mgr.Add(r.prober); err != nil {
		return err
	}
	child := func() handler.EventHandler { return debounce(handler.EnqueueRequestsFromMapFunc(byLabel)) }
	built, err := ctrl.NewControllerManagedBy(mgr).
		Named("packregistry").
		// Its own status changes are no news, those by another operator are.
		For(&v1alpha1.PackRegistry{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{UpdateFunc: r.takenOver}))).
		// Children are found by label: a retained claim has no owner, and pods belong to ReplicaSets.
		Watches(&appsv1.Deployment{}, child()).
		Watches(&corev1.Service{}, child()).
		Watches(&corev1.ConfigMap{}, child()).
		Watches(&policyv1.PodDisruptionBudget{}, child()).
		Watches(&networkingv1.Ingress{}, child()).
		Watches(&networkingv1.NetworkPolicy{}, child()).
		Watches(&corev1.PersistentVolumeClaim{}, child()).
		Watches(&corev1.Pod{}, child()).
		// Where an older one gives up a host or a claim, a younger one may have it.
		Watches(&v1alpha1.PackRegistry{}, handler.EnqueueRequestsFromMapFunc(r.byConflict), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		WatchesRawSource(source.Channel(r.prober.changed, debounce(&handler.EnqueueRequestForObject{}))).
		WatchesMetadata(&corev1.Secret{}, debounce(handler.EnqueueRequestsFromMapFunc(r.bySecret))).
		WithOptions(options).
		Build(r)
	if err != nil {
		return err
	}
	asks, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return err
	}
	r.kinds = &optionalKinds{discovery: asks, cache: mgr.GetCache(), controller: built, age: cmp.Or(r.discoveryTTL, discoveryTTL), watched: map[schema.GroupKind]watchedKind{}}
	return nil
}

// takenOver says whether another operator has begun to look after a PackRegistry, or nobody does any more.
func (r *Reconciler) takenOver(e event.UpdateEvent) bool {
	before, ok := e.ObjectOld.(*v1alpha1.PackRegistry)
	now, same := e.ObjectNew.(*v1alpha1.PackRegistry)
	me := r.Installation.reference()
	return ok && same && me != nil && !equality.Semantic.DeepEqual(before.Status.Operator, now.Status.Operator) && (now.Status.Operator == nil || differs(me, now.Status.Operator))
}

// longestBackoff bounds the wait after a failure.
const longestBackoff = time.Minute

// debounceTime is how long news of a child waits for more of the same registry: what one reconcile makes comes back as an
// event for each child, and one look at all of them is enough.
const debounceTime = 100 * time.Millisecond

// debounce lets a handler's requests wait for debounceTime.
func debounce(inner handler.EventHandler) handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q queue) { inner.Create(ctx, e, debounced{q}) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q queue) { inner.Update(ctx, e, debounced{q}) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q queue) { inner.Delete(ctx, e, debounced{q}) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q queue) { inner.Generic(ctx, e, debounced{q}) },
	}
}

// debounced is a queue to which everything is added a little later.
type debounced struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
}

func (q debounced) Add(request reconcile.Request) { q.AddAfter(request, debounceTime) }

func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	name := o.GetLabels()[children.LabelRegistry]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: name}}}
}

// byConflict finds the PackRegistries that want what this one has, or had.
func (r *Reconciler) byConflict(ctx context.Context, o client.Object) []reconcile.Request {
	registry, ok := o.(*v1alpha1.PackRegistry)
	if !ok {
		return nil
	}
	others, err := r.conflicting(ctx, registry)
	if err != nil {
		return nil // they look again by themselves
	}
	var requests []reconcile.Request
	for i := range others {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&others[i])})
	}
	return requests
}

// bySecret finds the PackRegistries that name a Secret, or the one whose child it is.
func (r *Reconciler) bySecret(ctx context.Context, o client.Object) []reconcile.Request {
	requests := byLabel(ctx, o)
	list := &v1alpha1.PackRegistryList{}
	if err := r.List(ctx, list, client.InNamespace(o.GetNamespace()), client.MatchingFields{secretIndex: o.GetName()}); err != nil {
		return requests
	}
	for i := range list.Items {
		request := reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}
		if !slices.Contains(requests, request) {
			requests = append(requests, request)
		}
	}
	return requests
}
