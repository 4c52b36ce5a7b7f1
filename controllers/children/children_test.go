package children_test

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

var update = flag.Bool("update", false, "write the golden files anew")

// registries are what the golden files in testdata show the children of.
var registries = map[string]func() *v1alpha1.PackRegistry{
	"smallest": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Storage: v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}},
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:     v1alpha1.TLSSpec{Disabled: &v1alpha1.DisabledSpec{}},
		})
	},
	"claim": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts:   []string{"packs.example.com"},
			Storage: claim("10Gi"),
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:     v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}},
		})
	},
	"everything": everything,
	"bucket": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"packs.example.com"}, Replicas: ptr.To[int32](3),
			Storage: v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{
				Bucket: "packs", Region: "eu-west-1", Endpoint: "https://minio.example.com:9000", RootDirectory: "team", Encrypt: true, KMSKeyID: "key", StorageClass: "STANDARD_IA",
				ForcePathStyle: ptr.To(true), SecretRef: &v1alpha1.SecretRef{Name: "keys"}, CARef: &v1alpha1.CARef{Name: "ca"},
			}},
			Auth:              v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}, ReadOnlyUsers: []string{"bob"}, AnonymousPull: true},
			TLS:               v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}, ClientCARef: &v1alpha1.CARef{Kind: v1alpha1.CARefConfigMap, Name: "clients"}},
			GarbageCollection: &v1alpha1.GarbageCollectionSpec{Interval: &metav1.Duration{Duration: 12 * time.Hour}, KeepUntagged: &metav1.Duration{Duration: 1000 * time.Hour}},
			Config:            &runtime.RawExtension{Raw: []byte(`{"http":{"limits":{"uploads":7},"trustedproxies":["10.0.0.0/8"]},"auth":{"access":{"rules":[{"users":["*"],"repositories":["**"],"actions":["pull"]}]}},"storage":{"delete":{"enabled":false}}}`)},
		})
	},
	"ingress": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"packs.example.com", "packs.example.org"}, Storage: claim("10Gi"),
			Auth: v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS: v1alpha1.TLSSpec{IssuerRef: &v1alpha1.IssuerRef{Name: "letsencrypt", Kind: "ClusterIssuer", Duration: &metav1.Duration{Duration: 48 * time.Hour},
				RenewBefore: &metav1.Duration{Duration: 90 * time.Minute}, PrivateKey: &v1alpha1.PrivateKeySpec{Algorithm: "RSA", Size: 4096, RotationPolicy: "Never"}}},
			Ingress:       &v1alpha1.IngressSpec{ClassName: ptr.To("traefik"), Annotations: map[string]string{"a": "b"}, Labels: v1alpha1.Labels{"zone": "edge"}, PathType: networkingv1.PathTypeImplementationSpecific},
			NetworkPolicy: &v1alpha1.NetworkPolicySpec{Enabled: true}, Monitoring: &v1alpha1.MonitoringSpec{ServiceMonitor: &v1alpha1.ServiceMonitorSpec{Enabled: true}},
		})
	},
	"tlsroute": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"packs.example.com"}, Storage: claim("10Gi"),
			Auth:          v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:           v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{}},
			Gateway:       &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "gateway", Namespace: "edge", SectionName: "passthrough", Port: 443}}},
			NetworkPolicy: &v1alpha1.NetworkPolicySpec{Enabled: true},
		})
	},
	"addresses": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"192.0.2.1", "packs.example.com", "2001:db8::1"}, Storage: claim("10Gi"),
			Auth: v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:  v1alpha1.TLSSpec{IssuerRef: &v1alpha1.IssuerRef{Name: "ca"}},
		})
	},
	"httproute": func() *v1alpha1.PackRegistry {
		restored := claim("10Gi")
		restored.PersistentVolumeClaim.DataSource = &v1alpha1.DataSource{APIGroup: "snapshot.storage.k8s.io", Kind: "VolumeSnapshot", Name: "yesterday"}
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"packs.example.com"}, Storage: restored,
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:     v1alpha1.TLSSpec{Disabled: &v1alpha1.DisabledSpec{}},
			Gateway: &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "gateway"}, {Group: "gateway.networking.x-k8s.io", Kind: "XListenerSet", Name: "set"}}},
		})
	},
	"letsencrypt": func() *v1alpha1.PackRegistry {
		return registry(v1alpha1.PackRegistrySpec{
			Hosts: []string{"packs.example.com", "packs.example.org"}, Storage: claim("10Gi"),
			Auth: v1alpha1.AuthSpec{Anonymous: &v1alpha1.AnonymousSpec{}},
			TLS:  v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{Email: "ops@example.com", DirectoryURL: "https://acme.example.com/dir", CARef: &v1alpha1.CARef{Name: "acme"}}},
		})
	},
}

