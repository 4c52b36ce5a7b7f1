package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
	v1alpha1apply "packregistry.dev/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

const validSpec = `
hosts: [packs.example.com]
storage: {persistentVolumeClaim: {size: 1Gi}}
auth: {secretRefs: [{name: users}]}
tls: {secretRef: {name: certificate}}
`

// apply changes a spec: each line of changes is a JSON merge patch in YAML.
func registryWith(t *testing.T, namespace, name, changes string) *unstructured.Unstructured {
	t.Helper()
	var spec, patch map[string]any
	must(t, yaml.Unmarshal([]byte(validSpec), &spec))
	must(t, yaml.Unmarshal([]byte(changes), &patch))
	merge(spec, patch)
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

func merge(into, patch map[string]any) {
	for key, value := range patch {
		child, ok := value.(map[string]any)
		current, exists := into[key].(map[string]any)
		switch {
		case value == nil:
			delete(into, key)
		case ok && exists:
			merge(current, child)
		default:
			into[key] = value
		}
	}
}

// Every rule of the CRD, both ways.
func TestAPIValidation(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	for i, tt := range []struct {
		changes string
		want    string // what the refusal must say; empty means accepted
	}{
		{"", ""},
		{"storage: {inMemory: {}}", "exactly one of the fields"},
		{"storage: {persistentVolumeClaim: null}", "exactly one of the fields"},
		{"storage: null", "storage"},
		{"auth: null", "auth"},
		{"tls: null", "tls"},
		{"auth: {anonymous: {}}", "exactly one of the fields"},
		{"auth: {secretRefs: null, anonymous: {}}", ""},
		{"auth: {secretRefs: null, anonymous: {}, realm: x}", "go with secretRefs"},
		{"auth: {realm: x, readOnlyUsers: [a], anonymousPull: true}", ""},
		{"auth: {secretRefs: []}", "should have at least 1 items"},
		{`auth: {realm: 'a"b'}`, "realm"},
		{"tls: {disabled: {}}", "exactly one of the fields"},
		{"tls: {secretRef: null, disabled: {}}", ""},
		{"tls: {secretRef: null, disabled: {}, minimumVersion: '1.3'}", "not with tls.disabled"},
		{"tls: {minimumVersion: '1.3'}", ""},
		{"tls: {minimumVersion: '1.1'}", "Unsupported value"},
		{"tls: {secretRef: null, selfSigned: {}}", ""},
		{"tls: {secretRef: null, letsEncrypt: {}}", ""},
		{"{hosts: null, tls: {secretRef: null, letsEncrypt: {}}}", "needs hosts"},
		{"{tls: {secretRef: null, letsEncrypt: {}}, storage: {persistentVolumeClaim: null, inMemory: {}}}", "tls.issuerRef"},
		{"{tls: {secretRef: null, letsEncrypt: {}}, ingress: {}}", "use tls.issuerRef"},
		{"tls: {secretRef: null, letsEncrypt: {directoryURL: 'http://x'}}", "directoryURL"},
		{"ingress: {className: nginx}", ""},
		{"{ingress: {}, hosts: null}", "need hosts"},
		{"{ingress: {}, gateway: {parentRefs: [{name: g}]}}", "not both"},
		{"{ingress: {}, tls: {clientCARef: {name: c}}}", "not with tls.disabled or ingress"},
		{"gateway: {parentRefs: []}", "should have at least 1 items"},
		{"{replicas: 2}", "more than one replica needs storage"},
		{"{replicas: 2, storage: {persistentVolumeClaim: {accessModes: [ReadWriteMany]}}}", ""},
		{"{replicas: 2, storage: {persistentVolumeClaim: {size: null, claimName: shared}}}", ""},
		{"{replicas: 2, storage: {persistentVolumeClaim: null, s3: {bucket: packs, region: r}}}", ""},
		{"{storage: {persistentVolumeClaim: null, s3: {bucket: packs}}}", "give the region"},
		{"{replicas: 2, storage: {persistentVolumeClaim: null, inMemory: {}}}", "memory of one process"},
		{"{replicas: -1}", "replicas"},
		{"storage: {persistentVolumeClaim: {size: null}}", "give a size"},
		{"storage: {persistentVolumeClaim: {claimName: c}}", "claimName excludes size"},
		{"storage: {persistentVolumeClaim: {size: null, claimName: c, deletionPolicy: Delete}}", "deletionPolicy: Delete excludes claimName"},
		{"storage: {persistentVolumeClaim: {dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: s}}}", ""},
		{"storage: {persistentVolumeClaim: {size: null, claimName: c, dataSource: {kind: PersistentVolumeClaim, name: s}}}", "not with claimName"},
		{"storage: {persistentVolumeClaim: {accessModes: [ReadOnlyMany]}}", "Unsupported value"},
		{"storage: {persistentVolumeClaim: null, s3: {bucket: packs, endpoint: 'http://minio:9000'}}", ""},
		{"storage: {persistentVolumeClaim: null, s3: {bucket: packs, endpoint: 'minio:9000'}}", "endpoint"},
		{"hosts: ['UPPER.example.com']", "hosts"},
		{"hosts: ['a.example.com', 'a.example.com']", "there twice"},
		{"hosts: [192.0.2.1, '2001:db8::1', a.example.com]", ""},
		{"hosts: [192.0.2.256]", "is an IP address"},
		{"hosts: [192.0.2.01]", "is an IP address"},
		{"hosts: ['2001:DB8::1']", "hosts"},
		{"hosts: ['2001:db8:0::1']", "is an IP address"},
		{"hosts: ['::ffff:192.0.2.1']", "is an IP address"},
		{"hosts: [10]", "hosts"},
		{"hosts: ['10.5']", "is an IP address"},
		{"hosts: [" + strings.Repeat("a", 64) + ".com]", "hosts"},
		{"{hosts: [a.example.com, 192.0.2.1], ingress: {}}", "route by names"},
		{"{hosts: [192.0.2.1], gateway: {parentRefs: [{name: g}]}}", "route by names"},
		{"{hosts: [192.0.2.1], tls: {secretRef: null, letsEncrypt: {}}}", "for names only"},
		{"{hosts: [192.0.2.1], tls: {secretRef: null, issuerRef: {name: ca}}}", ""},
		{"storage: {persistentVolumeClaim: {size: 0}}", "greater than 0"},
		{"storage: {persistentVolumeClaim: {size: 0Gi}}", "greater than 0"},
		{"headers: {X-Frame-Options: [], X-Added: [a, b]}", ""},
		{`headers: {"X Bad": [a]}`, "header's name"},
		{"service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/8]}", ""},
		{"service: {loadBalancerSourceRanges: [10.0.0.0/8]}", "need type LoadBalancer"},
		{"service: {type: NodePort, loadBalancerSourceRanges: [10.0.0.0/8]}", "need type LoadBalancer"},
		{"service: {type: NodePort, loadBalancerClass: a}", "need type LoadBalancer"},
		{"service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0/33]}", "write ranges"},
		{"service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.0]}", "loadBalancerSourceRanges"},
		{"service: {type: LoadBalancer, loadBalancerSourceRanges: [10.0.0.1/8]}", "without bits beyond the prefix"},
		{"pod: {securityContext: {runAsUser: 2147483648}}", "runAsUser"},
		{"pod: {securityContext: {supplementalGroups: [-1]}}", "supplementalGroups"},
		{"service: {externalTrafficPolicy: Local}", "reached from outside"},
		{"service: {type: NodePort, externalTrafficPolicy: Local}", ""},
		{"service: {type: NodePort, nodePort: 0}", "nodePort"},
		{"service: {annotations: {'a b': x}}", "an annotation's key"},
		{"service: {annotations: {packregistry.dev/x: z}}", "are the operator's"},
		{"service: {nodePort: 30443}", "nodePort needs type"},
		{"service: {type: ExternalName}", "Unsupported value"},
		{"pod: {env: [{name: HTTPS_PROXY, value: x}]}", ""},
		{"pod: {env: [{name: REGISTRY_AUTH, value: none}]}", "would go against the rest of the spec"},
		{"pod: {labels: {app.kubernetes.io/name: x}}", "are the operator's"},
		{"service: {ipFamilies: [IPv4, IPv4], ipFamilyPolicy: RequireDualStack}", "two ipFamilies are"},
		{"service: {ipFamilies: [IPv4, IPv6]}", "need ipFamilyPolicy"},
		{"service: {ipFamilies: [IPv6, IPv4], ipFamilyPolicy: PreferDualStack}", ""},
		{"service: {clusterIP: None}", "write the address"},
		{"service: {clusterIP: 10.0.0.7, sessionAffinity: ClientIP}", ""},
		{"ingress: {pathType: Exact}", "Unsupported value"},
		{"ingress: {pathType: ImplementationSpecific, labels: {a: b}}", ""},
		{"gateway: {parentRefs: [{group: gateway.networking.x-k8s.io, kind: XListenerSet, name: a}]}", ""},
		{"metadata: {labels: {cost-center: '7'}, annotations: {example.com/owner: team}}", ""},
		{"metadata: {labels: {app.kubernetes.io/part-of: x}}", "are the operator's"},
		{"metadata: {labels: {packregistry.dev/x: x}}", "are the operator's"},
		{"metadata: {annotations: {packregistry.dev/x: x}}", "are the operator's"},
		{"tls: {clientCARef: {kind: ConfigMap, name: a}}", ""},
		{"tls: {clientCARef: {kind: Pod, name: a}}", "Unsupported value"},
		{"tls: {secretRef: null, issuerRef: {name: ca, duration: 24h, renewBefore: 8h, privateKey: {algorithm: RSA, size: 4096}}}", ""},
		{"tls: {secretRef: null, issuerRef: {name: ca, duration: 30m}}", "for an hour at least"},
		{"tls: {secretRef: null, issuerRef: {name: ca, renewBefore: 1m}}", "five minutes"},
		{"tls: {secretRef: null, issuerRef: {name: ca, duration: 24h, renewBefore: 24h}}", "must be less than duration"},
		{"tls: {secretRef: null, issuerRef: {name: ca, privateKey: {size: 4096}}}", "for ECDSA"},
		{"tls: {secretRef: null, issuerRef: {name: ca, privateKey: {algorithm: Ed25519, size: 256}}}", "leave it out"},
		{"podDisruptionBudget: {maxUnavailable: 50%}", ""},
		{"podDisruptionBudget: {maxUnavailable: 101%}", "maxUnavailable"},
		{"podDisruptionBudget: {maxUnavailable: -1}", "maxUnavailable"},
		{"podDisruptionBudget: {maxUnavailable: 2, unhealthyPodEvictionPolicy: IfHealthyBudget}", ""},
		{"networkPolicy: {enabled: true, ingress: [{from: [{podSelector: {}}]}]}", ""},
		{"networkPolicy: {enabled: true, ingress: [any]}", "ingress"},
		{"monitoring: {serviceMonitor: {enabled: true, labels: {release: p}, interval: 30s, scrapeTimeout: 10s, relabelings: [{action: drop}]}}", ""},
		{"monitoring: {serviceMonitor: {enabled: true, interval: 1d}}", "interval"},
		{"monitoring: {serviceMonitor: {enabled: true, scrapeTimeout: 10s}}", "give both"},
		{"pod: {terminationGracePeriodSeconds: 34}", "terminationGracePeriodSeconds"},
		{"pod: {terminationGracePeriodSeconds: 35}", ""},
		{"pod: {dnsPolicy: None}", "needs dnsConfig"},
		{"pod: {dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.53]}}", ""},
		{"pod: {dnsPolicy: ClusterFirstWithHostNet}", "Unsupported value"},
		{"pod: {containers: [{name: a, image: b, any: thing}]}", ""},
		{"pod: {containers: [a]}", "containers"},
		{"pod: {probes: {startup: {failureThreshold: 600}, liveness: {periodSeconds: 0}}}", "periodSeconds"},
		{"pod: {labels: {team: 'a b'}}", "pod.labels.team"},
		{"pod: {labels: {team: " + strings.Repeat("a", 64) + "}}", "pod.labels.team"},
		{"pod: {labels: {'a//b': x}}", "a label's key"},
		{"pod: {labels: {'a..b/c': x}}", "a label's key"},
		{"pod: {labels: {example.com/team_a: '', b: A.b_c-1}}", ""},
		{"pod: {annotations: {packregistry.dev/x: z}}", "are the operator's"},
		{"pod: {securityContext: {runAsUser: 0}}", "runAsUser"},
		{"log: {level: loud}", "Unsupported value"},
		{"nonsense: 1", "unknown field"},
	} {
		t.Run(tt.changes, func(t *testing.T) {
			u := registryWith(t, namespace, fmt.Sprintf("v%d", i), tt.changes)
			err := api.Create(t.Context(), u, client.FieldValidation("Strict"))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
	for _, name := range []string{"Upper", "1st", "a.b", "-a", strings.Repeat("a", 51)} {
		if err := api.Create(t.Context(), registryWith(t, namespace, name, "")); err == nil {
			t.Errorf("the name %q is accepted", name)
		}
	}
}

func inBucket(s3 string) string { return "storage: {persistentVolumeClaim: null, s3: {" + s3 + "}}" }

// What cannot be changed, and what can.
func TestAPITransitions(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	for i, tt := range []struct{ before, after, want string }{
		{"", "storage: {persistentVolumeClaim: {size: 2Gi}}", ""},
		{"", "storage: {persistentVolumeClaim: {size: 1024Mi}}", ""},
		{"", "storage: {persistentVolumeClaim: {size: 1Mi}}", "not shrink"},
		{"", "storage: {persistentVolumeClaim: {storageClassName: fast}}", "storageClassName cannot be changed"},
		{"", "storage: {persistentVolumeClaim: {accessModes: [ReadWriteMany]}}", "accessModes cannot be changed"},
		{"", "storage: {persistentVolumeClaim: {size: null, claimName: c}}", "claimName cannot be changed"},
		{"", "storage: {persistentVolumeClaim: {dataSource: {kind: PersistentVolumeClaim, name: s}}}", "dataSource cannot be changed"},
		{"", "storage: {persistentVolumeClaim: {deletionPolicy: Delete}}", ""},
		{"", "storage: {persistentVolumeClaim: null, inMemory: {}}", "kind of storage cannot be changed"},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: other, region: r"), "cannot be changed"},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, region: r, rootDirectory: x"), "cannot be changed"},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, region: r, storageClass: x"), ""},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, region: s"), "endpoint and region cannot be changed"},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, region: s, movedFrom: AWS"), ""},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, endpoint: 'https://a'"), "endpoint and region cannot be changed"},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, endpoint: 'https://a', movedFrom: AWS"), ""},
		{inBucket("bucket: packs, region: r"), inBucket("bucket: packs, endpoint: 'https://a', movedFrom: 'https://a'"), "which may use the same bucket"},
		{inBucket("bucket: packs, endpoint: 'https://a'"), inBucket("bucket: packs, endpoint: 'https://b'"), "say so with movedFrom"},
		{inBucket("bucket: packs, endpoint: 'https://a'"), inBucket("bucket: packs, endpoint: 'https://b', movedFrom: 'https://a'"), ""},
		{inBucket("bucket: packs, endpoint: 'https://b', movedFrom: 'https://a'"), inBucket("bucket: packs, endpoint: 'https://c', movedFrom: 'https://a'"), "cannot be changed"},
		{inBucket("bucket: packs, endpoint: 'https://b', movedFrom: 'https://a'"), inBucket("bucket: packs, endpoint: 'https://b'"), ""},
		{inBucket("bucket: packs, endpoint: 'https://b', movedFrom: 'https://a'"), inBucket("bucket: other, endpoint: 'https://c', movedFrom: 'https://b'"), "bucket and rootDirectory cannot be changed"},
		{"", "tls: {secretRef: {name: other}}", ""},
		{"service: {clusterIP: 10.0.0.7}", "service: {clusterIP: 10.0.0.8}", "clusterIP cannot be changed"},
		{"service: {clusterIP: 10.0.0.7}", "service: {}", ""},
		{"service: {ipFamilies: [IPv4]}", "service: {ipFamilies: [IPv6]}", "first of ipFamilies cannot be changed"},
		{"service: {ipFamilies: [IPv4]}", "service: {ipFamilies: [IPv4, IPv6], ipFamilyPolicy: PreferDualStack}", ""},
		{"service: {type: LoadBalancer}", "service: {type: LoadBalancer, loadBalancerClass: a}", "loadBalancerClass cannot be changed"},
		{"service: {type: LoadBalancer, loadBalancerClass: a}", "service: {type: LoadBalancer}", "loadBalancerClass cannot be changed"},
		{"service: {type: LoadBalancer, loadBalancerClass: a}", "service: {type: ClusterIP}", ""},
		{"service: {type: LoadBalancer, loadBalancerClass: a}", "", ""},
		{"", "service: {type: LoadBalancer, loadBalancerClass: a}", ""},
	} {
		t.Run(tt.after, func(t *testing.T) {
			name := fmt.Sprintf("t%d", i)
			before := registryWith(t, namespace, name, tt.before)
			must(t, api.Create(t.Context(), before))
			after := registryWith(t, namespace, name, tt.after)
			after.SetResourceVersion(before.GetResourceVersion())
			err := api.Update(t.Context(), after)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

// Labels and annotations of spec.metadata are on every child, and in no selector; what is not asked for any more goes.
func TestAPIMetadataOfChildren(t *testing.T) {
	needAPI(t)
	o, r := onBucket(t, 2)
	installKinds(t, serviceMonitorCRD)
	patchSpec(t, r, `{"ingress":{},"networkPolicy":{"enabled":true},"monitoring":{"serviceMonitor":{"enabled":true}},
		"service":{"annotations":{"example.com/of":"service"}},"metadata":{"labels":{"cost-center":"7"},"annotations":{"example.com/of":"all"}}}`)
	monitor := emptyOfKind(children.ServiceMonitorKind.WithVersion("v1"))
	monitor.SetName(r.Name)
	named := func(o client.Object, name string) client.Object {
		o.SetName(name)
		return o
	}
	all := []client.Object{
		named(&appsv1.Deployment{}, r.Name), named(&corev1.Service{}, r.Name), named(&corev1.Service{}, children.MetricsServiceName(r)),
		named(&corev1.Secret{}, children.UsersName(r)), named(&corev1.ConfigMap{}, children.AuthorityName(r)),
		named(&corev1.Secret{}, children.AuthorityName(r)), named(&corev1.Secret{}, children.TLSSecret(r)),
		named(&policyv1.PodDisruptionBudget{}, r.Name), named(&networkingv1.Ingress{}, r.Name), named(&networkingv1.NetworkPolicy{}, r.Name), monitor,
	}
	want := func(label, annotation string) {
		t.Helper()
		for _, child := range all {
			eventually(t, fmt.Sprintf("%T %s has what the spec asks for", child, child.GetName()), func() error {
				live := get(t, r.Namespace, child.GetName(), child.DeepCopyObject().(client.Object))
				want := annotation
				if _, ok := live.(*corev1.Service); ok && live.GetName() == r.Name {
					want = "service"
				}
				if got := live.GetAnnotations()["example.com/of"]; live.GetLabels()["cost-center"] != label || got != want || live.GetLabels()[children.LabelRegistry] != r.Name {
					return fmt.Errorf("%v, %v", live.GetLabels(), live.GetAnnotations())
				}
				return nil
			})
		}
	}
	want("7", "all")
	if d := get(t, r.Namespace, r.Name, &appsv1.Deployment{}); d.Spec.Template.Labels["cost-center"] != "" || len(d.Spec.Selector.MatchLabels) != 2 {
		t.Errorf("the Deployment selects %v, and pods have %v", d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
	}
	if s := get(t, r.Namespace, r.Name, &corev1.Service{}); len(s.Spec.Selector) != 2 {
		t.Errorf("the Service selects %v", s.Spec.Selector)
	}
	o.settle(t)
	o.stop()
	again := startOperator(t, r.Namespace)
	again.settle(t)
	if n := again.writes.Load(); n != 0 {
		t.Errorf("%d writes after a restart", n)
	}
	patchSpec(t, r, `{"metadata":null}`)
	want("", "")
}

// Certificates to trust may be in a ConfigMap: a pod mounts it, and what is wrong with it is told by its kind.
func TestAPICertificatesToTrustInAConfigMap(t *testing.T) {
	_, r := ready(t)
	patchSpec(t, r, `{"tls":{"clientCARef":{"kind":"ConfigMap","name":"trusted"}}}`)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "ConfigMap trusted does not exist")
	ca := certificateSecret(t, r.Namespace, "ca", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)).Data[corev1.TLSCertKey]
	must(t, api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "trusted", Namespace: r.Namespace}, Data: map[string]string{"ca.crt": string(ca)}}))
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // it is looked at again at once, and within a minute without
	eventually(t, "pods mount the ConfigMap", func() error {
		for _, v := range get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.Volumes {
			if v.ConfigMap != nil && v.ConfigMap.Name == "trusted" {
				return nil
			}
		}
		return fmt.Errorf("they do not")
	})
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionTrue, v1alpha1.ReasonCertificateValid)
}

