package controllers

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// What other APIs bound is bounded the same here: whatever the schema admits of these fields, children with it are taken. The rest of
// pod is Kubernetes' own, and validated when the Deployment is applied.
func TestAPIWhatTheSchemaAdmitsIsTakenOfChildren(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	schema := readCRD(t).Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	service := func(r *v1alpha1.PackRegistry) runtime.ApplyConfiguration { return children.Service(r) }
	ingress := func(r *v1alpha1.PackRegistry) runtime.ApplyConfiguration { return children.Ingress(r) }
	budget := func(r *v1alpha1.PackRegistry) runtime.ApplyConfiguration { return children.DisruptionBudget(r, 2) }
	claim := func(r *v1alpha1.PackRegistry) runtime.ApplyConfiguration { return children.Claim(r, nil) }
	pods := func(r *v1alpha1.PackRegistry) runtime.ApplyConfiguration {
		deployment, err := children.Deployment(r, children.DeploymentInput{Image: "i", Config: children.RenderedConfig{Name: "c", Hash: "c"}})
		must(t, err)
		return deployment
	}
	fields := map[string]apiextensionsv1.JSONSchemaProps{}
	leaves(schema, nil, func(path []string, leaf apiextensionsv1.JSONSchemaProps) { fields[strings.Join(path, ".")] = leaf })
	for path, of := range map[string]struct {
		base  string
		child func(*v1alpha1.PackRegistry) runtime.ApplyConfiguration
	}{
		"hosts.0":                                        {"ingress: {}", ingress},
		"image":                                          {"", pods},
		"ingress.className":                              {"", ingress},
		"metadata.labels.key":                            {"", service},
		"podDisruptionBudget.maxUnavailable":             {"replicas: 2\nstorage: {persistentVolumeClaim: {accessModes: [ReadWriteMany]}}", budget},
		"tls.clientCARef.name":                           {"tls: {clientCARef: {kind: ConfigMap}}", pods},
		"service.port":                                   {"", service},
		"service.loadBalancerClass":                      {"service: {type: LoadBalancer}", service},
		"service.loadBalancerSourceRanges.0":             {"service: {type: LoadBalancer}", service},
		"storage.persistentVolumeClaim.size":             {"", claim},
		"storage.persistentVolumeClaim.storageClassName": {"", claim},
		"storage.persistentVolumeClaim.dataSource.name":  {"storage: {persistentVolumeClaim: {dataSource: {kind: PersistentVolumeClaim, name: a}}}", claim},
		"tls.secretRef.name":                             {"", pods},
		"pod.labels.key":                                 {"", pods},
		"pod.nodeSelector.key":                           {"", pods},
		"pod.priorityClassName":                          {"", pods},
		"pod.runtimeClassName":                           {"", pods},
		"pod.schedulerName":                              {"", pods},
		"pod.probes.liveness.timeoutSeconds":             {"", pods},
		"pod.probes.startup.failureThreshold":            {"", pods},
		"pod.serviceAccountName":                         {"", pods},
		"pod.terminationGracePeriodSeconds":              {"", pods},
		"pod.securityContext.runAsUser":                  {"", pods},
		"pod.securityContext.supplementalGroups.0":       {"", pods},
	} {
		t.Run(path, func(t *testing.T) {
			steps, taken := strings.Split(path, "."), 0
			for _, value := range edges {
				text, isText := value.(string)
				if of := fields[path]; of.Type != "" && isText != (of.Type == "string") || isText && !withinBounds(of, text) {
					continue
				}
				member, ok := example(schema, steps, value).(map[string]any)
				if !ok {
					t.Fatal(path)
				}
				u := registryWith(t, namespace, "edge", of.base)
				merge(u.Object["spec"].(map[string]any), member)
				if api.Create(t.Context(), u, client.DryRunAll) != nil {
					continue
				}
				taken++
				r := &v1alpha1.PackRegistry{}
				must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r))
				r.UID = "uid"
				if err := api.Apply(t.Context(), of.child(r), client.FieldOwner("edge"), client.DryRunAll); err != nil {
					t.Errorf("%v is admitted, and the child is not: %v", value, err)
				}
			}
			if taken == 0 {
				t.Error("no value is admitted")
			}
		})
	}
	// Keys of maps have rules of their own.
	for _, key := range edges {
		key, ok := key.(string)
		if !ok {
			continue
		}
		u := registryWith(t, namespace, "edge", "")
		merge(u.Object["spec"].(map[string]any), map[string]any{"pod": map[string]any{"labels": map[string]any{key: "x"}, "annotations": map[string]any{key: "x"}}})
		if api.Create(t.Context(), u, client.DryRunAll) != nil {
			continue
		}
		r := &v1alpha1.PackRegistry{}
		must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r))
		r.UID = "uid"
		if err := api.Apply(t.Context(), pods(r), client.FieldOwner("edge"), client.DryRunAll); err != nil {
			t.Errorf("the key %q is admitted, and the child is not: %v", key, err)
		}
	}
}
