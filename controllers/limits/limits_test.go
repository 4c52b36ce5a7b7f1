package limits

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"packregistry.dev/api/v1alpha1"
)

const released = "packregistry.dev/registry:1.0.0"

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		name, spec                     string
		images, annotations, podFields string
		refused                        []string // words of each, in this order
	}{
		{"nothing is asked for", `{}`, "", "default", "default", nil},
		{"another release", `{"image":"packregistry.dev/registry:2.0.0"}`, "", "default", "default", nil},
		{"a digest", `{"image":"packregistry.dev/registry@sha256:00"}`, "", "default", "default", nil},
		{"a longer name", `{"image":"packregistry.dev/registry2:1.0.0"}`, "", "default", "default", []string{"spec.image is not allowed: there may be images of packregistry.dev/registry;"}},
		{"a repository below", `{"image":"packregistry.dev/registry/x"}`, "", "default", "default", []string{"spec.image"}},
		{"the name at another host", `{"image":"evil.example.com/packregistry.dev/registry:1.0.0"}`, "", "default", "default", []string{"spec.image"}},
		{"a port is no tag", `{"image":"packregistry.dev:1/registry"}`, "", "default", "default", []string{"spec.image"}},
		{"a mirror", `{"image":"mirror.example.com/registry:1.0.0"}`, "mirror.example.com/registry", "default", "default", nil},
		{"all of a mirror", `{"image":"mirror.example.com/a/b@sha256:00"}`, "mirror.example.com/*", "default", "default", nil},
		{"one reference", `{"image":"mirror.example.com/registry:2"}`, "mirror.example.com/registry:1", "default", "default", []string{"spec.image"}},
		{"any image", `{"image":"a"}`, "*", "default", "default", nil},

		{"how slow a transfer may be", `{"ingress":{"annotations":{"nginx.ingress.kubernetes.io/proxy-body-size":"0"}}}`, "", "default", "default", nil},
		{"a snippet", `{"ingress":{"annotations":{"nginx.ingress.kubernetes.io/configuration-snippet":"hush"}}}`, "", "default", "default",
			[]string{"spec.ingress.annotations[nginx.ingress.kubernetes.io/configuration-snippet]"}},
		{"a snippet for all", `{"metadata":{"annotations":{"nginx.ingress.kubernetes.io/server-snippet":"hush"}}}`, "", "default", "default", []string{"spec.metadata.annotations["}},
		{"a name of others", `{"service":{"annotations":{"external-dns.alpha.kubernetes.io/hostname":"hush"}}}`, "", "default", "default", []string{"spec.service.annotations["}},
		{"no profile", `{"pod":{"annotations":{"container.apparmor.security.beta.kubernetes.io/registry":"unconfined"}}}`, "", "default", "default", []string{"spec.pod.annotations["}},
		{"some more", `{"service":{"annotations":{"example.com/a":"","prometheus.io/port":""}}}`, "", "default,example.com/*", "default", nil},
		{"others instead", `{"service":{"annotations":{"example.com/a":"","prometheus.io/port":""}}}`, "", "example.com/a", "default", []string{"prometheus.io/port"}},

		{"what pods may have", `{"pod":{"resources":{"limits":{"cpu":"1"}},"tolerations":[{"operator":"Exists"}],"env":[{"name":"GOMEMLIMIT","value":"b"}],"securityContext":{"runAsUser":7,"supplementalGroups":[8]},"probes":{"liveness":{"periodSeconds":9}}}}`,
			"", "default", "default", nil},
		{"a Secret as a variable", `{"pod":{"env":[{"name":"TZ"},{"name":"POD_B","valueFrom":{"secretKeyRef":{"name":"hush","key":"hush"}}}]}}`, "", "default", "default",
			[]string{"spec.pod.env[1].valueFrom.secretKeyRef is not allowed"}},
		{"a setting as a variable", `{"pod":{"env":[{"name":"POD_B","valueFrom":{"configMapKeyRef":{"name":"a","key":"b"}}}]}}`, "", "default", "default", nil},
		{"where traces go", `{"pod":{"env":[{"name":"OTEL_EXPORTER_OTLP_ENDPOINT","value":"http://collector:4318"},{"name":"POD_NAME","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"OTEL_RESOURCE_ATTRIBUTES","value":"pod=$(POD_NAME)"}]}}`, "", "default", "default", nil},
		{"a file that is sent elsewhere", `{"pod":{"env":[{"name":"AWS_ROLE_ARN","value":"hush"},{"name":"AWS_WEB_IDENTITY_TOKEN_FILE","value":"/certs/tls.key"},{"name":"AWS_ENDPOINT_URL_STS","value":"hush"}]}}`, "", "default", "default",
			[]string{"spec.pod.env[0]: the variable AWS_ROLE_ARN is not allowed", "spec.pod.env[1]: the variable AWS_WEB_IDENTITY_TOKEN_FILE", "spec.pod.env[2]: the variable AWS_ENDPOINT_URL_STS"}},
		{"a kind of source that nobody knows yet", `{"pod":{"env":[{"name":"POD_B","valueFrom":{"fileKeyRef":{"volumeName":"a","path":"b","key":"c"}}}]}}`, "", "default", "default", []string{"env[0].valueFrom.fileKeyRef"}},
		{"other programs, other people's rights", `{"pod":{"serviceAccountName":"a","priorityClassName":"b","volumes":[{}],"volumeMounts":[{}],"initContainers":[{}],"containers":[{}]}}`, "", "default", "default",
			[]string{"priorityClassName", "serviceAccountName", "volumes", "volumeMounts", "initContainers", "containers"}},
		{"containers by permission, of the registry's image", `{"pod":{"containers":[{"name":"a","image":"packregistry.dev/registry:2"}]}}`, "", "default", "default,containers", nil},
		{"containers by permission, of other images", `{"pod":{"containers":[{"name":"a","image":"evil:1"}],"initContainers":[{"name":"b","image":"evil:2"}]}}`, "", "default", "default,containers,initContainers",
			[]string{"spec.pod.initContainers[0].image is not allowed: there may be images of packregistry.dev/registry", "spec.pod.containers[0].image is not allowed"}},
		{"containers by permission, of a mirror", `{"pod":{"containers":[{"name":"a","image":"mirror/b:1"}]}}`, "mirror/*", "default", "default,containers", nil},
		{"volumes by permission", `{"pod":{"volumes":[{"name":"a","secret":{"secretName":"b"}}]}}`, "", "default", "default,volumes", nil},
		{"directories of nodes", `{"pod":{"volumes":[{"name":"a","hostPath":{"path":"/"}}]}}`, "", "default", "default,volumes", []string{"spec.pod.volumes[0].hostPath is not allowed: who runs the operator can allow it (--allowed-pod-fields with volumes.hostPath"}},
		{"directories of nodes by permission", `{"pod":{"volumes":[{"name":"a","hostPath":{"path":"/"}}]}}`, "", "default", "default,volumes,volumes.hostPath", nil},
		{"a container that is held to what pods are", `{"pod":{"containers":[{"name":"a","ports":[{"containerPort":1}],"env":[{"name":"A","value":"b"},{"name":"B","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"envFrom":[{"configMapRef":{"name":"a"}}],
			"securityContext":{"privileged":false,"allowPrivilegeEscalation":false,"readOnlyRootFilesystem":true,"runAsNonRoot":true,"runAsUser":7,"runAsGroup":7,"capabilities":{"drop":["ALL"]},"procMount":"Default","seccompProfile":{"type":"RuntimeDefault"}}}]}}`, "", "default", "default,containers", nil},
		{"a container with the node's rights", `{"pod":{"containers":[{"name":"a","ports":[{"containerPort":1,"hostPort":1}],"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"hush","key":"hush"}}}],"envFrom":[{"secretRef":{"name":"hush"}}],
			"securityContext":{"privileged":true,"allowPrivilegeEscalation":true,"runAsNonRoot":false,"runAsUser":0,"runAsGroup":0,"capabilities":{"add":["SYS_ADMIN"]},"procMount":"Unmasked","seccompProfile":{"type":"Unconfined"},"appArmorProfile":{"type":"Unconfined"},"seLinuxOptions":{"type":"a"},"windowsOptions":{"hostProcess":true}}}]}}`, "", "default", "default,containers",
			[]string{"securityContext.privileged", "securityContext.allowPrivilegeEscalation", "securityContext.runAsNonRoot", "securityContext.runAsUser", "securityContext.runAsGroup", "securityContext.capabilities", "securityContext.procMount",
				"securityContext.seccompProfile", "securityContext.appArmorProfile", "securityContext.seLinuxOptions", "securityContext.windowsOptions is not allowed: who runs the operator can allow it (--allowed-pod-fields with containers.securityContext.windowsOptions",
				"spec.pod.containers[0].ports[0].hostPort", "spec.pod.containers[0].env[0].valueFrom.secretKeyRef", "spec.pod.containers[0].envFrom[0].secretRef is not allowed: who runs the operator can allow it (--allowed-pod-fields with env.valueFrom.secretKeyRef"}},
		{"as the user 0 before the registry", `{"pod":{"initContainers":[{"name":"a","securityContext":{"runAsUser":0}}]}}`, "", "default", "default,initContainers", []string{"spec.pod.initContainers[0].securityContext.runAsUser"}},
		{"as the user 0 by permission", `{"pod":{"initContainers":[{"name":"a","securityContext":{"runAsUser":0}}]}}`, "", "default", "default,initContainers,containers.securityContext.runAsUser", nil},
		{"volumes of the namespace", `{"pod":{"volumes":[{"name":"a"},{"name":"b","emptyDir":{}},{"name":"c","persistentVolumeClaim":{"claimName":"a"}},{"name":"d","projected":{"sources":[{"secret":{"name":"a"}},{"configMap":{"name":"a"}},{"downwardAPI":{}}]}}]}}`, "", "default", "default,volumes", nil},
		{"volumes that go elsewhere", `{"pod":{"volumes":[{"name":"a","nfs":{"server":"hush","path":"/"}},{"name":"b","csi":{"driver":"hush"}},{"name":"c","flexVolume":{"driver":"hush"}}]}}`, "", "default", "default,volumes", []string{"volumes[0].nfs", "volumes[1].csi", "volumes[2].flexVolume"}},
		{"a token as a volume", `{"pod":{"volumes":[{"name":"a","projected":{"sources":[{"secret":{"name":"a"}},{"serviceAccountToken":{"path":"token"}}]}}]}}`, "", "default", "default,volumes",
			[]string{"spec.pod.volumes[0].projected.sources[1].serviceAccountToken is not allowed: who runs the operator can allow it (--allowed-pod-fields with volumes.projected.serviceAccountToken"}},
		{"a token by permission", `{"pod":{"volumes":[{"name":"a","projected":{"sources":[{"serviceAccountToken":{"path":"token"}}]}}]}}`, "", "default", "default,volumes,volumes.projected.serviceAccountToken", nil},
		{"a relabeling of the own metrics", `{"monitoring":{"serviceMonitor":{"relabelings":[{"targetLabel":"team","replacement":"a"},{"action":"drop","sourceLabels":["__address__"]},{"targetLabel":"__tmp_a"}]}}}`, "", "default", "default", nil},
		{"an address of others", `{"monitoring":{"serviceMonitor":{"relabelings":[{"targetLabel":"__address__","replacement":"hush:1"},{"targetLabel":"namespace"},{"action":"Replace","targetLabel":"${1}"},{"action":"LabelMap","replacement":"__address__"},{"action":"labeldrop","regex":"namespace"}]}}}`, "", "default", "default",
			[]string{`spec.monitoring.serviceMonitor.relabelings[0].targetLabel: "__address__" is not allowed`, `relabelings[1].targetLabel: "namespace"`, "relabelings[2].targetLabel", `relabelings[3].action: "labelmap"`, "relabelings[4].action"}},
		{"an address of others by permission", `{"monitoring":{"serviceMonitor":{"relabelings":[{"targetLabel":"__address__"}]}}}`, "", "default", "default,monitoring.relabelings", nil},
		{"an image as a volume", `{"pod":{"volumes":[{"name":"a","image":{"reference":"evil:1"}}]}}`, "", "default", "default,volumes", []string{"spec.pod.volumes[0].image.reference is not allowed"}},
		{"an identity by permission", `{"pod":{"serviceAccountName":"a"}}`, "", "default", "default,serviceAccountName", nil},
		{"less than by default", `{"pod":{"tolerations":[{"operator":"Exists"}],"resources":{"limits":{"cpu":"1"}}}}`, "", "default", "resources", []string{"spec.pod.tolerations"}},
		{"everything", `{"image":"a","metadata":{"annotations":{"a":"b"},"labels":{"example.com/a":"b"}},"pod":{"containers":[{}],"env":[{"name":"B","valueFrom":{"secretKeyRef":{"name":"a","key":"b"}}}]}}`, "*", "*", "*", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			env, labels := DefaultWord, DefaultWord
			if tt.podFields == "*" {
				env, labels = "*", "*"
			}
			l, err := Parse(Flags{Images: tt.images, Annotations: tt.annotations, Labels: labels, Env: env, PodFields: tt.podFields})
			if err != nil {
				t.Fatal(err)
			}
			var spec v1alpha1.PackRegistrySpec
			if err := json.Unmarshal([]byte(tt.spec), &spec); err != nil {
				t.Fatal(err)
			}
			got := l.Refused(&spec, released)
			if len(got) != len(tt.refused) {
				t.Fatalf("refused: %q", got)
			}
			for i, words := range tt.refused {
				if !slices.ContainsFunc(got, func(why string) bool { return strings.Contains(why, words) }) || !strings.Contains(got[i], "--allowed-") || strings.Contains(got[i], "hush") {
					t.Errorf("%q: not %q", got, words)
				}
			}
			if none := (*Limits)(nil).Refused(&spec, released); none != nil {
				t.Errorf("refused without limits: %q", none)
			}
		})
	}
}

