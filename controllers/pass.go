package controllers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// pass applies one decision. A child that is refused is noted in the decision, and does not keep the others from being
// applied, nor what is unwanted from being deleted.
type pass struct {
	*Reconciler
	o  *observed
	d  *decision
	me types.NamespacedName
	// failed are errors of calls that may succeed when they are made again.
	failed []error
	// podsWait says that something that pods mount is not there.
	podsWait bool
}

// applyDecision applies what was decided. Users, certificates and deletion policies come first, also where the rest of the spec
// cannot or must not be carried out: what protects packs never waits for anything else.
func (r *Reconciler) applyDecision(ctx context.Context, o *observed, d *decision) error {
	p := &pass{Reconciler: r, o: o, d: d, me: client.ObjectKeyFromObject(o.registry)}
	held := d.stalled() || o.registry.Spec.Suspend
	p.applyFirst(ctx, held)
	p.keep(r.triggerResync(ctx, d))
	if held {
		r.slots.release(p.me)
		return errors.Join(p.failed...)
	}
	for _, c := range d.children {
		p.apply(ctx, c)
	}
	p.applyPods(ctx)
	for _, o := range d.unwanted {
		p.delete(ctx, o)
	}
	p.prune(ctx)
	return errors.Join(p.failed...)
}

// applyFirst applies what comes first; held says that the rest of the spec is not carried out.
func (p *pass) applyFirst(ctx context.Context, held bool) {
	r, withoutCA := p.o.registry, false
	for _, c := range p.d.first {
		// Where the spec is not carried out, nothing is begun for a registry that does not run yet.
		isCA := c.kind() == "Secret" && c.name() == children.CAName(r)
		if held && c.object() == nil && (p.o.deployment == nil || c.kind() == claimKind) {
			withoutCA = withoutCA || isCA
			continue
		}
		isLeaf := r.Spec.TLS.SelfSigned != nil && c.kind() == "Secret" && c.name() == children.TLSSecret(r)
		if withoutCA && (isLeaf || c.kind() == "ConfigMap") {
			continue // a CA whose key is lost must sign nothing, and be trusted by nobody
		}
		done := p.apply(ctx, c)
		withoutCA = withoutCA || isCA && !done
		p.d.selfSigned = p.d.selfSigned || isLeaf && done
		p.podsWait = p.podsWait || withoutCA && p.o.leaf == nil
	}
}

// retain carries out a deletion policy of Retain that was set when the PackRegistry was being deleted already: as long as
// somebody's finalizer holds it, what it owns is there.
func (r *Reconciler) retain(ctx context.Context, registry *v1alpha1.PackRegistry) error {
	if !children.KeptWithData(registry) {
		return nil
	}
	if other, err := r.leftTo(ctx, registry); err != nil || other != nil {
		return err
	}
	o, readErr := r.observe(ctx, registry)
	d := decideProtected(o)
	p := &pass{Reconciler: r, o: o, d: &d, me: client.ObjectKeyFromObject(registry)}
	for _, c := range d.first {
		if c.object() != nil && (c.kind() == claimKind || c.kind() == "Secret" && c.name() == children.CAName(registry)) {
			p.apply(ctx, c)
		}
	}
	return errors.Join(append(p.failed, readErr)...)
}

// protect carries out what protects packs and lets people in, as far as it could be read. Nothing is reported: conditions speak of
// the whole.
func (r *Reconciler) protect(ctx context.Context, o *observed) error {
	d := decideProtected(o)
	p := &pass{Reconciler: r, o: o, d: &d, me: client.ObjectKeyFromObject(o.registry)}
	p.applyFirst(ctx, true)
	p.keep(r.triggerResync(ctx, &d))
	return errors.Join(p.failed...)
}

// keep notes an error.
func (p *pass) keep(err error) {
	if err != nil {
		p.failed = append(p.failed, err)
	}
}

// apply brings one child in line, unless the same was refused a moment ago.
func (p *pass) apply(ctx context.Context, c child) bool {
	id := c.kind() + "/" + c.name()
	known, refusedBefore := p.refusals.recall(p.me, id)
	// One child may be applied twice, as it is and then as it should become: only the same is remembered, and forgotten.
	if intent, err := digest(c.want()); refusedBefore && (err != nil || intent != known.intent) {
		refusedBefore = false
	}
	if refusedBefore && p.stillRefused(known, c.object()) {
		p.refuse(c, known.refusal)
		return false
	}
	err := p.Reconciler.apply(ctx, p.o, c)
	if err == nil {
		if refusedBefore {
			p.refusals.forget(p.me, id)
		}
		return true
	}
	f, ok := refusalOf(p.o.registry, c.kind(), c.name(), err)
	if !ok {
		p.keep(fmt.Errorf("%s %s: %w", c.kind(), c.name(), err))
		p.podsWait = p.podsWait || mounted(p.o, c) && c.object() == nil
		return false
	}
	if intent, err := digest(c.want()); err == nil && f.write {
		p.refusals.remember(p.me, id, remembered{f, intent, state(c.object()), p.o.now.Add(f.poll)})
	}
	p.d.requeueIn(f.poll)
	p.refuse(c, f)
	return false
}

