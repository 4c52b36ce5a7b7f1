package controllers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// release is what an operator is and renders by default.
type release struct{ version, image string }

// walkOperator is a running operator whose requests and queue can be looked at.
type walkOperator struct {
	release
	installation Installation
	// namespaces are those that it sees, which are all that it looks after, or the walk's own if that is the whole cluster.
	namespaces []string
	mgr        ctrl.Manager
	queue      *walkQueue
	wire       *wire
	stop       func() error
}

// startWalkOperator runs the operator on the namespaces of one walk, as its program does.
func startWalkOperator(config *rest.Config, clock func() time.Time, r release, me Installation, namespaces ...string) (*walkOperator, error) {
	o := &walkOperator{release: r, installation: me, namespaces: namespaces, wire: &wire{left: -1}}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { o.wire.next = next; return o.wire })
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Logger: zap.New(zap.WriteTo(io.Discard)), Cache: CacheOptions(namespaces...), Client: ClientOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0", GracefulShutdownTimeout: ptr.To(5 * time.Second)})
	if err != nil {
		return nil, err
	}
	o.mgr = mgr
	reconciler := &Reconciler{Client: mgr.GetClient(), APIReader: mgr.GetAPIReader(), Metadata: mgr.GetCache(), Recorder: mgr.GetEventRecorder("walk"),
		Installation: me, Image: r.image, Version: r.version, Now: clock}
	ready := make(chan struct{})
	options := controller.Options{MaxConcurrentReconciles: 4, SkipNameValidation: ptr.To(true),
		NewQueue: func(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
			o.queue = newWalkQueue(name, limiter)
			close(ready)
			return o.queue
		}}
	if err := reconciler.SetupWithManager(mgr, options); err != nil {
		return nil, err
	}
	if err := mgr.Add(&Heartbeat{Client: mgr.GetClient(), Installation: me, renewal: 50 * time.Millisecond}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	o.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	select {
	case <-ready:
		return o, nil
	case err := <-done:
		cancel()
		return nil, fmt.Errorf("the operator ended: %w", err)
	}
}

// busy says what the operator has yet to do for the world that is, or "".
func (o *walkOperator) busy(ctx context.Context, w *world) (string, error) {
	if why := o.queue.busy(); why != "" {
		return why, nil
	}
	return o.behind(ctx, w)
}

// behind says what of the world the operator's cache does not show yet, or "".
func (o *walkOperator) behind(ctx context.Context, w *world) (string, error) {
	cached := map[objectKey]string{}
	for _, list := range []client.ObjectList{&v1alpha1.PackRegistryList{}, &appsv1.DeploymentList{}, &corev1.PodList{}, &corev1.ServiceList{}, metadataList("Secret"),
		&corev1.ConfigMapList{}, &corev1.PersistentVolumeClaimList{}, &policyv1.PodDisruptionBudgetList{}, &networkingv1.IngressList{}, &networkingv1.NetworkPolicyList{}} {
		if err := o.mgr.GetCache().List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			if _, ok := errors.AsType[*cache.ErrResourceNotCached](err); ok {
				return "the operator's caches are about to start", nil
			}
			return "", err
		}
		if err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object) //nolint:forcetypeassert // items are objects
			key := keyOf(object)
			switch object.(type) {
			case *metav1.PartialObjectMetadata:
				key.kind = "*v1.Secret"
			case *v1alpha1.PackRegistry:
				key.kind = "PackRegistry"
			}
			cached[key] = object.GetResourceVersion()
			return nil
		}); err != nil {
			return "", err
		}
	}
	live := map[objectKey]string{}
	for key, object := range w.objects {
		if !slices.Contains(o.namespaces, key.namespace) {
			continue
		}
		switch object.(type) {
		case *appsv1.ReplicaSet, *corev1.ResourceQuota:
			continue
		case *corev1.Secret:
		default:
			if key.kind != "PackRegistry" && object.GetLabels()[children.LabelManagedBy] != children.ManagedBy {
				continue
			}
		}
		live[key] = object.GetResourceVersion()
	}
	w.dropUndecodable(live, cached)
	if maps.Equal(live, cached) {
		return "", nil
	}
	return "the operator's cache does not show yet: " + difference(live, cached), nil
}

// dropUndecodable leaves out PackRegistries that the operator's types cannot hold: what its cache has of them is its own matter.
func (w *world) dropUndecodable(sets ...map[objectKey]string) {
	for key := range w.objects {
		if key.kind != "PackRegistry" {
			continue
		}
		if _, err := decoded(w.registry(key.namespace, key.name)); err != nil {
			for _, set := range sets {
				delete(set, key)
			}
		}
	}
}

