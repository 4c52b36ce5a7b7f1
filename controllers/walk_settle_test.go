package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// walk is one walk under way: a registry that steps are taken with, and others that none of it may touch.
type walk struct {
	*walkCluster
	namespace, far string
	// release is what the first operator is, until a step upgrades it.
	release release
	// first is the operator, second another one that a step started beside it, or nil.
	first, second *walkOperator
	// refused are the kinds of children that an admission policy keeps from being written; quota that no more Secrets fit.
	refused map[string]bool
	quota   bool
	serial  int
	// ahead is how far the operators' clock has been moved.
	ahead atomic.Int64

	// before is the world before the step, now the one after it.
	before, now *world
	// deleted is what was known of the registry when the step deleted it.
	deleted *deletion
	// usersLost says that the step took away the merged users with their copy: nobody has them then but the spec's Secrets.
	usersLost bool
	// followed says that an operator was stopped for another to take over.
	followed bool
	// orphaned says that a registry was once deleted without its children.
	orphaned bool
	// bystanders are the versions of what belongs to the others.
	bystanders map[objectKey]string
	// longest is the longest wait before a retry that the operator chose in the last step.
	longest time.Duration
	// quiet says that the step is no reason to do anything.
	quiet bool
}

// deletion is what a deleted registry asked for.
type deletion struct {
	uid      string
	kept     bool
	claim    *corev1.PersistentVolumeClaim
	orphans  bool // its children were to stay
	certain  bool // all that the spec says had been carried out
	followed bool // another of the name was made at once
}

const (
	// subject is the registry that steps are taken with; near and distant are there to be left alone.
	subject, near, distant = "packs", "near", "distant"
	// settleLimit is how long the world may take to come to rest, on a machine that has other things to do.
	settleLimit = 60 * time.Second
	restarted   = "the operator was started again"
	// roundsLimit is how often time may have to pass until nothing moves.
	roundsLimit = 25
)

func newWalk(ctx context.Context, t *testing.T, c *walkCluster, name string) (*walk, error) {
	own := *c
	own.loaded = map[types.UID]loadedSecrets{}
	k := &walk{walkCluster: &own, namespace: name, far: name + "-far", release: release{"1.0.0", "registry:1"}, refused: map[string]bool{}}
	for _, namespace := range []string{k.namespace, k.far} {
		if err := c.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}); err != nil {
			return nil, err
		}
	}
	var objects []client.Object
	for _, secret := range k.goodSecrets(t) {
		objects = append(objects, secret)
	}
	for namespace, name := range map[string]string{k.namespace: near, k.far: distant} {
		users := usersSecret(namespace, htpasswdLine(t, name, "hush"))
		users.Name = name + "-users"
		u := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "packregistry.dev/v1alpha1", "kind": "PackRegistry",
			"metadata": map[string]any{"name": name, "namespace": namespace},
			"spec": map[string]any{"hosts": []any{name + ".example.com"}, "storage": map[string]any{"persistentVolumeClaim": map[string]any{"size": "1Gi"}},
				"auth": map[string]any{"secretRefs": []any{map[string]any{"name": users.Name}}}, "tls": map[string]any{"selfSigned": map[string]any{}}}}}
		objects = append(objects, users, u)
	}
	for _, o := range objects {
		if err := c.api.Create(ctx, o); err != nil {
			return nil, err
		}
	}
	var err error
	if k.first, err = startWalkOperator(c.operator, k.clock, k.release, k.installation("first", k.namespace, k.far), k.namespace, k.far); err != nil {
		return nil, err
	}
	if err := k.settle(ctx); err != nil {
		return nil, fmt.Errorf("in the beginning: %w", err)
	}
	k.takeBystanders()
	return k, nil
}

// installation is an operator of this walk's own: the Lease of one for the whole cluster is beside those of other walks.
func (k *walk) installation(name string, namespaces ...string) Installation {
	return Installation{Namespace: walkOperatorNamespace, Name: k.namespace + "-" + name, Namespaces: namespaces}
}