// A sidecar, a volume and what else spec.pod adds are applied once and for all: nothing is written again, also by an operator that
// has just started. What they have that the API server refuses is told as that.
func TestAPIPodAdditions(t *testing.T) {
	o, r := ready(t)
	patchSpec(t, r, `{"pod":{"containers":[{"name":"beside","image":"sidecar:1","ports":[{"containerPort":9999}],"resources":{"requests":{"cpu":"0.1"}}}],
		"initContainers":[{"name":"first","image":"init:1"}],"volumes":[{"name":"extra","emptyDir":{"sizeLimit":"1024Mi"}}],"volumeMounts":[{"name":"extra","mountPath":"/extra"}],
		"hostAliases":[{"ip":"192.0.2.9","hostnames":["minio"]}],"dnsPolicy":"None","dnsConfig":{"nameservers":["192.0.2.53"]},"schedulerName":"other",
		"probes":{"liveness":{"periodSeconds":30}},"securityContext":{"supplementalGroups":[5]}}}`)
	eventually(t, "the pods have all of it", func() error {
		spec := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec
		if len(spec.Containers) != 2 || spec.Containers[0].Name != "registry" || len(spec.InitContainers) != 1 || spec.SchedulerName != "other" ||
			spec.Containers[0].LivenessProbe.PeriodSeconds != 30 || *spec.SecurityContext.RunAsUser != 65532 {
			return fmt.Errorf("%+v", spec)
		}
		return nil
	})
	rollOut(t, r.Namespace, r.Name)
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	o.settle(t)
	o.stop()
	again := startOperator(t, r.Namespace)
	again.settle(t)
	if n := again.writes.Load(); n != 0 {
		t.Errorf("%d writes after a restart", n)
	}
	if live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}); live.Status.Image != "registry:test" {
		t.Errorf("status.image is %s", live.Status.Image)
	}
	// The platform's ids, by null as by {}: the API server keeps a null that may be one.
	for _, platform := range []string{`null`, `{}`} {
		patch := []byte(`[{"op":"add","path":"/spec/pod/securityContext","value":` + platform + `}]`)
		must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)))
		eventually(t, "the ids are the platform's with "+platform, func() error {
			if c := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.SecurityContext; c.RunAsUser != nil || c.RunAsGroup != nil || c.FSGroup != nil {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		patchSpec(t, r, `{"pod":{"securityContext":{"runAsUser":7}}}`)
		eventually(t, "they are not", func() error {
			if c := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.SecurityContext; c.RunAsUser == nil || *c.RunAsUser != 7 || c.FSGroup == nil {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
	}
	patchSpec(t, r, `{"pod":{"containers":[{"name":"beside"}]}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "Deployment packs was refused", "image")
}

// What the operator decodes is told by its path where it cannot be.
func TestAPIWhatDoesNotDecodeIsToldByItsPath(t *testing.T) {
	_, r := ready(t)
	for _, tt := range []struct{ spec, mend, words string }{
		{`{"networkPolicy":{"enabled":true,"ingress":[{},{"frm":[]}]}}`, `{"networkPolicy":null}`, `spec.networkPolicy.ingress[1]: unknown field "frm"`},
		{`{"networkPolicy":{"enabled":true,"ingress":[{"from":[{"ipBlock":{"cidr":5}}]}]}}`, `{"networkPolicy":null}`, `spec.networkPolicy.ingress[0].from.ipBlock.cidr: number cannot be of type string`},
		{`{"pod":{"containers":[{"name":"a","imagePulPolicy":"Always"}]}}`, `{"pod":null}`, `spec.pod.containers[0]: unknown field "imagePulPolicy"`},
		{`{"pod":{"volumes":[{"name":"data","emptyDir":{}}]}}`, `{"pod":null}`, `spec.pod.volumes[0].name: data is the operator's`},
	} {
		patchSpec(t, r, tt.spec)
		wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid, tt.words)
		patchSpec(t, r, tt.mend)
		wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// Other programs apply PackRegistries by generated configurations: what they say is what they own.
func TestAPIApplyConfiguration(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	wanted := func() *v1alpha1apply.PackRegistryApplyConfiguration { // the client writes the answer into what it is given
		return v1alpha1apply.PackRegistry("packs", namespace).WithLabels(map[string]string{"a": "b"}).WithSpec(v1alpha1apply.PackRegistrySpec().
			WithHosts("packs.example.com").
			WithStorage(v1alpha1apply.StorageSpec().WithPersistentVolumeClaim(v1alpha1apply.PersistentVolumeClaimSpec().WithSize(resource.MustParse("1Gi")))).
			WithAuth(v1alpha1apply.AuthSpec().WithSecretRefs(v1alpha1apply.AuthSecretRef().WithName("users"))).
			WithTLS(v1alpha1apply.TLSSpec().WithSelfSigned(v1alpha1.SelfSignedSpec{})).
			WithPod(v1alpha1apply.PodSpec().WithVolumes(&v1alpha1apply.ObjectApplyConfiguration{RawExtension: runtime.RawExtension{Raw: []byte(`{"emptyDir":{},"name":"v"}`)}})))
	}
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test")))
	live := get(t, namespace, "packs", &v1alpha1.PackRegistry{})
	if len(live.Spec.Pod.Volumes) != 1 || live.Spec.TLS.SelfSigned == nil || live.Spec.Storage.PersistentVolumeClaim.Size.String() != "1Gi" {
		t.Errorf("%+v", live.Spec)
	}
	owned, err := v1alpha1apply.ExtractPackRegistry(live, "test")
	must(t, err)
	if got, want := asJSON(t, owned), asJSON(t, wanted()); got != want {
		t.Errorf("owns\n%s\nand applied\n%s", got, want)
	}
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test"))) // which stores the status's default
	version := get(t, namespace, "packs", &v1alpha1.PackRegistry{}).ResourceVersion
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test")))
	if again := get(t, namespace, "packs", &v1alpha1.PackRegistry{}); again.ResourceVersion != version {
		t.Error("the same again is another object")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return string(data)
}

func TestAPIStatusIsUnknownBeforeTheFirstLook(t *testing.T) {
	needAPI(t)
	r := newRegistry(newNamespace(t))
	must(t, api.Create(t.Context(), r))
	if r.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration %d", r.Status.ObservedGeneration)
	}
	wantKstatus(t, r, status.InProgressStatus)
}

func wantKstatus(t *testing.T, r *v1alpha1.PackRegistry, want status.Status) {
	t.Helper()
	eventually(t, "kstatus "+string(want), func() error {
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), u); err != nil {
			return err
		}
		got, err := status.Compute(u)
		if err == nil && got.Status != want {
			err = fmt.Errorf("%s: %s", got.Status, got.Message)
		}
		return err
	})
}

func wantCondition(t *testing.T, r *v1alpha1.PackRegistry, kind string, want metav1.ConditionStatus, reason string, words ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s=%s (%s)", kind, want, reason), func() error {
		live := &v1alpha1.PackRegistry{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), live); err != nil {
			return err
		}
		c := meta.FindStatusCondition(live.Status.Conditions, kind)
		if c == nil || c.Status != want || c.Reason != reason {
			return fmt.Errorf("%+v", c)
		}
		for _, w := range words {
			if !strings.Contains(c.Message, w) {
				return fmt.Errorf("the message lacks %q: %s", w, c.Message)
			}
		}
		return nil
	})
}

