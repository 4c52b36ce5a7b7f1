// Command bench-operator measures the operator on many PackRegistries: how fast it makes their children, beside a bare
// client that applies the same ones; what it holds in memory; what it writes when nothing happens and after a restart.
//
//	bench-operator --assets FOLDER --operator bin/operator --registries 1000 --more 5000
//
// The API server and etcd are real. Nothing else of a cluster is: a loop of this program's own plays the controllers of
// Deployments and claims by setting their status, and there are no nodes and no pods.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"packregistry.dev/api/v1alpha1"
)

type options struct {
	assets, operator, crd string
	registries, more      int
	foreign               int
}

func main() {
	var o options
	flag.StringVar(&o.assets, "assets", os.Getenv("KUBEBUILDER_ASSETS"), "folder with kube-apiserver and etcd")
	flag.StringVar(&o.operator, "operator", "bin/operator", "the operator's program")
	flag.StringVar(&o.crd, "crd", "config/crd", "folder with the CRD")
	flag.IntVar(&o.registries, "registries", 1000, "how many PackRegistries to begin with")
	flag.IntVar(&o.more, "more", 5000, "how many there are in the end, to see what each costs in memory; 0 for no more")
	flag.IntVar(&o.foreign, "foreign", 300, "how many Secrets of 1 MB there are that are nobody's")
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench-operator:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	options
	dir    string
	config *rest.Config
	api    client.Client
	audit  string
}

const (
	// namespace is where the registries are, bare where the bare client puts the same children.
	namespace = "registries"
	bare      = "bare"
	system    = "packregistry-system"
)

func run(ctx context.Context, o options) (err error) {
	if o.assets == "" {
		return errors.New("--assets: a folder with kube-apiserver and etcd is needed (hack/tool.sh cluster prints one)")
	}
	b := &bench{options: o}
	if b.dir, err = os.MkdirTemp("", "packregistry-bench-operator-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	stop, err := b.startAPI()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := b.prepare(ctx); err != nil {
		return err
	}
	fmt.Println("real: API server, etcd, operator. Simulated: the controllers of Deployments and claims. Absent: nodes and pods.")
	return b.measure(ctx)
}

// startAPI starts etcd and an API server that notes who writes what.
func (b *bench) startAPI() (stop func() error, err error) {
	b.audit = filepath.Join(b.dir, "audit.log")
	policy := filepath.Join(b.dir, "policy.yaml")
	text := "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules:\n- {level: None, verbs: [get, list, watch]}\n- {level: Metadata}\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		return nil, err
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{b.crd}, ErrorIfCRDPathMissing: true, BinaryAssetsDirectory: b.assets}
	env.ControlPlane.GetAPIServer().Configure().Append("audit-policy-file", policy).Append("audit-log-path", b.audit).
		Set("service-cluster-ip-range", "10.0.0.0/12") // each registry has two, one of the bare client
	if b.config, err = env.Start(); err != nil {
		return nil, fmt.Errorf("start the API server: %w", err)
	}
	b.config.QPS = -1
	user, err := env.AddUser(envtest.User{Name: "operator", Groups: []string{"system:masters"}}, nil)
	if err == nil {
		var kubeconfig []byte
		if kubeconfig, err = user.KubeConfig(); err == nil {
			err = os.WriteFile(b.kubeconfig(), kubeconfig, 0o600)
		}
	}
	if err != nil {
		return nil, errors.Join(err, env.Stop())
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, errors.Join(err, env.Stop())
	}
	if b.api, err = client.New(b.config, client.Options{Scheme: scheme}); err != nil {
		return nil, errors.Join(err, env.Stop())
	}
	return env.Stop, nil
}

func (b *bench) kubeconfig() string { return filepath.Join(b.dir, "kubeconfig") }

// prepare makes namespaces, what the registries name, and what is nobody's.
func (b *bench) prepare(ctx context.Context) error {
	for _, name := range []string{namespace, bare, system, "foreign"} {
		if err := b.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			return err
		}
	}
	users := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "users"},
		Data: map[string][]byte{"htpasswd": []byte("admin:$2y$10$sbo0nZCCusCDXw3e6oa9nO1Wj2THb1ZFQWzDo8lgxfMGWA8B8oIny\n")}}
	if err := b.api.Create(ctx, users); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "making %d Secrets of 1 MB that are nobody's\n", b.foreign)
	return parallel(ctx, 4, b.foreign, func(ctx context.Context, i int) error {
		return b.api.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "foreign", Name: fmt.Sprintf("foreign-%d", i)},
			Data: map[string][]byte{"data": make([]byte, 1_000_000)}})
	})
}

// measure is the order of the experiments.
func (b *bench) measure(ctx context.Context) error {
	simulation, end := context.WithCancel(ctx)
	defer end()
	go b.simulate(simulation)

	op, err := b.startOperator(ctx)
	if err != nil {
		return err
	}
	defer func() { op.stop() }()
	base := op.resident()
	fmt.Printf("memory with no registry and %d foreign Secrets of 1 MB: %.1f MiB (limit 40)\n", b.foreign, base)

	took, made, err := b.make(ctx, 0, b.registries)
	if err != nil {
		return err
	}
	rate := float64(made) / took.Seconds()
	plain, err := b.applyBare(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%d registries, %d children: %.0f children/s by the operator, %.0f by a bare client with as many workers: ratio %.2f (limit 0.5)\n",
		b.registries, made, rate, plain, rate/plain)

	if err := b.idle(ctx, op); err != nil {
		return err
	}
	if op, err = b.restart(ctx, op, b.registries); err != nil {
		return err
	}
	if b.more <= b.registries {
		return nil
	}
	before := op.resident()
	if _, _, err := b.make(ctx, b.registries, b.more); err != nil {
		return err
	}
	if err := b.settled(ctx, op, b.more); err != nil {
		return err
	}
	after := op.resident()
	fmt.Printf("memory: %.1f MiB with %d registries, %.1f with %d: %.1f KiB for each (limit 25)\n",
		before, b.registries, after, b.more, (after-before)*1024/float64(b.more-b.registries))
	op, err = b.restart(ctx, op, b.more)
	if err != nil {
		return err
	}
	fresh := op.resident()
	fmt.Printf("memory after a restart with %d registries: %.1f MiB\n", b.more, fresh)
	return nil
}

// idleTime is how long nothing must be written.
const idleTime = 20 * time.Second

// idle counts what the operator writes while nothing happens.
func (b *bench) idle(ctx context.Context, op *operator) error {
	if err := b.settled(ctx, op, b.registries); err != nil {
		return err
	}
	before, err := b.writes()
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(idleTime):
	}
	after, err := b.writes()
	if err != nil {
		return err
	}
	fmt.Printf("idle: %d writes in %s, beside the lease (limit 0)\n", after-before, idleTime)
	return nil
}

// restart stops the operator and starts another one.
func (b *bench) restart(ctx context.Context, op *operator, registries int) (*operator, error) {
	before, err := b.writes()
	if err != nil {
		return op, err
	}
	op.stop()
	again, err := b.startOperator(ctx)
	if err != nil {
		return op, err
	}
	if err := b.settled(ctx, again, registries); err != nil {
		return again, err
	}
	after, err := b.writes()
	if err != nil {
		return again, err
	}
	fmt.Printf("restart with %d registries: caught up %.1f s after the lease (limit 10 with 1,000), %d writes (limit 0)\n", registries, time.Since(again.leading).Seconds()-settleTime.Seconds(), after-before)
	return again, nil
}