// stillRefused says whether something that was refused is not to be asked for again yet, beside an object as it was then.
func (p *pass) stillRefused(known remembered, live client.Object) bool {
	if state(live) != known.live || !p.o.now.Before(known.until) {
		return false
	}
	p.d.requeueIn(known.until.Sub(p.o.now))
	return true
}

// refuse notes a refusal.
func (p *pass) refuse(c child, f refusal) {
	p.d.refused = append(p.d.refused, f)
	// What is somebody else's must not be mounted; an update that was refused stops nobody from mounting what is there.
	p.podsWait = p.podsWait || mounted(p.o, c) && (c.object() == nil || f.reason == v1alpha1.ReasonConflict)
}

// state distinguishes one state of a live object from another, as far as what is asked of it goes: a status that moves is none.
func state(live client.Object) string {
	switch {
	case live == nil:
		return ""
	case live.GetGeneration() != 0:
		return string(live.GetUID()) + "/" + strconv.FormatInt(live.GetGeneration(), 10)
	}
	return string(live.GetUID()) + "/" + live.GetResourceVersion()
}

// mounted says whether pods cannot start without a child.
func mounted(o *observed, c child) bool {
	return c.kind() == claimKind || c.kind() == "Secret" && c.name() != children.CAName(o.registry)
}

// applyPods applies the configuration and the Deployment that runs with it, when the registry has a slot and everything
// that its pods mount is there.
func (p *pass) applyPods(ctx context.Context) {
	if !p.d.upgrade || p.podsWait {
		p.slots.release(p.me)
	}
	if p.podsWait || len(p.d.pods) == 0 {
		return
	}
	if p.d.upgrade {
		wait, again, err := p.acquireSlot(ctx, p.o)
		p.keep(err)
		if p.d.slotWait = wait; wait != "" {
			p.d.requeueIn(again)
		}
		if err != nil || wait != "" {
			return
		}
	}
	for _, c := range p.d.pods {
		if !p.apply(ctx, c) {
			p.slots.release(p.me)
			return
		}
	}
	p.d.applied = true
}

// delete removes what the spec asks for no more.
func (p *pass) delete(ctx context.Context, o client.Object) {
	if !o.GetDeletionTimestamp().IsZero() {
		return // on its way
	}
	kind := p.kindOf(o)
	id := "delete " + kind + "/" + o.GetName()
	known, refusedBefore := p.refusals.recall(p.me, id)
	if refusedBefore && p.stillRefused(known, o) {
		p.d.refused = append(p.d.refused, known.refusal)
		return
	}
	log.FromContext(ctx).Info("delete what the spec asks for no more", "kind", kind, "name", o.GetName())
	uid := o.GetUID()
	err := p.Delete(ctx, o, client.Preconditions{UID: &uid})
	if err == nil || apierrors.IsNotFound(err) {
		if refusedBefore {
			p.refusals.forget(p.me, id)
		}
		return
	}
	f, ok := refusalOf(p.o.registry, kind, o.GetName(), err)
	if !ok {
		p.keep(fmt.Errorf("delete %s %s: %w", kind, o.GetName(), err))
		return
	}
	p.refusals.remember(p.me, id, remembered{refusal: f, live: state(o), until: p.o.now.Add(f.poll)})
	p.d.requeueIn(f.poll)
	p.d.refused = append(p.d.refused, f)
}

func (p *pass) kindOf(o client.Object) string {
	kind, err := p.GroupVersionKindFor(o)
	if err != nil {
		return fmt.Sprintf("%T", o)
	}
	return kind.Kind
}

// replicaSetsAge bounds how long a ReplicaSet that somebody deleted keeps its configuration.
const replicaSetsAge = 10 * time.Minute

// listedFor is what ReplicaSets were listed for.
type listedFor struct {
	what string
	at   time.Time
}

// prune deletes configurations that nothing runs with any more. ReplicaSets are listed only where others may be there than
// when all were found to be used: an older configuration stays as long as a rollback can need it.
func (p *pass) prune(ctx context.Context) {
	if len(p.d.outdated) == 0 {
		return
	}
	what := ""
	if d := p.o.deployment; d != nil {
		what = fmt.Sprintf("%s/%d %+v", d.UID, d.Generation, [...]any{d.Status.ObservedGeneration, rolling(d)})
	}
	for i := range p.d.outdated {
		what += " " + p.d.outdated[i].Name
	}
	if last, ok := p.pruned.Load(p.me); ok && last.(listedFor).what == what && p.o.now.Sub(last.(listedFor).at) < replicaSetsAge { //nolint:forcetypeassert // nothing else is put there
		return
	}
	used, err := p.configsInUse(ctx, p.o.registry)
	if err != nil {
		p.keep(err)
		return
	}
	// A Deployment that is paused, or new, has no ReplicaSet of its configuration yet.
	used[children.ConfigName(p.o.registry, configHash(p.o.deployment))] = true
	kept := true
	for i := range p.d.outdated {
		if secret := &p.d.outdated[i]; !used[secret.Name] {
			kept = false
			p.delete(ctx, secret)
		}
	}
	if kept {
		p.pruned.Store(p.me, listedFor{what, p.o.now})
	}
}
