package controllers

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
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
	t.Parallel()
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
		{"packs: {basePaths: [prod, team/b, a.b_c__d--e/0]}", ""},
		{"packs: {basePaths: []}", ""},
		{"packs: {basePaths: [prod, prod]}", "Duplicate value"},
		{"packs: {basePaths: [Prod]}", "packs.basePaths[0]"},
		{"packs: {basePaths: [prod/]}", "packs.basePaths[0]"},
		{"packs: {basePaths: ['']}", "packs.basePaths[0]"},
		{"packs: {basePaths: [prod/spectro-packs/archive]}", "leave spectro-packs out"},
		{"packs: {basePaths: [spectro-packs]}", "leave spectro-packs out"},
		{"packs: {basePaths: [my-spectro-packs, spectro-packs-2]}", ""},
		{"packs: {basePaths: [" + strings.Repeat("a", 101) + "]}", "packs.basePaths[0]"},
		{"packs: {basePaths: [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q]}", "must have at most 16 items"},
		{"ui: {enabled: false, title: " + strings.Repeat("ä", 60) + ", actions: [delete, tag, untag]}", ""},
		{"ui: {title: '', actions: []}", ""},
		{"ui: {title: " + strings.Repeat("ä", 61) + "}", "ui.title"},
		{`ui: {title: "two\nlines"}`, "ui.title"},
		{`ui: {title: "line\n"}`, "ui.title"},
		{`ui: {title: "\u0085"}`, "ui.title"},
		{"ui: {actions: [push]}", "ui.actions[0]"},
		{"ui: {actions: [tag, tag]}", "Duplicate value"},
		{"ui: {actions: tag}", "ui.actions"},
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
	t.Parallel()
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
		{"", "pod: {hostAliases: [{ip: 192.0.2.1, hostnames: [a]}, {ip: 192.0.2.1, hostnames: [b]}]}", "Duplicate value"},
		{"", "pod: {imagePullSecrets: [{name: a}, {name: a}]}", "Duplicate value"},
		{"", "pod: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: DoNotSchedule}]}", "Duplicate value"},
		{"", "pod: {topologySpreadConstraints: [{maxSkew: 1, topologyKey: a, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 2, topologyKey: a, whenUnsatisfiable: ScheduleAnyway}]}", ""},
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
