package children_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// podOf renders the pods of a registry whose spec.pod is this JSON.
func podOf(t *testing.T, replicas int32, pod string) (map[string]any, error) {
	t.Helper()
	r := registries["claim"]()
	r.Spec.Replicas = ptr.To(replicas)
	if err := json.Unmarshal([]byte(pod), &r.Spec.Pod); err != nil {
		t.Fatal(err)
	}
	deployment, err := children.Deployment(r, children.DeploymentInput{Image: "i", Config: children.RenderedConfig{Name: "c", Hash: "h"}})
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(deployment.Spec.Template.Spec)
	if err != nil {
		t.Fatal(err)
	}
	var spec map[string]any
	if err := json.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	return spec, nil
}

// What is given keeps the defaults of what is not; {} and null drop them.
func TestPartsMergeWithDefaults(t *testing.T) {
	for pod, want := range map[string]string{
		`{}`: "65532 65532 65532 []",
		`{"securityContext":{"supplementalGroups":[5]}}`: "65532 65532 65532 [5]",
		`{"securityContext":{"runAsUser":7}}`:            "7 65532 65532 []",
		`{"securityContext":{}}`:                         "- - - []",
		`{"securityContext":null}`:                       "- - - []",
		`{"securityContext":{"fsGroup":null}}`:           "65532 65532 - []",
		`{"securityContext":{"runAsUser":null,"runAsGroup":null,"fsGroup":9,"supplementalGroups":[5]}}`: "- - 9 [5]",
	} {
		spec, err := podOf(t, 1, pod)
		if err != nil {
			t.Fatal(err)
		}
		context, ok := spec["securityContext"].(map[string]any)
		if !ok || context["runAsNonRoot"] != true || context["seccompProfile"] == nil {
			t.Fatalf("%s: %v", pod, context)
		}
		id := func(name string) string {
			if context[name] == nil {
				return "-"
			}
			return fmt.Sprint(context[name])
		}
		groups := context["supplementalGroups"]
		if groups == nil {
			groups = []any{}
		}
		if got := fmt.Sprintf("%s %s %s %v", id("runAsUser"), id("runAsGroup"), id("fsGroup"), groups); got != want {
			t.Errorf("%s: %s, want %s", pod, got, want)
		}
	}
}

func TestPlacementMergesWithDefaults(t *testing.T) {
	for pod, want := range map[string]struct{ zones, nodes, own bool }{
		`{}`:                               {true, true, false},
		`{"affinity":{}}`:                  {false, true, false},
		`{"topologySpreadConstraints":[]}`: {true, false, false},
		`{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}}}`: {true, true, true},
		`{"affinity":{"podAntiAffinity":{}}}`: {false, true, false},
	} {
		spec, err := podOf(t, 2, pod)
		if err != nil {
			t.Fatal(err)
		}
		affinity, _ := spec["affinity"].(map[string]any)
		anti, _ := affinity["podAntiAffinity"].(map[string]any)
		if got := anti["preferredDuringSchedulingIgnoredDuringExecution"] != nil; got != want.zones {
			t.Errorf("%s: zones are preferred: %v", pod, got)
		}
		if got := spec["topologySpreadConstraints"] != nil; got != want.nodes {
			t.Errorf("%s: nodes are: %v", pod, got)
		}
		if got := affinity["nodeAffinity"] != nil; got != want.own {
			t.Errorf("%s: its own affinity is there: %v", pod, got)
		}
		if alone, err := podOf(t, 1, pod); err != nil || alone["topologySpreadConstraints"] != nil || strings.Contains(fmt.Sprint(alone["affinity"]), "preferred") {
			t.Errorf("%s: one replica is kept apart from itself: %v, %v", pod, alone, err)
		}
	}
}

