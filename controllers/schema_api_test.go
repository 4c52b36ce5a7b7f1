package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
)

func readCRD(t *testing.T) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	text, err := os.ReadFile("../config/crd/packregistry.dev_packregistries.yaml")
	must(t, err)
	crd := &apiextensionsv1.CustomResourceDefinition{}
	must(t, yaml.UnmarshalStrict(text, crd))
	return crd
}

// A larger one takes long to apply, and does not fit into the annotation of kubectl apply.
func TestTheCRDStaysSmall(t *testing.T) {
	info, err := os.Stat("../config/crd/packregistry.dev_packregistries.yaml")
	must(t, err)
	if info.Size() > 200_000 {
		t.Errorf("%d bytes, and 200,000 are the limit: let another API's schema be an Object", info.Size())
	}
}

// edges are values around what Go's parsers take: whatever of them a schema admits, the types must decode.
var edges = []any{
	"", "0", "1", "1d", "-1h", "1h", "1.5h", "24h", "99999h99999h99999h99999h", "999999999h", "1e9h", "1µs", "1us", "1h1", "h", ".5h", "+1h", "0.0000000001h",
	"1e1.5", "1e99", "1e-99", "1e999", "1e9999999999", "1Gi", "-1Gi", "+1", ".5", "1.", ".", "1KiB", "999999999999999Ei", "0.000000000000001n", "1e", "Ki",
	int64(0), int64(1), int64(-1), int64(20), int64(math.MaxInt32), int64(math.MaxInt32) + 1, int64(math.MinInt32) - 1, int64(math.MaxInt64), int64(math.MinInt64),
	1e18, 1e19, 1e21, 1e300, 1.5, true, nil,
	"A", "a_b", "-a", "a-", "a.b", "a..b", "a b", "a/b", "a/b/c", "A.b/c", "é", strings.Repeat("a", 63), strings.Repeat("a", 64), strings.Repeat("a", 253), strings.Repeat("a", 254),
	"0%", "50%", "100%", "101%", "1.5%", "192.0.2.1", "192.0.2.01", "2001:db8::1", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/33", "::/0", "https://a.b", "https://", "https://a b", "https://[::1]:443/",
	"yesterday", "2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01t00:00:00z", "2026-01-01T00:00:00+99:99",
}

// example is a value that a schema admits, with a value in the place of what path leads to.
func example(schema apiextensionsv1.JSONSchemaProps, path []string, value any) any {
	if len(path) == 0 {
		return value
	}
	switch schema.Type {
	case "object":
		object := map[string]any{}
		for _, name := range schema.Required {
			object[name] = smallest(schema.Properties[name])
		}
		if schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil {
			object["key"] = example(*schema.AdditionalProperties.Schema, path[1:], value)
			return object
		}
		object[path[0]] = example(schema.Properties[path[0]], path[1:], value)
		return object
	case "array":
		return []any{example(*schema.Items.Schema, path[1:], value)}
	}
	return value
}

// smallest is a value that a schema admits.
func smallest(schema apiextensionsv1.JSONSchemaProps) any {
	switch {
	case len(schema.Enum) > 0:
		var value any
		_ = json.Unmarshal(schema.Enum[0].Raw, &value) //nolint:errcheck // it is JSON
		return value
	case schema.XIntOrString, schema.Type == "integer":
		return int64(1)
	case schema.Type == "boolean":
		return true
	case schema.Type == "array":
		return []any{smallest(*schema.Items.Schema)}
	case schema.Type == "object":
		object := map[string]any{}
		for _, name := range schema.Required {
			object[name] = smallest(schema.Properties[name])
		}
		return object
	case strings.HasPrefix(schema.Pattern, "^http"):
		return "https://a.b"
	case schema.MinLength != nil:
		return strings.Repeat("a", int(*schema.MinLength))
	}
	return "a"
}

// leaves calls visit with the path of each value of a schema that is none of objects or lists.
func leaves(schema apiextensionsv1.JSONSchemaProps, path []string, visit func(path []string, schema apiextensionsv1.JSONSchemaProps)) {
	switch {
	case schema.Type == "object" && schema.AdditionalProperties != nil && schema.AdditionalProperties.Schema != nil:
		leaves(*schema.AdditionalProperties.Schema, append(slices.Clip(path), "key"), visit)
	case schema.Type == "object":
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			leaves(schema.Properties[name], append(slices.Clip(path), name), visit)
		}
	case schema.Type == "array":
		leaves(*schema.Items.Schema, append(slices.Clip(path), "0"), visit)
	default:
		visit(path, schema)
	}
}

// strictRegistry is decoded by the types alone, which leave nothing out.
type strictRegistry struct {
	Spec   v1alpha1.PackRegistrySpec   `json:"spec"`
	Status v1alpha1.PackRegistryStatus `json:"status"`
}

