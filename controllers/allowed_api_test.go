package controllers

import (
	"errors"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/controllers/limits"
)

const hostsAnnotation = "example.com/hosts"

// startLimited runs an operator with the default limits, and with hosts that namespaces list.
func startLimited(t *testing.T, namespace string) *operator {
	t.Helper()
	flags := limits.DefaultFlags()
	flags.HostsAnnotation = hostsAnnotation
	l, err := limits.Parse(flags)
	must(t, err)
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
	return startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, func(r *Reconciler) { r.Limits = l })
}

func allowHosts(t *testing.T, namespace, hosts string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, hostsAnnotation, hosts)
	must(t, api.Patch(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, client.RawPatch(types.MergePatchType, patch)))
}

// What is not allowed is Stalled, with the field and who can change that; it is not carried out, and users follow all the same.
func TestAPIWhatIsNotAllowedIsNotCarriedOut(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	allowHosts(t, namespace, "*.example.com")
	o := startLimited(t, namespace)
	r := runningRegistry(t, namespace, "packs", func(*v1alpha1.PackRegistry) {})
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	before := get(t, namespace, "packs", &appsv1.Deployment{})
	patchSpec(t, r, `{"image":"evil:1","ingress":{"className":"nginx","annotations":{"nginx.ingress.kubernetes.io/server-snippet":"hush"}},
		"metadata":{"annotations":{"reflector.example.com/allowed":"true"}},
		"pod":{"env":[{"name":"A","valueFrom":{"secretKeyRef":{"name":"any","key":"hush"}}}],"volumes":[{"name":"a","hostPath":{"path":"/"}}]}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotAllowed, "spec.image", "--allowed-images", "spec.pod.env[0].valueFrom.secretKeyRef",
		"spec.pod.volumes", "--allowed-pod-fields", "spec.ingress.annotations[nginx.ingress.kubernetes.io/server-snippet]", "spec.metadata.annotations[reflector.example.com/allowed]")
	wantEvent(t, r, "Warning", v1alpha1.ReasonNotAllowed, "spec.image")
	line := htpasswdLine(t, "ann", "other")
	users := get(t, namespace, "packs-accounts", &corev1.Secret{})
	users.Data["htpasswd"] = []byte(line)
	must(t, api.Update(t.Context(), users))
	wantUsers(t, r, line)
	o.settle(t)
	if now := get(t, namespace, "packs", &appsv1.Deployment{}); now.Generation != before.Generation {
		t.Error("the Deployment was changed")
	}
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), &networkingv1.Ingress{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is an Ingress: %v", err)
	}
	if a := get(t, namespace, children.UsersName(r), &corev1.Secret{}).Annotations; a["reflector.example.com/allowed"] != "" {
		t.Errorf("users carry %v", a)
	}
	patchSpec(t, r, `{"image":null,"ingress":null,"metadata":null,"pod":null}`)
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	// Hosts are the namespace's, which those who create PackRegistries do not change.
	patchSpec(t, r, `{"hosts":["packs.example.com","packs.example.org"]}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotAllowed, "spec.hosts[1]: packs.example.org", namespace, hostsAnnotation)
	allowHosts(t, namespace, "*.example.com,packs.example.org")
	o.stop()
	startLimited(t, namespace) // else it looks twice a minute
	eventually(t, "it is not stalled any more", func() error {
		if c := meta.FindStatusCondition(get(t, namespace, "packs", r.DeepCopy()).Status.Conditions, v1alpha1.ConditionStalled); c != nil {
			return errors.New(c.Message)
		}
		return nil
	})
}

// A host that a namespace may not have is kept from nobody: who only asks for it, however early, is no conflict for those who may have it.
// Once the namespace may have it, it is theirs as it is everybody's.
func TestAPIAHostThatIsNotAllowedIsNobodys(t *testing.T) {
	needAPI(t)
	t.Parallel()
	squatters, owners := newNamespace(t), newNamespace(t)
	allowHosts(t, squatters, "*.example.org")
	allowHosts(t, owners, "packs.example.com")
	flags := limits.DefaultFlags()
	flags.HostsAnnotation = hostsAnnotation
	l, err := limits.Parse(flags)
	must(t, err)
	me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{squatters, owners}}
	start := func() *operator {
		return startInstallation(t, me, "1.0.0", "registry:test", squatters, interceptor.Funcs{}, func(r *Reconciler) { r.Limits = l })
	}
	o := start()
	host := func(r *v1alpha1.PackRegistry) { r.Spec.Hosts = []string{"packs.example.com"} }
	squat := newRegistry(squatters)
	host(squat)
	must(t, api.Create(t.Context(), squat))
	wantCondition(t, squat, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNotAllowed, "packs.example.com")
	eventually(t, "a second has passed, so that it is clear who came first", func() error {
		if !time.Now().After(squat.CreationTimestamp.Add(time.Second)) {
			return errors.New("not yet")
		}
		return nil
	})
	packs := runningRegistry(t, owners, "packs", host)
	wantCondition(t, packs, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

	allowHosts(t, squatters, "packs.example.com")
	o.stop()
	start() // else it looks twice a minute
	wantCondition(t, packs, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "another namespace")
}

// What this repository shows to people is allowed by the operator's defaults.
func TestSamplesAreAllowed(t *testing.T) {
	l, err := limits.Parse(limits.DefaultFlags())
	must(t, err)
	seen := 0
	for _, u := range readSamples(t) {
		if u.GetKind() != "PackRegistry" {
			continue
		}
		r := &v1alpha1.PackRegistry{}
		must(t, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, r))
		seen++
		if refused := l.Refused(&r.Spec, "packregistry.dev/registry:1.0.0"); refused != nil {
			t.Errorf("%s: %v", u.GetName(), refused)
		}
	}
	if seen < 3 {
		t.Errorf("%d samples", seen)
	}
}
