package controllers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// startProber runs a prober until the test ends.
func startProber(t *testing.T, ask func(context.Context, probeKind, probeTarget) probeAnswer, again time.Duration) *prober {
	t.Helper()
	p := newProber()
	p.ask = ask
	p.again = func(probeKind, probeTarget, probeAnswer) time.Duration { return again }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- p.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func spaceOf(name string) probeKey {
	return probeKey{types.NamespacedName{Namespace: "team", Name: name}, probeSpace}
}

// receive waits for news, and returns whose it is.
func receive(t *testing.T, p *prober) string {
	t.Helper()
	select {
	case e := <-p.changed:
		return e.Object.GetName()
	case <-time.After(20 * time.Second):
		t.Fatal("no news")
	}
	return ""
}

func TestProberReportsWhatChanged(t *testing.T) {
	var free atomic.Uint64
	free.Store(50)
	asked := make(chan string, 100)
	p := startProber(t, func(_ context.Context, _ probeKind, target probeTarget) probeAnswer {
		asked <- target.addr
		return probeAnswer{space: Space{Size: 100, Free: free.Load()}}
	}, time.Millisecond)
	if _, ok := p.latest(spaceOf("a"), probeTarget{addr: "1"}); ok {
		t.Fatal("an answer before the question")
	}
	if name := receive(t, p); name != "a" {
		t.Fatalf("news of %s", name)
	}
	if answer, ok := p.latest(spaceOf("a"), probeTarget{addr: "1"}); !ok || answer.space.Free != 50 {
		t.Fatalf("%+v", answer)
	}
	for range 10 { // the same again and again is no news
		<-asked
	}
	if len(p.changed) > 0 {
		t.Error("news of the same answer")
	}
	free.Store(3)
	receive(t, p)
	// Another pod is asked at once, and the answer of the one before holds meanwhile.
	if answer, ok := p.latest(spaceOf("a"), probeTarget{addr: "2"}); !ok || answer.space.Free != 3 {
		t.Errorf("%+v", answer)
	}
	for addr := range asked {
		if addr == "2" {
			break
		}
	}
	// A question that was dropped is asked no more: what is asked afterwards is another's.
	p.drop(spaceOf("a"))
	p.latest(spaceOf("b"), probeTarget{addr: "b"})
	receive(t, p)
	last := ""
	for range cap(asked) + probeWorkers + 2 {
		last = <-asked
	}
	if last != "b" {
		t.Errorf("%s is asked still", last)
	}
}

// An answer about another host says nothing about this one.
func TestProberForgetsAnswersAboutAnotherHost(t *testing.T) {
	release := make(chan struct{})
	p := startProber(t, func(ctx context.Context, _ probeKind, target probeTarget) probeAnswer {
		if target.host == "second" {
			select {
			case <-release:
			case <-ctx.Done():
			}
		}
		return probeAnswer{err: errors.New(target.host)}
	}, time.Hour)
	key := probeKey{types.NamespacedName{Name: "a"}, probeCertificate}
	p.latest(key, probeTarget{host: "first"})
	receive(t, p)
	if answer, ok := p.latest(key, probeTarget{host: "second"}); ok {
		t.Errorf("%v", answer.err)
	}
	close(release)
	receive(t, p)
	if answer, ok := p.latest(key, probeTarget{host: "second"}); !ok || answer.err.Error() != "second" {
		t.Errorf("%v, %v", answer.err, ok)
	}
}

// Pods that do not answer take up workers, so many and no more, and others are asked in between.
func TestProberAsksFewAtOnce(t *testing.T) {
	var mu sync.Mutex
	now, most := 0, 0
	p := startProber(t, func(ctx context.Context, _ probeKind, target probeTarget) probeAnswer {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		defer func() { mu.Lock(); now--; mu.Unlock() }()
		if target.addr == "dead" {
			ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
			defer cancel()
			<-ctx.Done()
			return probeAnswer{err: errors.New("no answer")}
		}
		return probeAnswer{space: Space{Size: 1}}
	}, time.Millisecond)
	for i := range 5 * probeWorkers {
		p.latest(spaceOf(fmt.Sprint(i)), probeTarget{addr: "dead"})
	}
	p.latest(spaceOf("alive"), probeTarget{addr: "alive"})
	for receive(t, p) != "alive" {
	}
	mu.Lock()
	defer mu.Unlock()
	if most > probeWorkers {
		t.Errorf("%d were asked at once", most)
	}
}

// A registry whose pod never answers holds up no other, and is not held up itself.
func TestAPIPodsThatDoNotAnswerHoldNobodyUp(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	asked := make(chan struct{}, 1)
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
	startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, func(r *Reconciler) {
		r.AskSpace = func(ctx context.Context, _ string) (Space, error) {
			select {
			case asked <- struct{}{}:
			default:
			}
			<-ctx.Done() // the prober's, or the operator's end
			<-t.Context().Done()
			return Space{}, ctx.Err()
		}
		r.AskCertificate = func(context.Context, string, string) (*x509.Certificate, error) {
			return nil, errors.New("not asked for")
		}
	})
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	dead, alive := newRegistry(namespace), newRegistry(namespace)
	alive.Name, alive.Spec.Hosts = "alive", nil
	must(t, api.Create(t.Context(), dead))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "packs-1", Namespace: namespace, Labels: children.Labels(dead)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "registry", Image: "registry:test"}}}}
	must(t, api.Create(t.Context(), pod))
	pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, "192.0.2.1", []corev1.PodIP{{IP: "192.0.2.1"}}
	must(t, api.Status().Update(t.Context(), pod))
	<-asked
	for _, r := range []*v1alpha1.PackRegistry{alive, dead} {
		if r == alive {
			must(t, api.Create(t.Context(), r))
		}
		bind(t, namespace, r.Name+"-data")
		rollOut(t, namespace, r.Name)
		wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// lists counts lists of ReplicaSets.
type lists struct {
	client.Reader
	replicaSets atomic.Int64
}

func (l *lists) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if list.GetObjectKind().GroupVersionKind().Kind == "ReplicaSetList" {
		l.replicaSets.Add(1)
	}
	return l.Reader.List(ctx, list, opts...)
}