// wire is the connection to the API server. It counts writes, and can break as that of a process that is killed does.
type wire struct {
	next http.RoundTripper

	mu sync.Mutex
	// left is after how many more writes the process dies; negative for never. after says that the last write arrives.
	left  int
	after bool
	dead  bool
	// writes are those that succeeded, refused those that did not; last are the latest of either.
	writes, refused int
	last            []string
}

func (x *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	write := isWrite(r)
	x.mu.Lock()
	dead := x.dead
	if write && x.left == 0 {
		x.dead, dead = true, !x.after || dead
	}
	if write && x.left > 0 {
		x.left--
	}
	x.mu.Unlock()
	if dead {
		return nil, errKilled
	}
	response, err := x.next.RoundTrip(r)
	x.mu.Lock()
	defer x.mu.Unlock()
	if write && err == nil {
		if response.StatusCode < 300 {
			x.writes++
		} else {
			x.refused++
		}
		x.last = append(x.last, fmt.Sprintf("%s %s %d", r.Method, r.URL.Path, response.StatusCode))
		x.last = x.last[max(0, len(x.last)-8):]
	}
	if x.dead {
		if err == nil {
			response.Body.Close()
		}
		return nil, errKilled // the answer finds nobody
	}
	return response, err
}

// isWrite says whether a request changes something that a user sees.
func isWrite(r *http.Request) bool {
	return r.Method != http.MethodGet && !strings.Contains(r.URL.Path, "/events") && !strings.Contains(r.URL.Path, "/leases")
}

func (x *wire) killAfter(writes int, arrives bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.left, x.after = writes, arrives
}

func (x *wire) isDead() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.dead
}

func (x *wire) counts() (writes int, last string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.writes, strings.Join(x.last, "; ")
}

// walkQueue is a queue in which nothing waits by the clock, but for the moment in which events of one change gather: what
// is to be looked at later is when elapse is called.
type walkQueue struct {
	workqueue.TypedRateLimitingInterface[reconcile.Request]
	limiter workqueue.TypedRateLimiter[reconcile.Request]

	mu        sync.Mutex
	gathering int
	working   int
	// later are requests that are postponed, each with whether it is a retry.
	later map[reconcile.Request]bool
	// longest is the longest wait before a retry since somebody asked.
	longest time.Duration
}

func newWalkQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) *walkQueue {
	return &walkQueue{
		TypedRateLimitingInterface: workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{Name: name}),
		limiter:                    limiter, later: map[reconcile.Request]bool{},
	}
}

func (q *walkQueue) AddAfter(item reconcile.Request, wait time.Duration) {
	if wait > time.Second/2 {
		q.postpone(item, false)
		return
	}
	q.mu.Lock()
	q.gathering++
	q.mu.Unlock()
	time.AfterFunc(wait, func() {
		q.Add(item)
		q.mu.Lock()
		q.gathering--
		q.mu.Unlock()
	})
}

func (q *walkQueue) AddRateLimited(item reconcile.Request) {
	wait := q.limiter.When(item)
	q.postpone(item, true)
	q.mu.Lock()
	q.longest = max(q.longest, wait)
	q.mu.Unlock()
}

func (q *walkQueue) postpone(item reconcile.Request, retry bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.later[item] = retry
}

func (q *walkQueue) Get() (reconcile.Request, bool) {
	item, shutdown := q.TypedRateLimitingInterface.Get()
	q.mu.Lock()
	q.working++
	delete(q.later, item) // it is looked at now
	q.mu.Unlock()
	return item, shutdown
}

func (q *walkQueue) Done(item reconcile.Request) {
	q.TypedRateLimitingInterface.Done(item)
	q.mu.Lock()
	q.working--
	q.mu.Unlock()
}

// busy says what is in the queue, or "". A worker that ends has taken nothing, and stays counted.
func (q *walkQueue) busy() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := q.Len() + q.gathering + q.working; n > 0 {
		return fmt.Sprintf("%d reconciles are to be done", n)
	}
	return ""
}

// elapse lets the time pass until everything that was postponed is due, and returns the longest wait before a retry.
func (q *walkQueue) elapse() time.Duration {
	q.mu.Lock()
	due, longest := q.later, q.longest
	q.later, q.longest = map[reconcile.Request]bool{}, 0
	q.mu.Unlock()
	for item := range due {
		q.Add(item)
	}
	return longest
}