// What the API server takes the operator can read: each field of the spec is given values at the edges of its type.
func TestAPIWhatTheSchemaAdmitsCanBeDecoded(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	schema := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	bases := map[string]string{
		"claim":  `{"storage":{"persistentVolumeClaim":{"size":"1Gi"}},"auth":{"secretRefs":[{"name":"u"}]},"tls":{"secretRef":{"name":"c"}}}`,
		"bucket": `{"hosts":["a.b"],"storage":{"s3":{"bucket":"packs","region":"r"}},"auth":{"secretRefs":[{"name":"u"}]},"tls":{"letsEncrypt":{}},"service":{"type":"LoadBalancer"}}`,
		"memory": `{"hosts":["a.b"],"storage":{"inMemory":{}},"auth":{"anonymous":{}},"tls":{"disabled":{}}}`,
		"issuer": `{"storage":{"persistentVolumeClaim":{"claimName":"c"}},"auth":{"secretRefs":[{"name":"u"}]},"tls":{"issuerRef":{"name":"i"}}}`,
	}
	tried, sent, admitted, refused := 0, 0, map[string]bool{}, map[string]bool{}
	create := func(spec map[string]any) error {
		u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
		u.SetNamespace(namespace)
		u.SetName("edge")
		if err := api.Create(t.Context(), u, client.DryRunAll); err != nil {
			return err
		}
		data, err := json.Marshal(u.Object)
		must(t, err)
		tried++
		if err := json.Unmarshal(data, &strictRegistry{}); err != nil {
			t.Errorf("the API server takes what cannot be decoded: %v\n%s", err, data)
		}
		return nil
	}
	var all []string
	leaves(schema, nil, func(path []string, leaf apiextensionsv1.JSONSchemaProps) {
		if leaf.Type == "boolean" || path[0] == "config" { // any JSON is a config
			return
		}
		name := strings.Join(path, ".")
		all = append(all, name)
		values := append(slices.Clone(edges), smallest(leaf))
		for _, base := range []string{"claim", "bucket", "memory", "issuer"} {
			for _, value := range values {
				// Of what is out of bounds, which the API server refuses, one value of each field is tried.
				if text, ok := value.(string); !fits(leaf, value) && (!ok || refused[name] || withinBounds(leaf, text)) {
					continue
				}
				sent++
				var spec map[string]any
				must(t, json.Unmarshal([]byte(bases[base]), &spec))
				member, ok := example(schema, path, value).(map[string]any)
				if !ok {
					t.Fatal(name)
				}
				merge(spec, map[string]any{path[0]: member[path[0]]})
				switch err := create(spec); {
				case fits(leaf, value) && err == nil:
					admitted[name] = true
				case !fits(leaf, value) && err == nil:
					t.Errorf("%s: %v is taken, and would not have been tried", name, value)
				case !fits(leaf, value):
					refused[name] = true
				}
			}
			if admitted[name] {
				break
			}
		}
	})
	for _, name := range all {
		if !admitted[name] {
			t.Errorf("no value of %s was taken, so nothing is known of it", name)
		}
	}
	t.Logf("%d fields, %d objects, of which %d were taken", len(all), sent, tried)
}

// fits says whether a value is worth a request: it is of a type that the schema could admit and that can be decoded wrongly (a string
// that is nothing but one is decoded as it is), and within the bounds of its own that the schema has for it.
func fits(schema apiextensionsv1.JSONSchemaProps, value any) bool {
	switch value := value.(type) {
	case string:
		return (schema.XIntOrString || schema.Type == "string" && (schema.Pattern != "" || schema.Format != "" || value == smallest(schema))) && withinBounds(schema, value)
	case int64, float64:
		return schema.XIntOrString || schema.Type != "string"
	}
	return true
}

// withinBounds says whether a string is one that its schema's enumeration, pattern and lengths admit.
func withinBounds(schema apiextensionsv1.JSONSchemaProps, value string) bool {
	if len(schema.Enum) > 0 && !slices.ContainsFunc(schema.Enum, func(of apiextensionsv1.JSON) bool { return string(of.Raw) == strconv.Quote(value) }) {
		return false
	}
	n := int64(utf8.RuneCountInString(value))
	return (schema.Pattern == "" || regexp.MustCompile(schema.Pattern).MatchString(value)) &&
		(schema.MinLength == nil || n >= *schema.MinLength) && (schema.MaxLength == nil || n <= *schema.MaxLength)
}