// ready brings a PackRegistry to Ready in a namespace of its own.
func ready(t *testing.T) (*operator, *v1alpha1.PackRegistry) {
	t.Helper()
	needAPI(t)
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	return o, r
}

func TestAPIReconcile(t *testing.T) {
	_, r := ready(t)
	wantKstatus(t, r, status.CurrentStatus)
	live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
	s := live.Status
	if s.URL != "https://packs."+r.Namespace+".svc" || s.Image != "registry:test" || s.ReadyReplicas != 1 ||
		s.Storage != "PersistentVolumeClaim/packs-data" || s.Certificate == nil || s.Certificate.DNSNames[0] != "packs.example.com" {
		t.Errorf("status %+v", s)
	}
	for _, kind := range []string{v1alpha1.ConditionReconciling, v1alpha1.ConditionStalled} {
		if meta.FindStatusCondition(s.Conditions, kind) != nil {
			t.Errorf("%s is there though it is not true", kind)
		}
	}
	if claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}); len(claim.OwnerReferences) > 0 {
		t.Error("a retained claim would be deleted with its PackRegistry")
	}
	for _, c := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}} {
		if controller := metav1.GetControllerOf(get(t, r.Namespace, r.Name, c)); controller == nil || controller.UID != r.UID {
			t.Errorf("%T has the controller %v", c, controller)
		}
	}
}

