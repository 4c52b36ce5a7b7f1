// Command operator makes a cluster hold the pack registries that its PackRegistry objects describe.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers"
	"packregistry.dev/controllers/children"
	"packregistry.dev/controllers/limits"
	"packregistry.dev/internal/metricsauth"
)

// version is set by the build.
var version = "dev"

func main() {
	// The operator is idle nearly always: collecting four times as often costs nothing that can be measured, and keeps it
	// from holding twice what it needs.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(25)
	}
	// Go ends a program that writes to a standard error that nobody reads any more. The log's reader may restart: lines are
	// lost then, and the operator goes on.
	signal.Ignore(syscall.SIGPIPE)
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

type settings struct {
	metricsAddr, probeAddr string
	secureMetrics          bool
	leaderElect            bool
	leaderNamespace        string
	leaderTimings          leaderTimings
	name                   string
	pprofAddr              string
	workers                int
	image                  string
	upgrades               int
	namespaces             string
	limits                 *limits.Limits
	podDefaults            children.PodDefaults
}

func parse() (settings, error) {
	var s settings
	allowed := limits.DefaultFlags()
	var resources, securityContext string
	flag.StringVar(&s.metricsAddr, "metrics-bind-address", ":8443", "where metrics are served; 0 for nowhere")
	flag.BoolVar(&s.secureMetrics, "metrics-secure", true, "serve metrics over HTTPS to clients that may get /metrics")
	flag.StringVar(&s.probeAddr, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	flag.BoolVar(&s.leaderElect, "leader-elect", true, "let only one of several replicas work")
	flag.StringVar(&s.leaderNamespace, "leader-elect-namespace", "", "where leases are kept (default: the operator's own namespace)")
	s.leaderTimings.bind(flag.CommandLine)
	flag.StringVar(&s.name, "name", "packregistry-operator", "the name of this installation among those of its namespace; replicas of one installation share it")
	flag.StringVar(&s.pprofAddr, "pprof-bind-address", "", "where Go's profiles are served, to anybody who can connect; empty for nowhere")
	flag.IntVar(&s.workers, "workers", 4, "how many PackRegistries are reconciled at once")
	flag.StringVar(&s.image, "registry-image", os.Getenv("RELATED_IMAGE_REGISTRY"), "the registry's image where a spec names none (default $RELATED_IMAGE_REGISTRY)")
	flag.IntVar(&s.upgrades, "max-concurrent-upgrades", 1, "how many registries are rolled at once because this operator renders them otherwise than the one before")
	flag.StringVar(&s.namespaces, "namespaces", os.Getenv("WATCH_NAMESPACE"), "the namespaces to look after, separated by commas; all of them if empty (default $WATCH_NAMESPACE)")
	flag.StringVar(&allowed.Images, "allowed-images", allowed.Images, "images that PackRegistries may name besides those of the default image's repository: repositories, references, or beginnings that end in '*', separated by commas")
	flag.StringVar(&allowed.Annotations, "allowed-annotations", allowed.Annotations, "annotations that PackRegistries may put on what they become: keys, beginnings that end in '*', or key=value, separated by commas; default stands for those of this release")
	flag.StringVar(&allowed.Labels, "allowed-labels", allowed.Labels, "labels that PackRegistries may put on what they become: keys, or beginnings that end in '*', separated by commas; default stands for those without a domain")
	flag.StringVar(&allowed.Env, "allowed-env", allowed.Env, "variables that PackRegistries may give their containers (spec.pod.env): names, or beginnings that end in '*', separated by commas; default stands for those of this release")
	flag.StringVar(&allowed.PodFields, "allowed-pod-fields", allowed.PodFields, "fields of spec.pod that PackRegistries may have, separated by commas; default stands for those of this release, '*' for all: "+strings.Join(limits.PodFields(), ", "))
	flag.StringVar(&allowed.HostsAnnotation, "hosts-annotation", allowed.HostsAnnotation, "the annotation of a namespace that lists the hosts (a.example.com) and domains (*.example.com) that its PackRegistries may have; without it they may have any")
	flag.StringVar(&resources, "registry-default-resources", "", "resources of registries' containers where a spec has none, as JSON: {\"requests\": {\"memory\": \"64Mi\"}}")
	flag.StringVar(&securityContext, "registry-default-pod-security-context", "", "security context of registries' pods where a spec is silent, as JSON with runAsUser, runAsGroup, fsGroup and supplementalGroups; what it lacks is left to the platform (default user and groups 65532)")
	showVersion := flag.Bool("version", false, "print the version and end")
	options := zap.Options{}
	options.BindFlags(flag.CommandLine)
	flag.Parse()
	if *showVersion {
		fmt.Println("operator", version)
		os.Exit(0)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&options)))
	var err error
	if s.limits, err = limits.Parse(allowed); err != nil {
		return s, err
	}
	if s.podDefaults, err = children.ParsePodDefaults(resources, securityContext); err != nil {
		return s, fmt.Errorf("defaults of registries (--registry-default-…): %w", err)
	}
	return s, s.leaderTimings.check()
}

