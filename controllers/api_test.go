package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

func TestAPIStatusIsUnknownBeforeTheFirstLook(t *testing.T) {
	needAPI(t)
	r := newRegistry(newNamespace(t))
	must(t, api.Create(t.Context(), r))
	if r.Status.ObservedGeneration != -1 {
		t.Errorf("observedGeneration %d", r.Status.ObservedGeneration)
	}
	wantKstatus(t, r, status.InProgressStatus)
}

func TestAPIReconcile(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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

func TestAPISecondReconcileWritesNothing(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

// Events report transitions, each once, and hold no secret.
func TestAPIEvents(t *testing.T) {
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
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

func TestAPICustomResourceIsSmall(t *testing.T) {
	needAPI(t)
	t.Parallel()
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
	t.Parallel()
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
