// Package controllers is the operator: it makes the cluster hold what each PackRegistry describes, and reports back.
//
// One reconcile is four steps, each with a file of its own:
//
//	observe.go   read everything once into one value
//	decide.go    pure functions of that value: which children (plan.go, prune.go), which pods' volumes to sync again, what is
//	             wrong (with htpasswd.go, certificate.go, certificate_certmanager.go, certificate_selfsigned.go, s3.go,
//	             uniqueness.go, volume_usage.go, optional_children.go and rollout_queue.go)
//	             and what is allowed at all (package limits, allowed.go)
//	pass.go      applies children one by one: what protects packs first, and none held up by another that is refused (refusal.go)
//	apply.go     server-side apply of what differs from what the operator owns already, unless that changes nothing (unchanged.go)
//	status.go    the status, whose conditions are data (conditions.go); events on their transitions (events.go)
//
// prober.go asks pods, beside reconciles. installation.go leaves to other installs of the operator what is theirs.
//
// watches.go says what starts a reconcile, optional_apis.go which kinds the cluster has, cache_transform.go what the cache keeps of
// what is watched. The children themselves are built in package children.
//
// A reconcile that changes nothing writes nothing, also right after a restart: what the operator owns is read from the
// live object's managed fields and compared with what it would apply.
package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/controllers/limits"
)

// FieldOwner is the operator's name in managed fields.
const FieldOwner = "packregistry-operator"

// Reconciler reconciles PackRegistry objects.
type Reconciler struct {
	// Client reads from the cache, Secrets excepted: those are read from the API server, one by one.
	client.Client
	// APIReader reads from the API server: whether a child exists that the cache, which holds only ours, cannot show.
	APIReader client.Reader
	// Metadata reads names and versions of Secrets from the cache, which Client passes by for their sake.
	Metadata client.Reader
	Recorder events.EventRecorder
	// Image is the registry's image where a spec names none.
	Image string
	// PodDefaults are what pods have where a spec is silent.
	PodDefaults children.PodDefaults
	// Installation is this one, among others that there may be in the cluster.
	Installation Installation
	// Limits are what a PackRegistry may ask for; nil for everything.
	Limits *limits.Limits
	// Version of the operator, which children carry.
	Version string
	// MaxConcurrentUpgrades is how many registries are rolled at once because the operator became another; at least 1.
	MaxConcurrentUpgrades int
	// AskCertificate asks a pod for the certificate it serves.
	AskCertificate func(ctx context.Context, addr, host string) (*x509.Certificate, error)
	// AskSpace asks a pod how full its volume is.
	AskSpace func(ctx context.Context, addr string) (Space, error)
	// Now is the clock.
	Now func() time.Time

	kinds  *optionalKinds
	prober *prober
	// discoveryTTL overrides the package's.
	discoveryTTL time.Duration
	// pruned keeps, by name, what ReplicaSets were listed for last, and all were found to use.
	pruned sync.Map
	// leaseExpiry overrides the package's.
	leaseExpiry time.Duration
	slots       upgrades
	others      others
	// refusals remembers which children were refused.
	refusals refusals
	// unchanged remembers which children an apply left as they were.
	unchanged unchanged
	// autoscalers keeps, by name, a knownAutoscaler of each registry that somebody has scaled.
	autoscalers sync.Map
	// namespaceHosts keeps, by namespace, a knownHosts.
	namespaceHosts sync.Map
	// made keeps, by name, a registry's *madeLines.
	made sync.Map

	// recorded keeps, by name, the conditions that events were made of. The cache may still show a status from before the one
	// that was written last, and a transition would be recorded twice.
	recorded sync.Map
}

// +kubebuilder:rbac:groups=packregistry.dev,resources=packregistries,verbs=get;list;watch
// +kubebuilder:rbac:groups=packregistry.dev,resources=packregistries/status,verbs=get;patch
// +kubebuilder:rbac:groups=packregistry.dev,resources=packregistries/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=list
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=services;configmaps,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingresses;networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=gateway.networking.k8s.io,resources=httproutes;tlsroutes,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=cert-manager.io,resources=certificates,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=monitoring.coreos.com,resources=servicemonitors,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ingressclasses,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get
// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=autoscaling,resources=horizontalpodautoscalers,verbs=list
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Reconcile brings one PackRegistry's children in line with its spec.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	registry := &v1alpha1.PackRegistry{}
	if err := r.Get(ctx, request.NamespacedName, registry); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(request.NamespacedName)
			r.others.keep(request.NamespacedName)
			internedMetadata.Delete(request.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !registry.DeletionTimestamp.IsZero() {
		// What should go carries an ownerReference, and what should stay carries none.
		r.slots.release(request.NamespacedName)
		return ctrl.Result{}, r.retain(ctx, registry)
	}
	other, err := r.leftTo(ctx, registry)
	if err != nil {
		return ctrl.Result{}, err
	}
	if other != nil {
		r.leave(ctx, registry, other)
		return ctrl.Result{RequeueAfter: r.leasePoll()}, nil
	}
	r.others.keep(request.NamespacedName)
	measureDecoding(registry)
	observed, err := r.observe(ctx, registry)
	if err != nil {
		return ctrl.Result{}, errors.Join(err, r.protect(ctx, observed))
	}
	decision := decide(observed)
	applyErr := r.applyDecision(ctx, observed, &decision)
	status := report(observed, decision, applyErr)
	if err := r.writeStatus(ctx, observed, status, decision.refused); err != nil {
		return ctrl.Result{}, err
	}
	measureReady(request.NamespacedName, status)
	if applyErr != nil {
		return ctrl.Result{}, applyErr
	}
	return ctrl.Result{RequeueAfter: decision.requeueAfter}, nil
}

// forget drops what is remembered of a PackRegistry that is no more, or not this operator's.
func (r *Reconciler) forget(name types.NamespacedName) {
	r.recorded.Delete(name)
	forgetReady(name)
	r.slots.release(name)
	r.refusals.forgetAll(name)
	r.unchanged.forget(name)
	r.namespaceHosts.Delete(name.Namespace) // read again for others there; the last one leaves nothing
	r.pruned.Delete(name)
	r.made.Delete(name)
	r.autoscalers.Delete(name)
	if r.prober != nil {
		r.prober.drop(probeKey{name, probeCertificate})
		r.prober.drop(probeKey{name, probeSpace})
	}
}

// conflictPoll is how often to look whether a conflict was settled.
const conflictPoll = 30 * time.Second