func TestAPIDeletionPolicy(t *testing.T) {
	_, r := ready(t)
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
	eventually(t, "the claim goes with its PackRegistry", func() error {
		if claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}); len(claim.OwnerReferences) != 1 {
			return fmt.Errorf("owners %v", claim.OwnerReferences)
		}
		return nil
	})
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`)
	eventually(t, "and stays again", func() error {
		if claim := get(t, r.Namespace, "packs-data", &corev1.PersistentVolumeClaim{}); len(claim.OwnerReferences) != 0 {
			return fmt.Errorf("owners %v", claim.OwnerReferences)
		}
		return nil
	})
}

func patchSpec(t *testing.T, r *v1alpha1.PackRegistry, patch string) {
	t.Helper()
	must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":`+patch+`}`))))
}

// versions are the resourceVersions of all that the operator made.
func versions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, list := range []client.ObjectList{&v1alpha1.PackRegistryList{}, &appsv1.DeploymentList{}, &corev1.ServiceList{}, &corev1.SecretList{}, &corev1.PersistentVolumeClaimList{}} {
		must(t, api.List(t.Context(), list, client.InNamespace(namespace)))
		must(t, meta.EachListItem(list, func(o runtime.Object) error {
			object := o.(client.Object)
			all[fmt.Sprintf("%T/%s", o, object.GetName())] = object.GetResourceVersion()
			return nil
		}))
	}
	return all
}

