package chart

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

const chartFolder = "../../charts/packregistry-operator"

// helmTemplate renders a chart, or says why it cannot be.
func helmTemplate(t *testing.T, release, chart string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(testserver.Tool(t, "helm"), "helm"), append([]string{"template", release, chart, "--namespace", "packregistry-system"}, args...)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+t.TempDir(), "HELM_CONFIG_HOME="+t.TempDir(), "HELM_DATA_HOME="+t.TempDir())
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Each value that people expect does what it says.
func TestValues(t *testing.T) {
	const digest = "sha256:0123456789012345678901234567890123456789012345678901234567890123"
	for _, tt := range []struct {
		name   string
		values string
		words  []string
		not    []string
	}{
		{"names", `{nameOverride: packs}`, []string{"name: packregistry-packs\n", "app.kubernetes.io/name: packs\n", "packregistry.dev/operator: \"true\"\n"}, nil},
		{"the whole name", `{fullnameOverride: packs}`, []string{"name: packs\n", "--name=packs\n", "name: packs-leader-election\n"}, []string{"name: packregistry\n"}},
		{"labels of everything", `{commonLabels: {team: a}, deploymentLabels: {b: c}, deploymentAnnotations: {d: e}}`, []string{"team: a\n", "    b: c\n", "    d: e\n"}, nil},
		{"a label of several", `{commonLabels: {team: a}, podLabels: {team: b}, deploymentLabels: {team: c}}`, []string{"team: a\n", "team: b\n"}, []string{"team: a\n        team:", "team: a\n    team:", "team: c\n"}},
		{"images", `{image: {registry: r.example.com, digest: "` + digest + `"}, registryImage: {registry: s.example.com, tag: x}}`,
			[]string{"r.example.com/packregistry.dev/operator@" + digest, "s.example.com/packregistry.dev/registry:x"}, nil},
		{"images of the whole", `{image: {registry: r.example.com}, global: {imageRegistry: g.example.com, imagePullSecrets: [a, {name: b}]}, imagePullSecrets: [{name: c}]}`,
			[]string{"g.example.com/packregistry.dev/operator:", "g.example.com/packregistry.dev/registry:", `- name: "a"`, `- name: "b"`, `- name: "c"`}, []string{"r.example.com"}},
		{"additions", `{extraArgs: [--zap-devel], extraEnv: [{name: A, value: b}], extraVolumes: [{name: v, emptyDir: {}}], extraVolumeMounts: [{name: v, mountPath: /v}]}`,
			[]string{`- "--zap-devel"`, "- name: A\n", "- emptyDir: {}\n        name: v\n", "mountPath: /v\n"}, nil},
		{"objects", `{extraObjects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: "{{ .Release.Name }}-more"}}]}`, []string{"name: 'packregistry-more'\n"}, nil},
		{"another account", `{serviceAccount: {create: false, name: there}}`, []string{"serviceAccountName: there\n", "name: there, namespace: packregistry-system"}, []string{"kind: ServiceAccount\nmetadata"}},
		{"the account's labels", `{serviceAccount: {labels: {a: b}, annotations: {c: d}}}`, []string{"    a: b\n", "    c: d\n"}, nil},
		{"hosts by namespace", `{limits: {hostsAnnotation: example.com/hosts}}`, []string{"  - namespaces\n"}, nil},
		{"hosts of anybody", `{}`, nil, []string{"  - namespaces\n"}},
		{"no rights", `{rbac: {create: false}}`, []string{"kind: ServiceAccount\n"}, []string{"kind: ClusterRole", "kind: Role"}},
		{"placement", `{topologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}], revisionHistoryLimit: 0, hostNetwork: true, dnsConfig: {nameservers: [192.0.2.1]}}`,
			[]string{"topologyKey: zone\n", "revisionHistoryLimit: 0\n", "hostNetwork: true\n", "dnsPolicy: ClusterFirstWithHostNet\n", "- 192.0.2.1\n"}, nil},
		{"leader election", `{leaderElection: {leaseDuration: 60s, renewDeadline: 40s, retryPeriod: 5s}}`,
			[]string{"--leader-elect-lease-duration=60s\n", "--leader-elect-renew-deadline=40s\n", "--leader-elect-retry-period=5s\n"}, nil},
		{"no timings", `{leaderElection: null}`, []string{"- --leader-elect\n"}, []string{"--leader-elect-"}},
		{"how pods are replaced", `{strategy: {type: Recreate}}`, []string{`strategy: {"type":"Recreate"}`}, nil},
		{"how pods are replaced by default", `{}`, []string{`strategy: {"rollingUpdate":{"maxSurge":0,"maxUnavailable":"100%"},"type":"RollingUpdate"}`}, nil},
		{"defaults of registries", `{registryDefaults: {resources: {limits: {memory: 1Gi}}, podSecurityContext: {runAsUser: null, fsGroup: 1000000000}}}`,
			[]string{`- "--registry-default-resources={\"limits\":{\"memory\":\"1Gi\"}}"`, `- "--registry-default-pod-security-context={\"fsGroup\":1000000000,\"runAsGroup\":65532}"`}, nil},
		{"registries' users are the platform's", `{registryDefaults: {podSecurityContext: null}}`, []string{`- "--registry-default-pod-security-context={}"`}, []string{"--registry-default-resources="}},
		{"a budget", `{podDisruptionBudget: {enabled: true}}`, []string{"kind: PodDisruptionBudget\n", "maxUnavailable: 1\n"}, nil},
		{"a monitor", `{serviceMonitor: {enabled: true, labels: {release: prometheus}, interval: 30s}}`, []string{"kind: ServiceMonitor\n", "release: prometheus\n", "interval: 30s\n", "scheme: https\n"}, nil},
		{"a container's rights", `{containerSecurityContext: {runAsUser: 7}, livenessProbe: {periodSeconds: 9}}`, []string{"runAsUser: 7\n", "periodSeconds: 9\n", "readOnlyRootFilesystem: true\n"}, nil},
		{"egress", `{networkPolicy: {enabled: true, egress: [{ports: [{port: 443}]}]}}`, []string{"policyTypes: [Ingress, Egress]\n", "- port: 443\n"}, nil},
		{"roles of one namespace", `{watchNamespaces: [team]}`, []string{"name: packregistry-editor\n  namespace: team\n", "name: packregistry-viewer\n  namespace: team\n"}, []string{"aggregate-to"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(tt.values), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := helmTemplate(t, "packregistry", chartFolder, "-f", file)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, words := range tt.words {
				if !strings.Contains(out, words) {
					t.Errorf("it lacks %q", words)
				}
			}
			for _, words := range tt.not {
				if strings.Contains(out, words) {
					t.Errorf("it has %q", words)
				}
			}
			parses(t, out)
		})
	}
}

