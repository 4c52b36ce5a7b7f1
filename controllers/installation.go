package controllers

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationv1apply "k8s.io/client-go/applyconfigurations/coordination/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file keeps two installations of the operator from working on one PackRegistry, where each would undo what the other
// does for as long as both run.
//
// The status of a PackRegistry names the installation that looks after it: only operators may write there. Whether that one
// still runs is seen by a Lease that it renews. Another installation leaves the object alone meanwhile, and takes over when
// the Lease has not been renewed for a while. One of some namespaces goes before one of all: it was installed there on purpose,
// and may not read the other's Lease.

// Installation is an installation of the operator.
type Installation struct {
	// Namespace that it is installed in, and its Name there. Without them it takes no notice of others.
	Namespace, Name string
	// Namespaces that it looks after; none for all.
	Namespaces []string
}

// LeaderLease is the name of the Lease that one of the installation's replicas holds. Installations of other names, or for
// other namespaces, have other ones, and work beside each other.
func (i Installation) LeaderLease() string {
	if len(i.Namespaces) == 0 {
		return i.Name
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(i.Namespaces)))
	sum := sha256.Sum256([]byte(strings.Join(sorted, ",")))
	return i.Name + "-" + hex.EncodeToString(sum[:4])
}

// reference is the installation as a status names it, or nil.
func (i Installation) reference() *v1alpha1.OperatorReference {
	if i.Namespace == "" || i.Name == "" {
		return nil
	}
	scope := v1alpha1.OperatorScopeCluster
	if len(i.Namespaces) > 0 {
		scope = v1alpha1.OperatorScopeNamespaces
	}
	return &v1alpha1.OperatorReference{Namespace: i.Namespace, Name: i.Name, Scope: scope}
}

// aliveLease is the Lease by which others see that an installation runs. One of some namespaces has it in each of these,
// where others of these namespaces can read it.
func aliveLease(of *v1alpha1.OperatorReference, namespace string) types.NamespacedName {
	if of.Scope != v1alpha1.OperatorScopeNamespaces {
		namespace = of.Namespace
	}
	return types.NamespacedName{Namespace: namespace, Name: of.Name + "." + of.Namespace + "." + v1alpha1.GroupVersion.Group}
}

// Times of such Leases. A missed renewal or two change nothing.
const (
	leaseRenewal = 20 * time.Second
	leaseExpiry  = 75 * time.Second
)

// leasePoll is how often to look whether the other one still runs.
func (r *Reconciler) leasePoll() time.Duration { return cmp.Or(r.leaseExpiry, leaseExpiry) / 2 }

// Heartbeat renews the Leases by which other installations see that this one runs.
type Heartbeat struct {
	Client       client.Client
	Installation Installation
	// renewal overrides the package's.
	renewal time.Duration
}

