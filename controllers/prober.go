package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file asks pods what only they know: which certificate they have obtained, and how full their volume is. That is done
// beside Reconcile, which reads the last answer and never waits: a pod that does not answer, or a network that drops
// packets, holds up no registry.

type probeKind string

const (
	probeCertificate probeKind = "certificate"
	probeSpace       probeKind = "space"
)

// probeKey names a question: each registry has one of a kind at most.
type probeKey struct {
	registry types.NamespacedName
	kind     probeKind
}

// probeTarget is whom to ask.
type probeTarget struct{ addr, host string }

// probeAnswer is what was answered last.
type probeAnswer struct {
	certificate *x509.Certificate
	space       Space
	err         error
}

type probe struct {
	target   probeTarget
	answered bool
	answer   probeAnswer
}

// probeWorkers bounds how many pods are asked at once, each for askTimeout at most.
const probeWorkers = 8

// prober asks, again and again, the questions that were put.
type prober struct {
	ask func(ctx context.Context, kind probeKind, target probeTarget) probeAnswer
	// again is when to ask again after an answer.
	again func(kind probeKind, target probeTarget, answer probeAnswer) time.Duration
	// changed gets the registries that another answer came for.
	changed chan event.GenericEvent
	queue   workqueue.TypedDelayingInterface[probeKey]

	mu     sync.Mutex
	probes map[probeKey]*probe
}

func newProber() *prober {
	return &prober{
		changed: make(chan event.GenericEvent, probeWorkers),
		queue:   workqueue.NewTypedDelayingQueue[probeKey](),
		probes:  map[probeKey]*probe{},
	}
}

// latest is the last answer to a question, if there is one; the question is asked from now on. Another pod's answer holds
// until this one's comes, an answer about another host does not.
func (p *prober) latest(key probeKey, target probeTarget) (probeAnswer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.probes[key]
	if known == nil {
		known = &probe{}
		p.probes[key] = known
	}
	if known.target != target {
		if known.target.host != target.host {
			*known = probe{}
		}
		known.target = target
		p.queue.Add(key)
	}
	return known.answer, known.answered
}

// drop ends a question.
func (p *prober) drop(key probeKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.probes, key)
}

// Start asks until the context ends.
func (p *prober) Start(ctx context.Context) error {
	var workers sync.WaitGroup
	for range probeWorkers {
		workers.Go(func() {
			for {
				key, ended := p.queue.Get()
				if ended {
					return
				}
				p.next(ctx, key)
				p.queue.Done(key)
			}
		})
	}
	<-ctx.Done()
	p.queue.ShutDown()
	workers.Wait()
	return nil
}

// next asks one question.
func (p *prober) next(ctx context.Context, key probeKey) {
	p.mu.Lock()
	known := p.probes[key]
	if known == nil || ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	target := known.target
	p.mu.Unlock()

	answer := p.ask(ctx, key.kind, target)
	if ctx.Err() != nil {
		return
	}
	p.mu.Lock()
	known = p.probes[key]
	if known == nil || known.target != target { // another question by now, which is in the queue
		p.mu.Unlock()
		return
	}
	news := !known.answered || !answer.same(key.kind, known.answer)
	known.answer, known.answered = answer, true
	p.mu.Unlock()
	p.queue.AddAfter(key, p.again(key.kind, target, answer))
	if news {
		registry := &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{Namespace: key.registry.Namespace, Name: key.registry.Name}}
		select {
		case p.changed <- event.GenericEvent{Object: registry}:
		case <-ctx.Done():
		}
	}
}

// same says whether an answer changes nothing: free space moves with every push, and matters in percent.
func (a probeAnswer) same(kind probeKind, b probeAnswer) bool {
	if (a.err == nil) != (b.err == nil) || a.err != nil && a.err.Error() != b.err.Error() {
		return false
	}
	if kind == probeSpace {
		return percentUsed(a.space) == percentUsed(b.space)
	}
	return a.certificate == b.certificate || a.certificate != nil && a.certificate.Equal(b.certificate)
}

func percentUsed(s Space) uint64 {
	if s.Size == 0 {
		return 0
	}
	return uint64(float64(s.Size-min(s.Free, s.Size)) * 100 / float64(s.Size))
}

// observeServed reads the certificate that a pod has obtained from an ACME server: nobody else knows of it.
func (r *Reconciler) observeServed(o *observed) {
	host := canonicalHost(o.registry)
	key := probeKey{client.ObjectKeyFromObject(o.registry), probeCertificate}
	if r.prober == nil || r.AskCertificate == nil {
		return
	}
	pod := o.servingPod()
	if o.registry.Spec.TLS.LetsEncrypt == nil || host == "" || pod == nil {
		r.prober.drop(key)
		o.servedErr = errors.New("no pod serves yet")
		return
	}
	answer, answered := r.prober.latest(key, probeTarget{net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(children.PortServe)), host})
	o.unanswered[probeCertificate] = !answered
	if answered {
		o.served, o.servedErr = answer.certificate, answer.err
	}
}

// observeSpace reads how full the claim is. A pod that does not say is no fault: older images cannot, and a network may not
// let the operator ask.
func (r *Reconciler) observeSpace(o *observed) {
	if r.prober == nil || r.AskSpace == nil {
		return
	}
	key := probeKey{client.ObjectKeyFromObject(o.registry), probeSpace}
	pod := o.servingPod()
	if o.claim == nil || pod == nil {
		r.prober.drop(key)
		return
	}
	answer, answered := r.prober.latest(key, probeTarget{addr: net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(children.PortDebug))})
	o.unanswered[probeSpace] = !answered
	if answered && answer.err == nil && answer.space.Size > 0 {
		o.space = &answer.space
	}
}

// askPod asks one question.
func (r *Reconciler) askPod(ctx context.Context, kind probeKind, target probeTarget) (answer probeAnswer) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if kind == probeSpace {
		answer.space, answer.err = r.AskSpace(ctx, target.addr)
	} else {
		answer.certificate, answer.err = r.AskCertificate(ctx, target.addr, target.host)
	}
	return answer
}

// askAgain: a certificate is looked for often until there is a good one.
func (r *Reconciler) askAgain(kind probeKind, target probeTarget, answer probeAnswer) time.Duration {
	switch {
	case kind == probeSpace:
		return spacePoll
	case answer.certificate == nil, !evaluateLeaf(answer.certificate, []string{target.host}, r.Now()).ok():
		return servedPoll
	}
	return servedLook
}