// parses fails where what was rendered is no YAML.
func parses(t *testing.T, out string) {
	t.Helper()
	for document := range strings.SplitSeq("\n"+out, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(document), &o); err != nil {
			t.Errorf("%v\n%s", err, document)
		}
	}
}

// A value that is null is one that is left out: nothing breaks.
func TestNullValues(t *testing.T) {
	text, err := os.ReadFile(chartFolder + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	var nulls []string
	for name := range values {
		if name != "image" && name != "registryImage" { // without a repository there is nothing to run
			nulls = append(nulls, name+"=null")
		}
	}
	out, err := helmTemplate(t, "packregistry", chartFolder, "--set", strings.Join(nulls, ","))
	if err != nil || !strings.Contains(out, "kind: Deployment\n") {
		t.Fatalf("%v\n%s", err, out)
	}
	parses(t, out)
}

// Names of releases and versions that are no names of Services and no labels as they are.
func TestOddNamesAndVersions(t *testing.T) {
	folder := t.TempDir()
	cmd := exec.CommandContext(t.Context(), filepath.Join(testserver.Tool(t, "helm"), "helm"), "package", chartFolder, "--version", "1.2.3+build.4", "--app-version", "1.2.3+build.4", "--destination", folder)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := helmTemplate(t, "1.packs", filepath.Join(folder, "packregistry-operator-1.2.3+build.4.tgz"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, words := range []string{"name: r1-packs-packregistry-operator-metrics\n", "app.kubernetes.io/version: 1.2.3_build.4\n", "helm.sh/chart: packregistry-operator-1.2.3_build.4\n", "operator:1.2.3_build.4\"", "registry:1.2.3_build.4\"", `instance: "1.packs"`} {
		if !strings.Contains(out, words) {
			t.Errorf("it lacks %q", words)
		}
	}
	if strings.Contains(out, "1.2.3+build") {
		t.Error("a '+' is left")
	}
}

// The chart can be a part of another, which turns it on and off, and tells it what holds for all.
func TestAsASubchart(t *testing.T) {
	parent := t.TempDir()
	if err := os.CopyFS(filepath.Join(parent, "charts", "packregistry-operator"), os.DirFS(chartFolder)); err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: v2\nname: parent\nversion: 1.0.0\ndependencies: [{name: packregistry-operator, version: '*', condition: packregistry-operator.enabled, tags: [packs]}]\n"
	if err := os.WriteFile(filepath.Join(parent, "Chart.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := helmTemplate(t, "whole", parent, "--set", "global.imageRegistry=g.example.com,global.other=1,tags.packs=true,packregistry-operator.enabled=true")
	if err != nil || !strings.Contains(out, "g.example.com/packregistry.dev/operator:") || !strings.Contains(out, "name: whole-packregistry-operator\n") {
		t.Errorf("%v\n%s", err, out[:min(len(out), 2000)])
	}
	if out, err := helmTemplate(t, "whole", parent, "--set", "packregistry-operator.enabled=false"); err != nil || strings.Contains(out, "kind: Deployment") {
		t.Errorf("%v\n%s", err, out[:min(len(out), 2000)])
	}
}
