package controllers

import (
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// A new release rolls one registry at a time, and stops where one fails; one that renders the same rolls none.
func TestAPIUpgradesWaitForSlots(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	now := time.Now()
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", now.Add(-time.Hour), now.AddDate(1, 0, 0))))
	names := []string{"a", "b", "c"}
	registries := map[string]*v1alpha1.PackRegistry{}
	for _, name := range names {
		r := newRegistry(namespace)
		r.Name = name
		if name != "a" {
			r.Spec.Hosts = []string{name + ".example.com"}
		}
		must(t, api.Create(t.Context(), r))
		bind(t, namespace, name+"-data")
		rollOut(t, namespace, name)
		registries[name] = r
	}
	// Certificates are for one of them; that is reported, and stops no pods.
	deployments := func() (templates map[string]corev1.PodTemplateSpec, releases map[string]string) {
		templates, releases = map[string]corev1.PodTemplateSpec{}, map[string]string{}
		for _, name := range names {
			d := get(t, namespace, name, &appsv1.Deployment{})
			templates[name], releases[name] = d.Spec.Template, d.Annotations[children.AnnotationVersion]
		}
		return templates, releases
	}
	o.settle(t)
	o.stop()
	before, _ := deployments()

	// The same image and configuration: only who rendered them is noted.
	o = startRelease(t, "1.1.0", namespace, interceptor.Funcs{})
	o.settle(t)
	after, releases := deployments()
	for _, name := range names {
		if !equality.Semantic.DeepEqual(after[name], before[name]) || releases[name] != "1.1.0 registry:test" {
			t.Errorf("%s: pods changed, or release %s", name, releases[name])
		}
		rollOut(t, namespace, name) // its generation is another all the same
	}
	o.stop()

	// Another image.
	startUpgrade(t, "2.0.0", "registry:new", namespace)
	upgraded := func() []string {
		var list []string
		for _, name := range names {
			if d := get(t, namespace, name, &appsv1.Deployment{}); strings.HasPrefix(d.Annotations[children.AnnotationVersion], "2.0.0") {
				list = append(list, name)
			}
		}
		return list
	}
	oneMore := func(n int) []string {
		eventually(t, fmt.Sprintf("%d are upgraded", n), func() error {
			if list := upgraded(); len(list) != n {
				return fmt.Errorf("%v", list)
			}
			return nil
		})
		// Each tries to get a slot several times meanwhile.
		for until := time.Now().Add(upgradePoll + time.Second); time.Now().Before(until); {
			if list := upgraded(); len(list) != n {
				t.Fatalf("%d at once: %v", len(list), list)
			}
		}
		return upgraded()
	}
	first := oneMore(1)
	for _, name := range names {
		if name != first[0] {
			eventually(t, name+" says that it waits", func() error {
				must(t, api.Get(t.Context(), client.ObjectKeyFromObject(registries[name]), registries[name]))
				for _, c := range registries[name].Status.Conditions {
					if c.Type == v1alpha1.ConditionAvailable && c.Status == metav1.ConditionTrue && imageRun(t, namespace, name) == "registry:test" {
						return nil
					}
				}
				return fmt.Errorf("%+v", registries[name].Status.Conditions)
			})
		}
	}
	rollOut(t, namespace, first[0])
	second := oneMore(2)
	failing := second[0]
	if failing == first[0] {
		failing = second[1]
	}
	d := get(t, namespace, failing, &appsv1.Deployment{})
	d.Status.ObservedGeneration = d.Generation
	d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"})
	must(t, api.Status().Update(t.Context(), d))
	wantCondition(t, registries[failing], v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonDeadlineExceeded)
	oneMore(2)
	rollOut(t, namespace, failing)
	oneMore(3)
}

// imageRun is the image that a registry's pods run.
func imageRun(t *testing.T, namespace, name string) string {
	t.Helper()
	return get(t, namespace, name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image
}