func TestAPISecondReconcileWritesNothing(t *testing.T) {
	o, r := ready(t)
	o.settle(t)
	before, writes, reconciles := versions(t, r.Namespace), o.writes.Load(), o.reconciles.Load()
	// Something that starts a reconcile without changing anything that matters.
	d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	must(t, api.Patch(t.Context(), d, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"somebody":"looked"}}}`))))
	before["*v1.Deployment/packs"] = d.ResourceVersion
	eventually(t, "another reconcile", func() error {
		if o.reconciles.Load() == reconciles {
			return fmt.Errorf("still %d", reconciles)
		}
		return nil
	})
	o.settle(t)
	if got := o.writes.Load() - writes; got != 0 {
		t.Errorf("%d writes", got)
	}
	// Nor does one by an operator that has just started and remembers nothing.
	o.stop()
	again := startOperator(t, r.Namespace)
	again.settle(t)
	if got := again.writes.Load(); got != 0 {
		t.Errorf("%d writes after a restart", got)
	}
	if after := versions(t, r.Namespace); !maps.Equal(before, after) {
		t.Errorf("objects were written:\n%v\n%v", before, after)
	}
}

func TestAPIEachDeletedChildComesBack(t *testing.T) {
	_, r := ready(t)
	deployment := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	config := ""
	for _, v := range deployment.Spec.Template.Spec.Volumes {
		if v.Name == "config" {
			config = v.Secret.SecretName
		}
	}
	for _, child := range []client.Object{
		deployment,
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-users"}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: config}},
		&corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "packs-data"}},
	} {
		t.Run(fmt.Sprintf("%T/%s", child, child.GetName()), func(t *testing.T) {
			old := get(t, r.Namespace, child.GetName(), child.DeepCopyObject().(client.Object))
			old.SetFinalizers(nil)
			must(t, api.Update(t.Context(), old)) // claims are protected until a controller, which is not here, lets go
			must(t, client.IgnoreNotFound(api.Delete(t.Context(), old)))
			eventually(t, "it comes back", func() error {
				now := child.DeepCopyObject().(client.Object)
				if err := api.Get(t.Context(), client.ObjectKey{Namespace: r.Namespace, Name: child.GetName()}, now); err != nil {
					return err
				}
				if now.GetUID() == old.GetUID() {
					return fmt.Errorf("it is still the old one")
				}
				return nil
			})
		})
	}
}

func TestAPIDriftIsCorrected(t *testing.T) {
	_, r := ready(t)
	d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	must(t, api.Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType,
		[]byte(`{"spec":{"template":{"spec":{"enableServiceLinks":true,"containers":[{"name":"registry","image":"evil"}]}}}}`))))
	eventually(t, "the image is ours again", func() error {
		spec := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec
		if spec.Containers[0].Image != "registry:test" || *spec.EnableServiceLinks {
			return fmt.Errorf("%s, %v", spec.Containers[0].Image, *spec.EnableServiceLinks)
		}
		return nil
	})
	s := get(t, r.Namespace, r.Name, &corev1.Service{})
	must(t, api.Patch(t.Context(), s, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"selector":{"app.kubernetes.io/instance":"other"}}}`))))
	eventually(t, "the selector is ours again", func() error {
		if got := get(t, r.Namespace, r.Name, &corev1.Service{}).Spec.Selector["app.kubernetes.io/instance"]; got != "packs" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
}

// What is others' to set stays as they set it.
func TestAPIFieldsOfOthersAreLeftAlone(t *testing.T) {
	o, r := ready(t)
	d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	must(t, api.Patch(t.Context(), d, client.RawPatch(types.StrategicMergePatchType, []byte(`{"spec":{"replicas":3,"template":{
		"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}},
		"spec":{"containers":[{"name":"sidecar","image":"proxy"}]}}}}`)), client.FieldOwner("autoscaler")))
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // makes the operator apply the Deployment
	eventually(t, "the new configuration is applied", func() error {
		if now := get(t, r.Namespace, r.Name, &appsv1.Deployment{}); now.Spec.Template.Labels[children.LabelConfig] == d.Spec.Template.Labels[children.LabelConfig] {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	o.settle(t)
	now := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
	if *now.Spec.Replicas != 3 || now.Spec.Template.Annotations["kubectl.kubernetes.io/restartedAt"] != "now" || len(now.Spec.Template.Spec.Containers) != 2 {
		t.Errorf("replicas %d, annotations %v, %d containers", *now.Spec.Replicas, now.Spec.Template.Annotations, len(now.Spec.Template.Spec.Containers))
	}
}

func TestAPIMissingSecretsAreToldAndWaitedFor(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	startOperator(t, namespace)
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "Secret users does not exist")
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "Secret certificate does not exist")
	wantCondition(t, r, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonSecretMissing)
	wantKstatus(t, r, status.InProgressStatus)
	must(t, api.Create(t.Context(), usersSecret(namespace, "ann:plain")))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonSecretInvalid, "line 1", "bcrypt")
	must(t, api.Update(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	get(t, namespace, "packs", &appsv1.Deployment{}) // nobody had to ask for it again
}

func TestAPIUsersFollowTheirSecretAndOutliveIt(t *testing.T) {
	_, r := ready(t)
	line := htpasswdLine(t, "bob", "p")
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, line)))
	merged := func() string {
		return string(get(t, r.Namespace, "packs-registry-users", &corev1.Secret{}).Data["htpasswd"])
	}
	eventually(t, "the new user is merged", func() error {
		if got := merged(); got != line+"\n" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	must(t, api.Delete(t.Context(), usersSecret(r.Namespace, "")))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonLastGoodUsers, "Secret users does not exist", "stay")
	wantCondition(t, r, v1alpha1.ConditionDegraded, metav1.ConditionTrue, v1alpha1.ReasonLastGoodUsers, "Secret users does not exist", "stay")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	wantKstatus(t, r, status.CurrentStatus)
	eventually(t, "a metric says that it is degraded", func() error {
		if !measured(t, r.Namespace, "packregistry_degraded") {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	if merged() != line+"\n" {
		t.Error("the last good users are gone")
	}
	must(t, api.Create(t.Context(), usersSecret(r.Namespace, line)))
	eventually(t, "nothing is degraded any more", func() error {
		must(t, api.Get(t.Context(), client.ObjectKeyFromObject(r), r))
		if c := meta.FindStatusCondition(r.Status.Conditions, v1alpha1.ConditionDegraded); c != nil || measured(t, r.Namespace, "packregistry_degraded") {
			return fmt.Errorf("%v", c)
		}
		return nil
	})
}

// Events tell transitions, each once, and hold no secret.
func TestAPIEvents(t *testing.T) {
	o, r := ready(t)
	must(t, api.Delete(t.Context(), usersSecret(r.Namespace, "")))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionFalse, v1alpha1.ReasonLastGoodUsers)
	must(t, api.Create(t.Context(), usersSecret(r.Namespace, htpasswdLine(t, "ann", "secret"))))
	wantCondition(t, r, v1alpha1.ConditionAuthReady, metav1.ConditionTrue, v1alpha1.ReasonUsersKnown)
	o.settle(t)
	eventually(t, "all events are there", func() error {
		list := &eventsv1.EventList{}
		if err := api.List(t.Context(), list, client.InNamespace(r.Namespace)); err != nil {
			return err
		}
		seen := map[string]int{}
		for _, e := range list.Items {
			if e.Regarding.UID != r.UID {
				continue
			}
			if strings.Contains(e.Note, "$2") {
				t.Errorf("an event shows a hash: %s", e.Note)
			}
			seen[e.Type+" "+e.Reason]++
			if e.Series != nil {
				seen[e.Type+" "+e.Reason] += int(e.Series.Count) - 1
			}
		}
		// Ready once: it was all the while.
		want := map[string]int{"Normal Ready": 1, "Warning LastGoodUsers": 1, "Normal UsersKnown": 1}
		if !maps.Equal(seen, want) {
			return fmt.Errorf("%v, want %v", seen, want)
		}
		return nil
	})
}

func TestAPIForeignObjectsAreNotTakenOver(t *testing.T) {
	needAPI(t)
	namespace := newNamespace(t)
	startOperator(t, namespace)
	foreign := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: namespace}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	must(t, api.Create(t.Context(), foreign))
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "Service packs exists already")
	wantKstatus(t, r, status.FailedStatus)
	now := get(t, namespace, "packs", &corev1.Service{})
	if now.ResourceVersion != foreign.ResourceVersion {
		t.Error("the foreign Service was written to")
	}
}

// A PackRegistry that is deleted and made again at once waits for the garbage collector instead of giving up.
func TestAPIChildrenOfAnEarlierRegistryAreWaitedFor(t *testing.T) {
	_, r := ready(t)
	must(t, api.Delete(t.Context(), r.DeepCopy()))
	again := newRegistry(r.Namespace)
	must(t, api.Create(t.Context(), again))
	wantCondition(t, again, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonProgressing, "earlier PackRegistry")
	wantKstatus(t, again, status.InProgressStatus)
	for _, child := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "packs-registry-users"}}} {
		child.SetNamespace(r.Namespace)
		if child.GetName() == "" {
			child.SetName(r.Name)
		}
		must(t, api.Delete(t.Context(), child)) // as the garbage collector would
	}
	configs := &corev1.SecretList{}
	must(t, api.List(t.Context(), configs, client.InNamespace(r.Namespace), client.HasLabels{children.LabelConfig}))
	for i := range configs.Items {
		must(t, api.Delete(t.Context(), &configs.Items[i]))
	}
	eventually(t, "the new one has a Deployment of its own", func() error {
		d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
		if controller := metav1.GetControllerOf(d); controller == nil || controller.UID != again.UID {
			return fmt.Errorf("controlled by %v", controller)
		}
		return nil
	})
}