// Every field of a pod is either allowed by default or known here as one that is not: a new one is looked at.
func TestEveryPodFieldIsAllowedOrRefused(t *testing.T) {
	refused := []string{"containers", "monitoring.relabelings", "env.valueFrom.fileKeyRef", "env.valueFrom.secretKeyRef", "initContainers", "priorityClassName", "serviceAccountName", "volumeMounts", "volumes"}
	for _, field := range PodFields() {
		if strings.HasPrefix(field, "volumes.") || strings.HasPrefix(field, "containers.") {
			refused = append(refused, field)
		}
		if slices.Contains(DefaultPodFields, field) == slices.Contains(refused, field) {
			t.Errorf("%s is neither allowed nor refused by default, or both", field)
		}
	}
}

// None of the variables by which libraries within the registry read files, take another identity, ask another server or log more is
// allowed by default.
func TestVariablesThatReachFilesAreNotAllowed(t *testing.T) {
	for _, name := range []string{
		"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_PROFILE",
		"AWS_DEFAULT_REGION", "AWS_REGION", "AWS_ROLE_ARN", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"GODEBUG", "HOME", "HTTP_PROXY", "http_proxy", "LD_PRELOAD", "PATH", "SSL_CERT_DIR", "SSL_CERT_FILE", "ZONEINFO",
		"OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE", "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY",
		"OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
	} {
		if matches(DefaultEnv, name) {
			t.Errorf("%s is allowed", name)
		}
	}
}