// A duration in days, a size that is none: each PackRegistry that is stored so says what is wrong with it, and all others go on.
func TestAPIAnUndecodableRegistryStopsNoOther(t *testing.T) {
	needAPI(t)
	for name, bad := range map[string]struct {
		spec, path string
		// upgrade says that the operator sees it only when the schema does not let it through any more.
		upgrade bool
		// unwritable says that a rule of the schema fails upon it, with which the API server takes no status.
		unwritable bool
	}{
		"a duration in days": {`{"garbageCollection":{"interval":"1d"}}`, "spec.garbageCollection.interval: ", false, false},
		"a limit":            {`{"pod":{"resources":{"limits":{"cpu":"1e1.5"}}}}`, "spec.pod.resources.limits.cpu: ", false, false},
		"a Secret's name":    {`{"tls":{"clientCARef":{"name":5}}}`, "spec.tls.clientCARef.name: ", false, false},
		// Once it was a bool: the API server applies nothing to an object that has one where its schema has an object.
		"another shape":                {`{"monitoring":{"serviceMonitor":true}}`, "spec.monitoring.serviceMonitor: ", true, true},
		"another shape without a rule": {`{"garbageCollection":true}`, "spec.garbageCollection: ", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := ready(t) // which has its watch already
			patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
			wantOwners(t, r, 1)
			withoutPatterns(t, func() {
				if bad.upgrade {
					o.stop()
				}
				var patch map[string]any
				must(t, json.Unmarshal([]byte(bad.spec), &patch))
				merge(patch, map[string]any{"storage": map[string]any{"persistentVolumeClaim": map[string]any{"deletionPolicy": "Retain"}}})
				text, err := json.Marshal(patch)
				must(t, err)
				patchSpec(t, r, string(text))
			})
			if bad.upgrade {
				o = startOperator(t, r.Namespace)
			}
			wantEvent(t, r, "Warning", v1alpha1.ReasonInvalid, bad.path)
			if !bad.unwritable {
				wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid, bad.path)
			}
			eventually(t, "the status is of this spec", func() error {
				if live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}); live.Status.ObservedGeneration != live.Generation && !bad.unwritable {
					return fmt.Errorf("generation %d, status %+v", live.Generation, live.Status)
				}
				return nil
			})
			wantOwners(t, r, 0) // what can be read is carried out as far as packs are concerned
			line := htpasswdLine(t, "ann", "other")
			users := get(t, r.Namespace, "users", &corev1.Secret{})
			users.Data["htpasswd"] = []byte(line)
			must(t, api.Update(t.Context(), users))
			wantUsers(t, r, line)

			other := func(name string) {
				healthy := newRegistry(r.Namespace)
				healthy.Name, healthy.Spec.Hosts = name, []string{name + ".example.com"}
				must(t, api.Create(t.Context(), healthy))
				bind(t, r.Namespace, name+"-data")
				rollOut(t, r.Namespace, name)
				wantCondition(t, healthy, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)
			}
			other("watched")
			o.stop()
			startOperator(t, r.Namespace) // which lists it
			other("listed")
			// It is mended like any other.
			must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"spec":{"garbageCollection":null,"pod":null,"monitoring":null,"tls":{"clientCARef":null}}}`))))
			wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
			// What was patched while nothing could be applied is gone: no apply would take it away. Such a patch may come late, of an
			// operator that does not know yet that the spec is mended.
			eventually(t, "nothing is left of the patch", func() error {
				live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
				if c := meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionStalled); c != nil || live.Status.ObservedGeneration != live.Generation {
					return fmt.Errorf("generation %d of %d, %v", live.Status.ObservedGeneration, live.Generation, c)
				}
				for _, of := range live.ManagedFields {
					if of.Manager == FieldOwner && of.Subresource == "status" && of.Operation == metav1.ManagedFieldsOperationUpdate {
						return fmt.Errorf("owned by an update: %s", of.FieldsV1)
					}
				}
				return nil
			})
		})
	}
}

// withoutPatterns does something while the API server has a schema that lets everything through, as one of another version may.
func withoutPatterns(t *testing.T, do func()) {
	t.Helper()
	admin, err := client.New(apiConfig, client.Options{Scheme: scheme})
	must(t, err)
	key := client.ObjectKey{Name: "packregistries.packregistry.dev"}
	change := func(spec func(*apiextensionsv1.CustomResourceDefinition)) {
		eventually(t, "the schema is changed", func() error {
			crd := &unstructured.Unstructured{}
			crd.SetGroupVersionKind(apiextensionsv1.SchemeGroupVersion.WithKind("CustomResourceDefinition"))
			if err := admin.Get(t.Context(), key, crd); err != nil {
				return err
			}
			wanted := readCRD(t)
			spec(wanted)
			data, err := json.Marshal(wanted.Spec)
			if err != nil {
				return err
			}
			var fields map[string]any
			if err := json.Unmarshal(data, &fields); err != nil {
				return err
			}
			crd.Object["spec"] = fields
			return admin.Update(t.Context(), crd)
		})
	}
	change(func(crd *apiextensionsv1.CustomResourceDefinition) {
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		spec := schema.Properties["spec"]
		spec.Properties["garbageCollection"] = apiextensionsv1.JSONSchemaProps{XPreserveUnknownFields: new(true)}
		pod := spec.Properties["pod"]
		pod.Properties["resources"] = anything()
		spec.Properties["tls"].Properties["clientCARef"] = anything()
		spec.Properties["monitoring"] = apiextensionsv1.JSONSchemaProps{XPreserveUnknownFields: new(true)}
		schema.Properties["spec"] = spec
	})
	defer change(func(*apiextensionsv1.CustomResourceDefinition) {})
	eventually(t, "the schema is in effect", func() error {
		u := registryWith(t, "default", "probe", `{garbageCollection: {interval: 1d}}`)
		if err := api.Create(t.Context(), u, client.DryRunAll); err != nil {
			return fmt.Errorf("still refused: %w", err)
		}
		return nil
	})
	do()
}

func anything() apiextensionsv1.JSONSchemaProps {
	keep := true
	return apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &keep}
}