// Start renews until the context ends.
func (h *Heartbeat) Start(ctx context.Context) error {
	me := h.Installation.reference()
	if me == nil {
		return nil
	}
	namespaces := h.Installation.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{me.Namespace}
	}
	ticker := time.NewTicker(cmp.Or(h.renewal, leaseRenewal))
	defer ticker.Stop()
	failed := map[string]bool{}
	for {
		for _, namespace := range namespaces {
			err := h.renew(ctx, me, namespace)
			if err != nil && ctx.Err() == nil && !failed[namespace] {
				log.FromContext(ctx).Error(err, "cannot renew a Lease: another installation of the operator may take over PackRegistries", "namespace", namespace)
			}
			failed[namespace] = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *Heartbeat) renew(ctx context.Context, me *v1alpha1.OperatorReference, namespace string) error {
	key := aliveLease(me, namespace)
	lease := coordinationv1apply.Lease(key.Name, key.Namespace).
		WithLabels(map[string]string{children.LabelManagedBy: children.ManagedBy}).
		WithSpec(coordinationv1apply.LeaseSpec().
			WithHolderIdentity(me.Namespace + "/" + me.Name).
			WithLeaseDurationSeconds(int32(leaseExpiry.Seconds())).
			WithRenewTime(metav1.NowMicro()))
	return h.Client.Apply(ctx, lease, client.FieldOwner(FieldOwner), client.ForceOwnership)
}

// others knows which other installations run.
type others struct {
	mu sync.Mutex
	// seen are Leases as they were looked at last.
	seen map[types.NamespacedName]seenLease
	// left are the objects that are left to another installation, by name.
	left map[types.NamespacedName]string
}

type seenLease struct {
	renewed string
	// changed is when it was first seen like that, by this process's clock: those of two machines need not agree.
	changed time.Time
	looked  time.Time
}

// runs says whether an installation renews its Lease. One that has none yet is given as much time as one that stopped.
func (r *Reconciler) runs(ctx context.Context, other *v1alpha1.OperatorReference, namespace string) (bool, error) {
	key, now := aliveLease(other, namespace), r.Now()
	o := &r.others
	o.mu.Lock()
	last, known := o.seen[key]
	o.mu.Unlock()
	expiry := cmp.Or(r.leaseExpiry, leaseExpiry)
	if !known || now.Sub(last.looked) > expiry/8 {
		lease := &coordinationv1.Lease{}
		if err := r.APIReader.Get(ctx, key, lease); client.IgnoreNotFound(err) != nil {
			return false, fmt.Errorf("find out whether operator %s/%s runs: %w", other.Namespace, other.Name, err)
		} else if apierrors.IsNotFound(err) {
			lease = nil
		}
		renewed := ""
		if lease != nil && lease.Spec.RenewTime != nil {
			renewed = lease.Spec.RenewTime.UTC().Format(time.RFC3339Nano)
		}
		if !known || renewed != last.renewed {
			last.changed = now
		}
		last.renewed, last.looked = renewed, now
		o.mu.Lock()
		if o.seen == nil {
			o.seen = map[types.NamespacedName]seenLease{}
		}
		o.seen[key] = last
		o.mu.Unlock()
	}
	return now.Sub(last.changed) < expiry, nil
}

// leftTo returns the installation that a PackRegistry is to be left to, or nil.
func (r *Reconciler) leftTo(ctx context.Context, registry *v1alpha1.PackRegistry) (*v1alpha1.OperatorReference, error) {
	me, other := r.Installation.reference(), registry.Status.Operator
	if me == nil || !differs(me, other) {
		return nil, nil
	}
	if me.Scope == v1alpha1.OperatorScopeNamespaces && other.Scope != me.Scope {
		return nil, nil
	}
	runs, err := r.runs(ctx, other, registry.Namespace)
	if err != nil || !runs {
		return nil, err
	}
	return other, nil
}

// differs says whether a status names another installation than this one.
func differs(me, other *v1alpha1.OperatorReference) bool {
	return other != nil && other.Name != "" && (other.Namespace != me.Namespace || other.Name != me.Name)
}

// leave records that a PackRegistry is left to another installation, and says so once. Its status is the other's to write.
func (r *Reconciler) leave(ctx context.Context, registry *v1alpha1.PackRegistry, other *v1alpha1.OperatorReference) {
	key, name := client.ObjectKeyFromObject(registry), other.Namespace+"/"+other.Name
	r.forget(key)
	o := &r.others
	o.mu.Lock()
	before := o.left[key]
	if o.left == nil {
		o.left = map[types.NamespacedName]string{}
	}
	o.left[key] = name
	leftToOthers.Set(float64(len(o.left)))
	o.mu.Unlock()
	if before == name {
		return
	}
	log.FromContext(ctx).Info("another operator looks after it", "operator", name)
	r.Recorder.Eventf(registry, nil, corev1.EventTypeWarning, v1alpha1.ReasonOtherOperator, "Reconcile",
		"operator %s/%s leaves this PackRegistry to operator %s, which looks after it: let only one of them look after this namespace", r.Installation.Namespace, r.Installation.Name, name)
}

// keep records that a PackRegistry is left to nobody.
func (o *others) keep(key types.NamespacedName) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.left[key]; ok {
		delete(o.left, key)
		leftToOthers.Set(float64(len(o.left)))
	}
}