func TestLabels(t *testing.T) {
	const all = `{"metadata":{"labels":{"team":"a","example.com/b":"hush"}},"pod":{"labels":{"team":"a","azure.workload.identity/use":"hush","aadpodidbinding":"hush"}},"service":{"labels":{"team":"a","example.com/d":"hush"}},
		"ingress":{"labels":{"team":"a","example.com/e":"hush"}},"monitoring":{"serviceMonitor":{"labels":{"release":"a","example.com/f":"hush"}}}}`
	byDefault := []string{"spec.metadata.labels[example.com/b]", "spec.pod.labels[aadpodidbinding]", "spec.pod.labels[azure.workload.identity/use]", "spec.service.labels[example.com/d]", "spec.ingress.labels[example.com/e]", "spec.monitoring.serviceMonitor.labels[example.com/f]"}
	for allowed, want := range map[string][]string{
		"default":                               byDefault,
		"default,example.com/*":                 {"spec.pod.labels[aadpodidbinding]", "spec.pod.labels[azure.workload.identity/use]"},
		"default,example.com/*,aadpodidbinding": {"spec.pod.labels[azure.workload.identity/use]"},
		"*":                                     nil,
		"team,example.com/*,azure.workload.identity/use,aadpodidbinding": {"spec.monitoring.serviceMonitor.labels[release]"},
	} {
		flags := DefaultFlags()
		flags.Labels = allowed
		l, err := Parse(flags)
		if err != nil {
			t.Fatal(err)
		}
		var spec v1alpha1.PackRegistrySpec
		if err := json.Unmarshal([]byte(all), &spec); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, why := range l.Refused(&spec, released) {
			path, rest, _ := strings.Cut(why, " ")
			if got = append(got, path); !strings.Contains(rest, "--allowed-labels") || strings.Contains(rest, "hush") {
				t.Error(why)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("with %s: %q", allowed, got)
		}
		l.Strip(&spec)
		if _, there := spec.Metadata.Labels["example.com/b"]; there == (allowed == "default") {
			t.Errorf("with %s, all objects have %v", allowed, spec.Metadata.Labels)
		}
	}
}

// That a load balancer is internal may be said, and not that it is for the Internet; and no value is more than a word, a number or a path.
func TestValuesOfAnnotations(t *testing.T) {
	const prefix = "service.beta.kubernetes.io/"
	for _, tt := range []struct {
		key, value, more string
		allowed          bool
		words            string
	}{
		{prefix + "aws-load-balancer-scheme", "internal", "", true, ""},
		{prefix + "aws-load-balancer-scheme", "internet-facing", "", false, "only with internal"},
		{prefix + "aws-load-balancer-scheme", "internet-facing", "," + prefix + "aws-load-balancer-scheme", true, ""},
		{prefix + "aws-load-balancer-internal", "true", "", true, ""},
		{prefix + "aws-load-balancer-internal", "false", "", false, ""},
		{prefix + "azure-load-balancer-internal", "false", "", false, ""},
		{"networking.gke.io/load-balancer-type", "Internal", "", true, ""},
		{"networking.gke.io/load-balancer-type", "External", "", false, "only with Internal"},
		{"traefik.ingress.kubernetes.io/router.entrypoints", "traefik", "", false, ""},
		{"traefik.ingress.kubernetes.io/router.entrypoints", "websecure", ",traefik.ingress.kubernetes.io/router.entrypoints=websecure", true, ""},
		{"traefik.ingress.kubernetes.io/router.entrypoints", "websecure2", ",traefik.ingress.kubernetes.io/router.entrypoints=websecure", false, "only with websecure)"},
		{"nginx.ingress.kubernetes.io/proxy-body-size", "10.5m", "", true, ""},
		{"nginx.ingress.kubernetes.io/proxy-body-size", "0; return 200", "", false, "only with letters, digits and"},
		{"nginx.ingress.kubernetes.io/proxy-body-size", "0\n}", "", false, ""},
		{"prometheus.io/path", "/metrics", "", true, ""},
	} {
		flags := DefaultFlags()
		flags.Annotations += tt.more
		l, err := Parse(flags)
		if err != nil {
			t.Fatal(err)
		}
		spec := &v1alpha1.PackRegistrySpec{Service: v1alpha1.ServiceSpec{Annotations: v1alpha1.Annotations{tt.key: tt.value}}}
		if got := l.Refused(spec, released); (got == nil) != tt.allowed || len(got) > 0 && (strings.Contains(got[0], tt.value) && tt.value != "traefik" || !strings.Contains(got[0], tt.words)) {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

func TestParse(t *testing.T) {
	for _, tt := range []struct{ images, annotations, env, podFields, wrong string }{
		{"a*b", "", "", "", "the end of a name only"},
		{"registry.example.com*", "", "", "", "registry.example.com*"},
		{"", "*.example.com", "", "", "the end of a name only"},
		{"", "", "*_PROXY", "", "the end of a name only"},
		{"", "", "", "serviceAccount", "is no field of spec.pod"},
		{"", "", "", "default,env.valueFrom.fileKeyRef", ""},
		{"a/*,b:*,c@*,*", "example.com/*,a", "default,A_*", "default,*", ""},
		{"", "", "", "", ""},
	} {
		l, err := Parse(Flags{Images: tt.images, Annotations: tt.annotations, Env: tt.env, PodFields: tt.podFields})
		if tt.wrong == "" && (err != nil || l == nil) || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestRefusedHosts(t *testing.T) {
	l := &Limits{HostsAnnotation: "example.com/hosts"}
	for _, tt := range []struct {
		host, allowed string
		refused       bool
	}{
		{"packs.team.example.com", "", true},
		{"packs.team.example.com", "*.team.example.com", false},
		{"a.b.team.example.com", "other.example.com,*.team.example.com", false},
		{"team.example.com", "*.team.example.com", true},
		{"notteam.example.com", "*.team.example.com", true},
		{"xteam.example.com", "team.example.com", true},
		{"team.example.com", "a, team.example.com", false},
		{"192.0.2.1", "*.2.1", false}, // as it is written
		{"192.0.2.1", "192.0.2.1", false},
		{"anything.example.org", "*", false},
	} {
		got := l.RefusedHosts([]string{tt.host}, "team", tt.allowed)
		if (len(got) > 0) != tt.refused {
			t.Errorf("%+v: %q", tt, got)
		}
		if tt.refused && (!strings.Contains(got[0], "spec.hosts[0]: "+tt.host) || !strings.Contains(got[0], "annotation example.com/hosts")) {
			t.Error(got)
		}
		if got := (&Limits{}).RefusedHosts([]string{tt.host}, "team", ""); got != nil {
			t.Errorf("without the option: %q", got)
		}
	}
}
