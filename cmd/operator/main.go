// Command operator makes a cluster hold the pack registries that its PackRegistry objects describe.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers"
)

// version is set by the build.
var version = "dev"

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "operator:", err)
		os.Exit(1)
	}
}

type settings struct {
	metricsAddr, probeAddr string
	secureMetrics          bool
	leaderElect            bool
	workers                int
	image                  string
}

func parse() settings {
	var s settings
	flag.StringVar(&s.metricsAddr, "metrics-bind-address", ":8443", "where metrics are served; 0 for nowhere")
	flag.BoolVar(&s.secureMetrics, "metrics-secure", true, "serve metrics over HTTPS to clients that may get /metrics")
	flag.StringVar(&s.probeAddr, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served")
	flag.BoolVar(&s.leaderElect, "leader-elect", true, "let only one of several replicas work")
	flag.IntVar(&s.workers, "workers", 4, "how many PackRegistries are reconciled at once")
	flag.StringVar(&s.image, "registry-image", os.Getenv("RELATED_IMAGE_REGISTRY"), "the registry's image where a spec names none (default $RELATED_IMAGE_REGISTRY)")
	showVersion := flag.Bool("version", false, "print the version and end")
	options := zap.Options{}
	options.BindFlags(flag.CommandLine)
	flag.Parse()
	if *showVersion {
		fmt.Println("operator", version)
		os.Exit(0)
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&options)))
	return s
}

func run() error {
	s := parse()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	config.UserAgent = "packregistry-operator/" + version
	metrics := metricsserver.Options{BindAddress: s.metricsAddr, SecureServing: s.secureMetrics,
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }}}
	if s.secureMetrics {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        scheme,
		Cache:                         controllers.CacheOptions(),
		Client:                        controllers.ClientOptions(),
		Metrics:                       metrics,
		HealthProbeBindAddress:        s.probeAddr,
		LeaderElection:                s.leaderElect,
		LeaderElectionID:              "packregistry-operator",
		LeaderElectionReleaseOnCancel: true, // this process ends with the manager
	})
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
	}
	if err := reconciler.SetupWithManager(mgr, controller.Options{MaxConcurrentReconciles: s.workers}); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	ctrl.Log.Info("starting", "version", version, "registryImage", s.image)
	return mgr.Start(ctrl.SetupSignalHandler())
}