// What spec.pod adds is decoded strictly, and cannot take the place of what is the operator's.
func TestPodAdditionsAreChecked(t *testing.T) {
	for pod, words := range map[string][]string{
		`{"containers":[{"name":"a","image":"i"}],"initContainers":[{"name":"b","image":"i"}],"volumes":[{"name":"v","emptyDir":{}}],"volumeMounts":[{"name":"v","mountPath":"/v"}]}`: nil,
		`{"containers":[{"name":"registry","image":"i"}]}`:                                           {"spec.pod.containers[0].name: registry is the operator's"},
		`{"initContainers":[{"name":"registry","image":"i"}]}`:                                       {"spec.pod.initContainers[0].name: registry is the operator's"},
		`{"containers":[{"name":"a"},{"name":"a"}]}`:                                                 {"spec.pod.containers[1].name: a is"},
		`{"containers":[{"name":"a"}],"initContainers":[{"name":"a"}]}`:                              {"spec.pod.containers[0].name: a is"},
		`{"containers":[{"image":"i"}]}`:                                                             {"spec.pod.containers[0].name: give it a name"},
		`{"volumes":[{"name":"data","emptyDir":{}}]}`:                                                {"spec.pod.volumes[0].name: data is the operator's"},
		`{"volumes":[{"name":"client-ca","emptyDir":{}}]}`:                                           {"spec.pod.volumes[0].name: client-ca is the operator's"},
		`{"volumes":[{"name":"a","emptydir":{}}]}`:                                                   {`spec.pod.volumes[0]: unknown field "emptydir"`},
		`{"volumes":[{"name":5}],"containers":[{"name":"a","resources":{"limits":{"cpu":"lots"}}}]}`: {"spec.pod.volumes[0].name: number", "spec.pod.containers[0]: ", "quantities"},
	} {
		_, err := podOf(t, 1, pod)
		if (err != nil) != (words != nil) {
			t.Errorf("%s: %v", pod, err)
			continue
		}
		for _, w := range words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: the error lacks %q: %v", pod, w, err)
			}
		}
	}
}

// All images and fields that limits may have to forbid are listed.
func TestAdditions(t *testing.T) {
	var pod v1alpha1.PodSpec
	if list, err := children.Additions(pod); err != nil || len(list) > 0 {
		t.Errorf("nothing is added, and listed are %v, %v", list, err)
	}
	if err := json.Unmarshal([]byte(`{"containers":[{"name":"a","image":"y:1"}],"initContainers":[{"name":"b","image":"z:1"}],
		"volumes":[{"name":"v","hostPath":{"path":"/"}},{"name":"w"},{"name":"x","image":{"reference":"i:1"}}]}`), &pod); err != nil {
		t.Fatal(err)
	}
	list, err := children.Additions(pod)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range list {
		got = append(got, a.Path+" "+a.Image+a.Field)
	}
	want := []string{"initContainers[0].image z:1", "containers[0].image y:1", "volumes[0].hostPath volumes.hostPath", "volumes[2].image.reference i:1"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Secrets and ConfigMaps that volumes and variables name are not pruned, also where they were made for something else before.
func TestNamedByPods(t *testing.T) {
	var pod v1alpha1.PodSpec
	if err := json.Unmarshal([]byte(`{"volumes":[{"name":"a","secret":{"secretName":"s"}},{"name":"b","configMap":{"name":"c"}},
		{"name":"d","projected":{"sources":[{"secret":{"name":"t"}},{"configMap":{"name":"u"}}]}},{"name":"e","emptyDir":{}}],
		"initContainers":[{"name":"f","envFrom":[{"secretRef":{"name":"v"}},{"configMapRef":{"name":"w"}}]}],
		"containers":[{"name":"g","env":[{"name":"A","value":"b"},{"name":"B","valueFrom":{"secretKeyRef":{"name":"x","key":"k"}}},{"name":"C","valueFrom":{"configMapKeyRef":{"name":"y","key":"k"}}}]}]}`), &pod); err != nil {
		t.Fatal(err)
	}
	if got := children.NamedByPods(pod); !slices.Equal(got, []string{"Secret/s", "ConfigMap/c", "Secret/t", "ConfigMap/u", "Secret/v", "ConfigMap/w", "Secret/x", "ConfigMap/y"}) {
		t.Errorf("%v", got)
	}
}