// input is what the Secrets that the registries name come to.
func input(r *v1alpha1.PackRegistry) children.ConfigInput {
	var in children.ConfigInput
	if s3 := r.Spec.Storage.S3; s3 != nil {
		in.S3 = &children.S3Credential{AccessKeyID: "the-id", SecretAccessKey: "the-secret", SessionToken: "the-token", Version: "uid/1"}
		in.S3CA = []byte("the CA of S3\n")
	}
	if r.Spec.TLS.LetsEncrypt != nil {
		in.ACMECA = []byte("the CA of ACME\n")
	}
	return in
}

func registry(spec v1alpha1.PackRegistrySpec) *v1alpha1.PackRegistry {
	return &v1alpha1.PackRegistry{ObjectMeta: metav1.ObjectMeta{
		Name: "packs", Namespace: "team", UID: "0-1-2",
		Labels: map[string]string{"argocd.argoproj.io/instance": "must not be copied"},
	}, Spec: spec}
}

func claim(size string) v1alpha1.StorageSpec {
	return v1alpha1.StorageSpec{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{Size: ptr.To(resource.MustParse(size))}}
}

func object(text string) v1alpha1.Object {
	return v1alpha1.Object{RawExtension: runtime.RawExtension{Raw: []byte(text)}}
}

func everything() *v1alpha1.PackRegistry {
	storage := claim("1000Mi")
	storage.PersistentVolumeClaim.StorageClassName = ptr.To("nfs")
	storage.PersistentVolumeClaim.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	storage.PersistentVolumeClaim.DeletionPolicy = v1alpha1.DeletionDelete
	return registry(v1alpha1.PackRegistrySpec{
		Hosts: []string{"packs.example.com"}, Replicas: ptr.To[int32](3), Image: "mirror/registry:1", Storage: storage,
		Packs:   v1alpha1.PacksSpec{BasePaths: []string{"team/b", "prod"}},
		UI:      v1alpha1.UISpec{Enabled: ptr.To(true), Title: "Packs of team A: \"b\"", Actions: []string{"untag", "delete", "tag"}},
		Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}, Realm: "My Realm"},
		TLS:     v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}, MinimumVersion: "1.3"},
		Headers: map[string]v1alpha1.HeaderValues{"X-Frame-Options": {}, "X-Added": {"a", "b"}},
		Log:     v1alpha1.LogSpec{Level: "debug", Format: "text", Fields: map[string]string{"team": "a"}},
		Service: v1alpha1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Port: 8443, NodePort: 30443, Annotations: map[string]string{"a": "b", "note": "of the Service"}, LoadBalancerClass: ptr.To("c"),
			Labels: v1alpha1.Labels{"of": "service"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, IPFamilyPolicy: corev1.IPFamilyPolicyPreferDualStack,
			SessionAffinity: corev1.ServiceAffinityClientIP, ClusterIP: "10.96.0.99",
			LoadBalancerSourceRanges: []string{"10.0.0.0/8"}, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
		},
		Metadata: v1alpha1.ObjectMetadata{
			// Not even what the CRD would refuse takes the place of what the operator sets.
			Labels:      v1alpha1.Labels{"cost-center": "7", "of": "all", "app.kubernetes.io/name": "other", "packregistry.dev/registry": "other"},
			Annotations: map[string]string{"owner": "team-a", "note": "of all"},
		},
		PodDisruptionBudget: &v1alpha1.PodDisruptionBudgetSpec{MaxUnavailable: ptr.To(intstr.FromString("30%")), UnhealthyPodEvictionPolicy: policyv1.IfHealthyBudget},
		NetworkPolicy:       &v1alpha1.NetworkPolicySpec{Enabled: true, Ingress: []v1alpha1.Object{object(`{"from":[{"ipBlock":{"cidr":"10.0.0.0/8"}}],"ports":[{"port":9999,"protocol":"TCP"}]}`)}},
		Monitoring: &v1alpha1.MonitoringSpec{ServiceMonitor: &v1alpha1.ServiceMonitorSpec{
			Enabled: true, Labels: v1alpha1.Labels{"release": "prometheus"}, Interval: "30s", ScrapeTimeout: "10s",
			Relabelings: []v1alpha1.Object{object(`{"action":"replace","targetLabel":"cluster","replacement":"a"}`)},
		}},
		Pod: v1alpha1.PodSpec{
			Resources:    corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("100m")}, Limits: corev1.ResourceList{"memory": resource.MustParse("1024Mi")}},
			NodeSelector: map[string]v1alpha1.LabelValue{"disk": "ssd"}, Tolerations: []corev1.Toleration{{Key: "k", Operator: corev1.TolerationOpExists}},
			Affinity:          &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone"}}}},
			PriorityClassName: "high", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}, ImagePullPolicy: corev1.PullAlways,
			Labels: v1alpha1.Labels{"l": "1"}, Annotations: map[string]string{"an": "1"}, ServiceAccountName: "sa",
			Env:             []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy"}},
			SecurityContext: &v1alpha1.PodSecurityContext{SupplementalGroups: []int64{5}}, TerminationGracePeriodSeconds: ptr.To[int64](100),
			Volumes:        []v1alpha1.Object{object(`{"name":"extra","configMap":{"name":"extra","items":[{"key":"a","path":"b"}]}}`)},
			VolumeMounts:   []v1alpha1.Object{object(`{"name":"extra","mountPath":"/extra","readOnly":true}`)},
			InitContainers: []v1alpha1.Object{object(`{"name":"first","image":"init:1","restartPolicy":"Always"}`)},
			Containers:     []v1alpha1.Object{object(`{"name":"beside","image":"sidecar:1","resources":{"limits":{"memory":"64Mi"}}}`)},
			HostAliases:    []corev1.HostAlias{{IP: "192.0.2.9", Hostnames: []string{"minio"}}},
			DNSPolicy:      corev1.DNSNone, DNSConfig: &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.53"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: ptr.To("1")}}},
			RuntimeClassName: "gvisor", SchedulerName: "other",
			Probes: v1alpha1.ProbesSpec{Startup: v1alpha1.ProbeTiming{FailureThreshold: ptr.To[int32](600)}, Liveness: v1alpha1.ProbeTiming{PeriodSeconds: ptr.To[int32](20), TimeoutSeconds: ptr.To[int32](3)}},
		},
	})
}

