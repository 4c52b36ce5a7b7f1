package controllers

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

// This file adds kinds to the API server that clusters may lack.

// installKinds adds custom resources for the time of a test.
func installKinds(t *testing.T, texts ...string) {
	t.Helper()
	for _, text := range texts {
		crd := &unstructured.Unstructured{}
		must(t, yaml.Unmarshal([]byte(text), crd))
		must(t, api.Create(t.Context(), crd))
		t.Cleanup(func() { deleteKind(t, crd) })
		eventually(t, crd.GetName()+" is served", func() error {
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(crd), crd); err != nil {
				return err
			}
			conditions, _, err := unstructured.NestedSlice(crd.Object, "status", "conditions")
			if value, _, _ := conditionOf(conditions, "Established"); value != "True" {
				return fmt.Errorf("not established: %w", err)
			}
			return nil
		})
	}
}

func deleteKind(t *testing.T, crd client.Object) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	eventually(t, crd.GetName()+" is gone", func() error {
		if err := api.Delete(ctx, crd); !apierrors.IsNotFound(err) {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
}

// kindsOf reads custom resources that come with a Go module; what Helm would fill in is left out.
func kindsOf(t *testing.T, tool, module string, patterns ...string) []string {
	t.Helper()
	var texts []string
	for _, file := range testserver.ModuleFiles(t, tool, module, patterns...) {
		data, err := os.ReadFile(file)
		must(t, err)
		texts = append(texts, regexp.MustCompile(`(?m)^.*\{\{.*$`).ReplaceAllString(string(data), ""))
	}
	return texts
}

const serviceMonitorCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: servicemonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  names: {kind: ServiceMonitor, plural: servicemonitors, singular: servicemonitor}
  scope: Namespaced
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, x-kubernetes-preserve-unknown-fields: true}}}}}]
`

const tlsRouteCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: tlsroutes.gateway.networking.k8s.io
  annotations: {api-approved.kubernetes.io: unapproved}
spec:
  group: gateway.networking.k8s.io
  names: {kind: TLSRoute, plural: tlsroutes, singular: tlsroute}
  scope: Namespaced
  versions:
  - {name: v1alpha2, served: true, storage: true, schema: {openAPIV3Schema: &any {type: object, x-kubernetes-preserve-unknown-fields: true}}}
  - {name: v1, served: false, storage: false, schema: {openAPIV3Schema: *any}}
`