// An older configuration stays while a ReplicaSet can need it, and is not looked into at each reconcile.
func TestAPIReplicaSetsAreListedWhenSomethingChanged(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	counted := &lists{}
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
	o := startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, func(r *Reconciler) {
		counted.Reader, r.APIReader = r.APIReader, counted
	})
	r := createWith(t, namespace, "packs", `{auth: {secretRefs: null, anonymous: {}}, tls: {secretRef: null, disabled: {}}}`)
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	before := configOf(t, r)
	labels := children.Labels(r)
	labels[children.LabelConfig] = before.Labels[children.LabelConfig]
	template := get(t, namespace, "packs", &appsv1.Deployment{}).Spec.Template
	older := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "packs-older", Namespace: namespace, Labels: labels},
		Spec: appsv1.ReplicaSetSpec{Selector: &metav1.LabelSelector{MatchLabels: children.Selector(r)}, Template: template}}
	must(t, api.Create(t.Context(), older))
	patchSpec(t, r, `{"log":{"level":"debug"}}`)
	eventually(t, "another configuration", func() error {
		if configOf(t, r).Name == before.Name {
			return errors.New("not yet")
		}
		return nil
	})
	rollOut(t, namespace, "packs")
	o.settle(t)
	listed := counted.replicaSets.Load()
	if listed == 0 {
		t.Fatal("nothing was listed")
	}
	for i := range 3 {
		reconciles := o.reconciles.Load()
		patchSpec(t, r, fmt.Sprintf(`{"service":{"annotations":{"look":"%d"}}}`, i))
		eventually(t, "another reconcile", func() error {
			if o.reconciles.Load() == reconciles {
				return errors.New("not yet")
			}
			return nil
		})
		o.settle(t)
	}
	if now := counted.replicaSets.Load(); now != listed {
		t.Errorf("%d lists for looks that changed nothing", now-listed)
	}
	get(t, namespace, before.Name, &corev1.Secret{}) // it is there for a rollback
	must(t, api.Delete(t.Context(), older))
	patchSpec(t, r, `{"log":{"level":"warn"}}`) // as the controller does it, which keeps three
	eventually(t, "it goes when nothing uses it", func() error {
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(before), &corev1.Secret{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("still there: %w", errors.Join(err, errors.New("found")))
		}
		return nil
	})
}

// slowDiscovery answers for one group only when it may.
type slowDiscovery struct {
	discovery.ServerResourcesInterfaceWithContext
	slow    string
	entered chan struct{}
	release chan struct{}
	served  map[string]string
}

func (d slowDiscovery) ServerResourcesForGroupVersionWithContext(ctx context.Context, version string) (*metav1.APIResourceList, error) {
	if version == d.slow {
		select {
		case d.entered <- struct{}{}:
		default:
		}
		select {
		case <-d.release:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	if kind, ok := d.served[version]; ok {
		return &metav1.APIResourceList{APIResources: []metav1.APIResource{{Kind: kind}}}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{}, version)
}

// While the API server takes its time with one kind, nobody waits who asks for another, or for what is known already.
func TestSlowDiscoveryHoldsUpOneKindOnly(t *testing.T) {
	slow := slowDiscovery{slow: "cert-manager.io/v1", entered: make(chan struct{}, 1), release: make(chan struct{}), served: map[string]string{"cert-manager.io/v1": "Certificate"}}
	certificate := children.CertificateKind.WithVersion("v1")
	k := &optionalKinds{discovery: slow, age: time.Minute, watched: map[schema.GroupKind]watchedKind{children.CertificateKind: {certificate, time.Now().Add(-time.Hour)}},
		first: maps.Collect(func(yield func(schema.GroupKind, firstLook) bool) {
			for kind := range children.OptionalVersions {
				if !yield(kind, lookedFor) {
					return
				}
			}
		})}
	refreshed := make(chan schema.GroupVersionKind, 1)
	find := func(kind schema.GroupKind, into chan schema.GroupVersionKind) {
		gvk, err := k.find(t.Context(), kind)
		if err != nil {
			t.Error(err)
		}
		into <- gvk
	}
	go find(children.CertificateKind, refreshed)
	<-slow.entered
	others := make(chan schema.GroupVersionKind, 1)
	wait := func(want schema.GroupVersionKind) {
		t.Helper()
		select {
		case got := <-others:
			if got != want {
				t.Errorf("%v", got)
			}
		case <-time.After(discoveryTimeout - time.Second):
			t.Fatal("it waits for another kind")
		}
	}
	go find(children.ServiceMonitorKind, others)
	wait(schema.GroupVersionKind{})
	go find(children.CertificateKind, others)
	wait(certificate)
	known := make(chan int, 1)
	go func() { known <- len(k.known(t.Context())) }()
	select {
	case n := <-known:
		if n != 1 {
			t.Errorf("%d kinds are known", n)
		}
	case <-time.After(discoveryTimeout - time.Second):
		t.Fatal("what is known waits for the API server")
	}
	close(slow.release)
	if got := <-refreshed; got != certificate {
		t.Errorf("%v", got)
	}
}