func TestGolden(t *testing.T) {
	for name, build := range registries {
		t.Run(name, func(t *testing.T) {
			r := build()
			rendered, err := children.RenderConfig(r, input(r))
			if err != nil {
				t.Fatal(err)
			}
			deployment, err := children.Deployment(r, children.DeploymentInput{Image: "registry:1", Version: "1.2.3 registry:1", Config: rendered, Shared: name == "everything" || name == "bucket"})
			if err != nil {
				t.Fatal(err)
			}
			objects := []any{deployment, children.Service(r)}
			if len(r.Spec.Auth.SecretRefs) > 0 {
				objects = append(objects, children.UsersSecret(r, []byte("ann:hash\n"), []byte("salt"), map[string]string{"basic": "uid/1"}))
			}
			if r.Spec.TLS.SelfSigned != nil {
				pair := map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k"), "ca.crt": []byte("b")}
				objects = append(objects, children.CASecret(r, pair), children.CABundle(r, []byte("b")), children.SelfSignedSecret(r, pair))
			}
			if b := children.DisruptionBudget(r, children.Replicas(r)); b != nil {
				objects = append(objects, b)
			}
			if c := children.Claim(r, nil); c != nil {
				objects = append(objects, c)
			}
			if i := children.Ingress(r); i != nil {
				objects = append(objects, i)
			}
			policy, err := children.NetworkPolicy(r)
			if err != nil {
				t.Fatal(err)
			}
			if policy != nil {
				objects = append(objects, policy)
			}
			if s := children.MetricsService(r); s != nil {
				objects = append(objects, s)
			}
			optional := children.Optional(r)
			for _, kind := range slices.SortedFunc(maps.Keys(optional), func(a, b schema.GroupKind) int { return strings.Compare(a.Kind, b.Kind) }) {
				objects = append(objects, optional[kind].Object)
			}
			var text strings.Builder
			for _, o := range objects {
				part, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n" + string(part))
			}
			for _, file := range slices.Sorted(maps.Keys(rendered.Files)) {
				text.WriteString("--- # " + rendered.Name + " " + file + "\n" + string(rendered.Files[file]))
			}
			compare(t, filepath.Join("testdata", name+".yaml"), text.String())
		})
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; look at it, and write it anew with: go test ./controllers/children -update\n%s", file, got)
	}
}