// end stops what the walk started and removes what it made.
func (k *walk) end(ctx context.Context) error {
	err := k.clearObstacles(ctx)
	for _, o := range []*walkOperator{k.first, k.second} {
		if o != nil {
			err = errors.Join(err, o.stop())
		}
	}
	for {
		w, readErr := readWorld(ctx, k.api, k.namespace, k.far)
		if readErr != nil {
			return errors.Join(err, readErr)
		}
		if len(w.objects) == 0 {
			return err
		}
		if _, playErr := k.play(ctx, w); playErr != nil { // pods end only with their node's help
			return errors.Join(err, playErr)
		}
		for _, o := range w.objects {
			if o.GetDeletionTimestamp() == nil && metav1.GetControllerOf(o) == nil {
				err = errors.Join(err, client.IgnoreNotFound(k.api.Delete(ctx, o, client.PropagationPolicy(metav1.DeletePropagationBackground))))
			}
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

func (k *walk) operators() []*walkOperator {
	var list []*walkOperator
	for _, o := range []*walkOperator{k.first, k.second} {
		if o != nil {
			list = append(list, o)
		}
	}
	return list
}

// settle waits until nothing moves: the cluster's controllers and the operators have nothing to do, their caches show what
// is there, and letting the time pass changes nothing. A process that died is started again, as a kubelet would.
func (k *walk) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, settleLimit, errors.New("never comes to rest"))
	defer cancel()
	var last, base map[objectKey]string
	elapsed, rounds, rests, writes, why := false, 0, 0, 0, ""
	reasons := map[string]int{} // why it did not rest, and how often
	for {
		w, err := readWorld(ctx, k.api, k.namespace, k.far)
		if err != nil {
			return fmt.Errorf("%w: %w: %v; %s", cmp.Or(context.Cause(ctx), err), err, reasons, k.lastWrites())
		}
		if why, err = k.moves(ctx, w); err != nil {
			return fmt.Errorf("%w: %w: %v", cmp.Or(context.Cause(ctx), err), err, reasons)
		}
		if why != "" {
			reasons[why]++
		}
		versions := w.versions()
		elapsed = elapsed && why != restarted // another process counts its writes anew
		if elapsed && !maps.Equal(versions, base) {
			elapsed, rests = false, 0
			if rounds++; rounds > roundsLimit {
				return fmt.Errorf("never comes to rest: it still changes %s; %s", difference(versions, base), k.lastWrites())
			}
		}
		if why == "" && maps.Equal(versions, last) {
			// An operator that stopped is missed only when its Lease was seen unchanged for a while.
			if rests++; elapsed && (rests > 2 || !k.followed) {
				k.now, k.followed = w, false
				if n := k.writes(); n != writes {
					return fmt.Errorf("%d writes though nothing changes: %s", n-writes, k.lastWrites())
				}
				return nil
			}
			elapsed, base, writes = true, versions, k.writes()
			if err := k.elapse(ctx, w); err != nil {
				return err
			}
		}
		last = versions
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %v; %s", context.Cause(ctx), reasons, k.lastWrites())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

// moves plays the nodes and says what is under way, or "".
func (k *walk) moves(ctx context.Context, w *world) (string, error) {
	if did, err := k.play(ctx, w); did != "" || err != nil {
		return did, err
	}
	for _, o := range []**walkOperator{&k.first, &k.second} {
		if *o == nil || !(*o).wire.isDead() {
			continue
		}
		if err := (*o).stop(); err != nil {
			return "", err
		}
		again, err := startWalkOperator(k.operator, k.clock, (*o).release, (*o).installation, (*o).namespaces...)
		if err != nil {
			return "", err
		}
		*o = again
		return restarted, nil
	}
	if why := w.underWay(); why != "" {
		return why, nil
	}
	for _, o := range k.operators() {
		if why, err := o.busy(ctx, w); why != "" || err != nil {
			return why, err
		}
	}
	return "", nil
}

// elapsing is how long each rest is to the operators: longer than a Lease holds that is not renewed.
const elapsing = 3 * time.Minute

func (k *walk) clock() time.Time { return time.Now().Add(time.Duration(k.ahead.Load())) }

// elapse makes everything due that operators would look at later, and lets them look at each registry once more.
func (k *walk) elapse(ctx context.Context, w *world) error {
	if k.second != nil { // who runs has renewed its Lease in that time
		if err := k.waitForHeartbeats(ctx); err != nil {
			return err
		}
	}
	k.ahead.Add(int64(elapsing))
	for _, o := range k.operators() {
		k.longest = max(k.longest, o.queue.elapse())
		for key := range w.objects {
			if key.kind == "PackRegistry" {
				o.queue.Add(reconcile.Request{NamespacedName: client.ObjectKey{Namespace: key.namespace, Name: key.name}})
			}
		}
	}
	return nil
}

// waitForHeartbeats waits until every operator has renewed its Leases.
func (k *walk) waitForHeartbeats(ctx context.Context) error {
	renewed := func() (map[string]string, error) {
		list, times := &coordinationv1.LeaseList{}, map[string]string{}
		if err := k.api.List(ctx, list); err != nil {
			return nil, err
		}
		for _, o := range k.operators() {
			key := aliveLease(o.installation.reference(), k.namespace)
			times[key.String()] = ""
			for _, l := range list.Items {
				if client.ObjectKeyFromObject(&l) == key && l.Spec.RenewTime != nil {
					times[key.String()] = l.Spec.RenewTime.String()
				}
			}
		}
		return times, nil
	}
	before, err := renewed()
	if err != nil {
		return err
	}
	return waitUntil(ctx, settleLimit, "Leases are renewed", func() error {
		now, err := renewed()
		for key := range now {
			if now[key] == "" || now[key] == before[key] {
				return fmt.Errorf("%s is not", key)
			}
		}
		return err
	})
}

func (k *walk) writes() (n int) {
	for _, o := range k.operators() {
		writes, _ := o.wire.counts()
		n += writes
	}
	return n
}

func (k *walk) lastWrites() (text string) {
	for i, o := range k.operators() {
		_, last := o.wire.counts()
		text += fmt.Sprintf("operator %d wrote last: %s. ", i+1, last)
	}
	return text
}
