package controllers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/internal/testserver"
)

// The tests of this package that begin with TestAPI run against a real API server and etcd, which KUBEBUILDER_ASSETS
// names (`make test` builds them). Deployments and claims have no controllers there, so tests set their status.
var (
	apiConfig *rest.Config
	api       client.Client
	scheme    = runtime.NewScheme()
)

func TestMain(m *testing.M) {
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	// Tests with an API server wait more than they compute. What the command line says goes before this.
	if err := flag.Set("test.parallel", "6"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr), zap.Level(zapErrors)))
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		return m.Run() // needAPI says what is skipped
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "config", "crd")}, ErrorIfCRDPathMissing: true}
	var err error
	if apiConfig, err = env.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "start the API server:", err)
		return 1
	}
	defer func() {
		if err := env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
		}
	}()
	if api, err = client.New(apiConfig, client.Options{Scheme: scheme}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// needAPI skips a test where there is no API server, except in CI, which skips nothing.
func needAPI(t *testing.T) {
	t.Helper()
	if api != nil {
		return
	}
	testserver.Missing(t, "needs a real API server: run `make test`, or set KUBEBUILDER_ASSETS to a folder with kube-apiserver and etcd")
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s: %v", what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var namespaces atomic.Int64

// newNamespace keeps tests apart.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("test-%d", namespaces.Add(1))
	must(t, api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}))
	return name
}

// operator is a running operator that counts.
type operator struct {
	writes, reconciles atomic.Int64
	stop               func()
}

// startOperator runs the operator on one namespace, as its program does, until the test ends or stop is called.
func startOperator(t *testing.T, namespace string) *operator {
	t.Helper()
	return startOperatorWith(t, namespace, interceptor.Funcs{})
}

// startOperatorWith is startOperator with something in the way of what it writes.
func startOperatorWith(t *testing.T, namespace string, inTheWay interceptor.Funcs) *operator {
	t.Helper()
	return startRelease(t, "1.0.0", namespace, inTheWay)
}

// startUpgrade runs an operator that renders another image.
func startUpgrade(t *testing.T, version, image, namespace string) *operator {
	t.Helper()
	return startAs(t, version, image, namespace, interceptor.Funcs{})
}

// startRelease is startOperatorWith for an operator of some version.
func startRelease(t *testing.T, version, namespace string, inTheWay interceptor.Funcs) *operator {
	t.Helper()
	return startAs(t, version, "registry:test", namespace, inTheWay)
}

func startAs(t *testing.T, version, image, namespace string, inTheWay interceptor.Funcs) *operator {
	t.Helper()
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
	return startInstallation(t, me, version, image, namespace, inTheWay)
}

// startInstallation is startAs for one of several operators.
func startInstallation(t *testing.T, me Installation, version, image, namespace string, inTheWay interceptor.Funcs, changes ...func(*Reconciler)) *operator {
	t.Helper()
	o := &operator{}
	options := CacheOptions(append([]string{namespace}, me.Namespaces...)...)
	skip := true
	mgr, err := ctrl.NewManager(apiConfig, ctrl.Options{Scheme: scheme, Cache: options, Client: ClientOptions(),
		Metrics: metricsserver.Options{BindAddress: "0"}, HealthProbeBindAddress: "0"})
	must(t, err)
	inner, err := client.NewWithWatch(apiConfig, client.Options{Scheme: scheme})
	must(t, err)
	inner = interceptor.NewClient(inner, inTheWay)
	count := func(err error) error { o.writes.Add(1); return err }
	counting := interceptor.NewClient(inner, interceptor.Funcs{
		Get: func(ctx context.Context, _ client.WithWatch, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
			return mgr.GetClient().Get(ctx, key, into, opts...)
		},
		List: func(ctx context.Context, _ client.WithWatch, into client.ObjectList, opts ...client.ListOption) error {
			return mgr.GetClient().List(ctx, into, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return count(c.Apply(ctx, intent, opts...))
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return count(c.Create(ctx, obj, opts...))
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return count(c.Update(ctx, obj, opts...))
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return count(c.Patch(ctx, obj, patch, opts...))
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return count(c.Delete(ctx, obj, opts...))
		},
		SubResourceApply: func(ctx context.Context, c client.Client, sub string, intent runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
			return count(c.SubResource(sub).Apply(ctx, intent, opts...))
		},
	})
	must(t, mgr.Add(&Heartbeat{Client: inner, Installation: me, renewal: testLeaseExpiry / 10}))
	r := &Reconciler{Client: counting, APIReader: mgr.GetAPIReader(), Metadata: mgr.GetCache(), Recorder: mgr.GetEventRecorder("test"), discoveryTTL: 2 * time.Second,
		Installation: me, leaseExpiry: testLeaseExpiry,
		Image: image, Version: version, Now: func() time.Time { o.reconciles.Add(1); return time.Now() }}
	for _, change := range changes {
		change(r)
	}
	must(t, r.SetupWithManager(mgr, controller.Options{SkipNameValidation: &skip}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	o.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the operator ended with %v", err)
		}
	})
	t.Cleanup(o.stop)
	return o
}

// testLeaseExpiry is when an operator that was stopped is taken for gone.
const testLeaseExpiry = 3 * time.Second

// settle waits until the operator has nothing to do for a while.
func (o *operator) settle(t *testing.T) {
	t.Helper()
	last, since := o.reconciles.Load(), time.Now()
	eventually(t, "the operator comes to rest", func() error {
		if now := o.reconciles.Load(); now != last {
			last, since = now, time.Now()
		}
		if last == 0 || time.Since(since) < 700*time.Millisecond {
			return fmt.Errorf("%d reconciles so far", last)
		}
		return nil
	})
}

func get[T client.Object](t *testing.T, namespace, name string, into T) T {
	t.Helper()
	eventually(t, fmt.Sprintf("%T %s exists", into, name), func() error {
		return api.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into)
	})
	return into
}

// bind plays the volume controller.
func bind(t *testing.T, namespace, name string) {
	t.Helper()
	claim := get(t, namespace, name, &corev1.PersistentVolumeClaim{})
	claim.Status.Phase = corev1.ClaimBound
	must(t, api.Status().Update(t.Context(), claim))
}

// rollOut plays the Deployment controller.
func rollOut(t *testing.T, namespace, name string) {
	t.Helper()
	d := get(t, namespace, name, &appsv1.Deployment{})
	n := *d.Spec.Replicas
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n,
		Conditions: []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue, Reason: "MinimumReplicasAvailable"}}}
	must(t, api.Status().Update(t.Context(), d))
}