func TestAPIConfigurationsOfThePastAreDeleted(t *testing.T) {
	o, r := ready(t)
	patchSpec(t, r, `{"headers":{"X-Test":["1"]}}`)
	eventually(t, "one configuration is left", func() error {
		configs := &corev1.SecretList{}
		if err := api.List(t.Context(), configs, client.InNamespace(r.Namespace), client.HasLabels{children.LabelConfig}); err != nil {
			return err
		}
		// Without a Deployment controller there are no ReplicaSets that would keep the older one.
		if len(configs.Items) != 1 || !strings.Contains(string(configs.Items[0].Data["config.yml"]), "X-Test") {
			return fmt.Errorf("%d", len(configs.Items))
		}
		return nil
	})
	o.settle(t)
}

func TestAPISuspend(t *testing.T) {
	o, r := ready(t)
	patchSpec(t, r, `{"suspend":true,"log":{"level":"debug"}}`)
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended)
	wantKstatus(t, r, status.CurrentStatus)
	o.settle(t)
	before := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).ResourceVersion
	patchSpec(t, r, `{"suspend":false}`)
	eventually(t, "what was changed meanwhile is applied", func() error {
		if get(t, r.Namespace, r.Name, &appsv1.Deployment{}).ResourceVersion == before {
			return fmt.Errorf("not yet")
		}
		return nil
	})
}