func TestRenderingIsStable(t *testing.T) {
	first, err := children.RenderConfig(everything(), children.ConfigInput{})
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if again, err := children.RenderConfig(everything(), children.ConfigInput{}); err != nil || again.Name != first.Name {
			t.Fatalf("%s became %s, %v", first.Name, again.Name, err)
		}
	}
}

func TestAClaimNeverShrinks(t *testing.T) {
	live := resource.MustParse("20Gi")
	claim := &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: live}}}}
	c := children.Claim(registries["claim"](), claim)
	if got := (*c.Spec.Resources.Requests)[corev1.ResourceStorage]; got.Cmp(live) != 0 {
		t.Errorf("asks for %s", got.String())
	}
}

// Behind an Ingress the pods speak HTTP, and the certificate is the Ingress's, whoever makes it.
func TestWhoEndsTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		tls    v1alpha1.TLSSpec
		secret string
	}{
		"secret":     {v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "mine"}}, "mine"},
		"issued":     {v1alpha1.TLSSpec{IssuerRef: &v1alpha1.IssuerRef{Name: "i"}}, "packs-registry-tls"},
		"selfSigned": {v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}, "packs-registry-tls"},
		"disabled":   {v1alpha1.TLSSpec{Disabled: &v1alpha1.DisabledSpec{}}, ""},
	} {
		r := registry(v1alpha1.PackRegistrySpec{Hosts: []string{"a.example.com"}, Storage: claim("1Gi"), TLS: tt.tls, Ingress: &v1alpha1.IngressSpec{}})
		ingress := children.Ingress(r)
		if got := ptr.Deref(ingress.Spec.TLS[0].SecretName, ""); got != tt.secret || ingress.Spec.TLS[0].Hosts[0] != "a.example.com" {
			t.Errorf("%s: %q", name, got)
		}
		if children.CertificateSecret(r) != "" || children.Config(r).HTTP.TLS != nil || children.ServicePort(r) != 80 {
			t.Errorf("%s: the pods serve TLS behind the Ingress", name)
		}
		r.Spec.Ingress, r.Spec.Gateway = nil, &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "g"}}}
		want := children.TLSRouteKind
		if tt.secret == "" {
			want = children.HTTPRouteKind
		}
		if children.RouteKind(r) != want || children.CertificateSecret(r) != tt.secret {
			t.Errorf("%s: %s, %q", name, children.RouteKind(r), children.CertificateSecret(r))
		}
	}
}