// namespaces splits a list; none means all.
func namespaces(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// ownNamespace is the namespace of the operator's pod; empty outside of a cluster.
func ownNamespace() string {
	namespace, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(namespace))
}

func run() error {
	s, err := parse()
	if err != nil {
		return err
	}
	me := controllers.Installation{Namespace: cmp.Or(s.leaderNamespace, ownNamespace()), Name: s.name, Namespaces: namespaces(s.namespaces)}
	scheme := runtime.NewScheme()
	// Only the groups that are used: the whole of Kubernetes costs megabytes.
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, coordinationv1.AddToScheme, corev1.AddToScheme, networkingv1.AddToScheme, policyv1.AddToScheme, storagev1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	mgr, err := newManager(s, me, scheme)
	if err != nil {
		return err
	}
	reconciler := &controllers.Reconciler{
		Client:    mgr.GetClient(),
		APIReader: mgr.GetAPIReader(),
		Metadata:  mgr.GetCache(),
		Recorder:  mgr.GetEventRecorder("packregistry-operator"),
		Image:     s.image,
		Now:       time.Now,
		Version:   version,
		Limits:    s.limits,

		PodDefaults: s.podDefaults,

		Installation:          me,
		MaxConcurrentUpgrades: s.upgrades,

		AskCertificate: controllers.AskCertificate,
		AskSpace:       controllers.AskSpace,
	}
	if err := reconciler.SetupWithManager(mgr, controller.Options{MaxConcurrentReconciles: s.workers}); err != nil {
		return err
	}
	if err := mgr.Add(&controllers.Heartbeat{Client: mgr.GetClient(), Installation: me}); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version, "registryImage", s.image, "namespace", me.Namespace, "name", me.Name, "lease", me.LeaderLease())
	return start(ctrl.SetupSignalHandler(), mgr)
}

// newManager connects to the API server that kubeconfig or the pod's service account names.
func newManager(s settings, me controllers.Installation, scheme *runtime.Scheme) (manager.Manager, error) {
	config, err := ctrl.GetConfig()
	if err != nil {
		return nil, err
	}
	// The API server knows better than a number of ours how much it can take (priority and fairness).
	config.QPS = -1
	config.UserAgent = "packregistry-operator/" + version
	metrics := metricsserver.Options{BindAddress: s.metricsAddr, SecureServing: s.secureMetrics,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}}
	if s.secureMetrics {
		metrics.FilterProvider = metricsauth.Filter
	}
	return ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(me.Namespaces...),
		Client:                        controllers.ClientOptions(),
		Metrics:                       metrics,
		HealthProbeBindAddress:        s.probeAddr,
		PprofBindAddress:              s.pprofAddr,
		LeaderElection:                s.leaderElect,
		LeaderElectionID:              me.LeaderLease(),
		LeaderElectionNamespace:       s.leaderNamespace,
		LeaseDuration:                 &s.leaderTimings.lease,
		RenewDeadline:                 &s.leaderTimings.renew,
		RetryPeriod:                   &s.leaderTimings.retry,
		LeaderElectionReleaseOnCancel: true, // this process ends with the manager
	})
}

// start runs a manager until the context ends. One whose caches never came in sync does not notice that (its group of caches
// waits for them in any case); it has begun nothing, and holds no Lease, so that the process can end without it.
func start(ctx context.Context, mgr manager.Manager) error {
	synced := make(chan struct{})
	if err := mgr.Add(afterCaches(func() { close(synced) })); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case <-synced:
		return <-done
	default:
		ctrl.Log.Info("ending before caches are in sync")
		return nil
	}
}

// afterCaches is called when caches are in sync, in leaders and in those that stand by.
type afterCaches func()

func (f afterCaches) Start(context.Context) error {
	f()
	return nil
}

func (afterCaches) NeedLeaderElection() bool { return false }