func TestAPIPodsAreWokenOncePerChange(t *testing.T) {
	o, r := ready(t)
	labels := children.Labels(r)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "packs-1", Namespace: r.Namespace, Labels: labels},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "registry", Image: "registry:test"}}}}
	must(t, api.Create(t.Context(), pod))
	pod.Status.Phase = corev1.PodRunning
	must(t, api.Status().Update(t.Context(), pod))
	seen := func() string {
		return get(t, r.Namespace, "packs-1", &corev1.Pod{}).Annotations[children.AnnotationSecrets]
	}
	eventually(t, "it is annotated", func() error {
		if seen() == "" {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	o.settle(t)
	first, writes := seen(), o.writes.Load()
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, htpasswdLine(t, "bob", "p"))))
	eventually(t, "it is woken", func() error {
		if seen() == first {
			return fmt.Errorf("not yet")
		}
		return nil
	})
	o.settle(t)
	if got := o.writes.Load() - writes; got != 2 { // the merged users, and the pod
		t.Errorf("%d writes for one change", got)
	}
}

func TestAPICustomResourceIsSmall(t *testing.T) {
	needAPI(t)
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	must(t, api.Get(t.Context(), client.ObjectKey{Name: "packregistries.packregistry.dev"}, crd))
	crd.SetManagedFields(nil)
	text, err := json.Marshal(crd)
	must(t, err)
	if len(text) > 200_000 {
		t.Errorf("%d bytes: client-side apply fails at 262144", len(text))
	}
}

func TestAPISamplesAreAccepted(t *testing.T) {
	needAPI(t)
	var applied []string
	for _, u := range readSamples(t) {
		u.SetNamespace(newNamespace(t))
		must(t, api.Create(t.Context(), u, client.FieldValidation("Strict")))
		applied = append(applied, u.GetKind())
	}
	if !slices.Contains(applied, "PackRegistry") || !slices.Contains(applied, "Secret") {
		t.Errorf("applied %v", applied)
	}
}
