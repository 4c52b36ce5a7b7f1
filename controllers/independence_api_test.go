package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// obstacles are what keeps the rest of a spec from being carried out, with the condition that says so.
var obstacles = map[string]struct {
	// edit of a spec, for a deletion policy
	edit   string
	kind   string
	status metav1.ConditionStatus
	reason string
}{
	"a configuration that is refused": {`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"%s"}},"config":{"http":{"addr":":1"}}}`, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid},
	"suspended":                       {`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"%s"}},"suspend":true}`, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSuspended},
	"a NetworkPolicy that is refused": {`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"%s"}},"networkPolicy":{"enabled":true,"ingress":[{"ports":[{"port":99999}]}]}}`, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused},
	"a Deployment that is refused":    {`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"%s"}},"pod":{"resources":{"requests":{"memory":"2Gi"},"limits":{"memory":"1Gi"}}}}`, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused},
	"a claim that may not grow":       {`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"%s","size":"2Gi"}}}`, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonRefused},
}

func wantOwners(t *testing.T, r *v1alpha1.PackRegistry, want int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the claim has %d owners", want), func() error {
		if claim := get(t, r.Namespace, r.Name+"-data", &corev1.PersistentVolumeClaim{}); len(claim.OwnerReferences) != want {
			return fmt.Errorf("%v", claim.OwnerReferences)
		}
		return nil
	})
}

func htpasswdOf(t *testing.T, r *v1alpha1.PackRegistry) string {
	t.Helper()
	return string(get(t, r.Namespace, children.UsersName(r), &corev1.Secret{}).Data[children.UsersKey])
}

func wantUsers(t *testing.T, r *v1alpha1.PackRegistry, line string) {
	t.Helper()
	eventually(t, "the users are in effect", func() error {
		if now := htpasswdOf(t, r); now != line+"\n" {
			return fmt.Errorf("%d bytes of others", len(now))
		}
		return nil
	})
}

// What the spec says of deletion, and who may come in, is carried out whatever else is not.
func TestAPIPacksAndUsersAreSafeWhateverElseIsRefused(t *testing.T) {
	t.Parallel()
	for name, obstacle := range obstacles {
		t.Run(name, func(t *testing.T) {
			_, r := ready(t)
			patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
			wantOwners(t, r, 1)
			// One edit says both.
			patchSpec(t, r, fmt.Sprintf(obstacle.edit, "Retain"))
			wantCondition(t, r, obstacle.kind, obstacle.status, obstacle.reason)
			wantOwners(t, r, 0)
			line := htpasswdLine(t, "ann", "other")
			users := get(t, r.Namespace, "users", &corev1.Secret{})
			users.Data["htpasswd"] = []byte(line)
			must(t, api.Update(t.Context(), users))
			wantUsers(t, r, line)
			// And the other way.
			patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
			wantOwners(t, r, 1)
			wantCondition(t, r, obstacle.kind, obstacle.status, obstacle.reason)
		})
	}
}

// As long as a PackRegistry that was deleted is there, it is not too late to keep its packs.
func TestAPIPacksAreRetainedWhileTheRegistryIsBeingDeleted(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
	wantOwners(t, r, 1)
	hold := func(finalizers string) {
		must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`))))
	}
	hold(`["example.com/hold"]`)
	must(t, api.Delete(t.Context(), r.DeepCopy()))
	patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`)
	wantOwners(t, r, 0)
	hold(`[]`)
}

// The CA of tls.selfSigned goes and stays with the packs, and its certificates follow the hosts, whatever else is not done.
func TestAPICertificatesFollowWhileSuspended(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	patchSpec(t, r, `{"suspend":true,"hosts":["other.example.com"]}`)
	eventually(t, "the certificate is for the other host", func() error {
		now := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}).Status.Certificate
		if now == nil || now.DNSNames[0] != "other.example.com" {
			return fmt.Errorf("%+v", now)
		}
		return nil
	})
	must(t, api.Delete(t.Context(), get(t, r.Namespace, children.UsersName(r), &corev1.Secret{})))
	get(t, r.Namespace, children.UsersName(r), &corev1.Secret{}) // pods could not start without
	o.settle(t)
}

// Nothing is begun for a registry that is suspended before it ever ran.
func TestAPISuspendedFromTheBeginning(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	r := newRegistry(namespace)
	r.Spec.Suspend = true
	r.Spec.TLS = v1alpha1.TLSSpec{SelfSigned: &v1alpha1.SelfSignedSpec{}}
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionFalse, v1alpha1.ReasonProgressing)
	o.settle(t)
	if made := childrenOf(t, namespace); len(made) > 0 {
		t.Errorf("made %v", made)
	}
}

// A refused child is reported, and holds up neither the others nor what goes.
func TestAPIARefusedChildHoldsUpNothing(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	patchSpec(t, r, `{"monitoring":{"serviceMonitor":{"enabled":true}}}`)
	metrics := get(t, r.Namespace, children.MetricsServiceName(r), &corev1.Service{})
	patchSpec(t, r, `{"networkPolicy":{"enabled":true,"ingress":[{"ports":[{"port":99999}]}]},"monitoring":null,"log":{"level":"debug"}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "NetworkPolicy packs was refused", "99999")
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)
	gone(t, metrics, r.Namespace, metrics.Name)
	eventually(t, "the Deployment is updated", func() error {
		if config := string(configOf(t, r).Data["config.yml"]); !strings.Contains(config, "level: debug") {
			return errors.New(config)
		}
		return nil
	})
	wantEvent(t, r, "Warning", v1alpha1.ReasonRefused, "NetworkPolicy packs")
	// So does the next child that is refused, though the condition is Stalled already.
	patchSpec(t, r, `{"service":{"type":"NodePort","nodePort":80}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "NetworkPolicy packs was refused", "Service packs was refused")
	wantEvent(t, r, "Warning", v1alpha1.ReasonRefused, "Service packs")
	patchSpec(t, r, `{"service":null}`)
	eventually(t, "only one is refused", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if c := meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionStalled); c == nil || strings.Contains(c.Message, "Service packs") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	// What was refused is not asked for again at every event.
	o.settle(t)
	before := o.writes.Load()
	must(t, api.Patch(t.Context(), get(t, r.Namespace, r.Name, &corev1.Service{}), client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"annotations":{"a":"b"}}}`))))
	rollOut(t, r.Namespace, r.Name)
	o.settle(t)
	if n := o.writes.Load() - before; n > 1 { // the status, if that is another
		t.Errorf("%d writes", n)
	}
	// It is asked for at once when the spec says something else.
	patchSpec(t, r, `{"networkPolicy":{"ingress":[{"ports":[{"port":9999}]}]}}`)
	get(t, r.Namespace, r.Name, &networkingv1.NetworkPolicy{})
	eventually(t, "it is not stalled any more", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if c := meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionStalled); c != nil {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

func wantEvent(t *testing.T, r *v1alpha1.PackRegistry, kind, reason, words string) {
	t.Helper()
	eventually(t, "an event "+reason, func() error {
		list := &eventsv1.EventList{}
		if err := api.List(t.Context(), list, client.InNamespace(r.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.Name == r.Name && e.Type == kind && e.Reason == reason && strings.Contains(e.Note, words) {
				return nil
			}
		}
		return fmt.Errorf("%d others", len(list.Items))
	})
}

// What no retry mends is Stalled, with words of the API server's.
func TestAPIPermanentRefusalsAreStalled(t *testing.T) {
	needAPI(t)
	t.Parallel()
	for name, tt := range map[string]struct{ spec, child string }{
		"a node port out of range": {`{"service":{"type":"NodePort","nodePort":80}}`, "Service packs"},
		"requests above limits":    {`{"pod":{"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}}`, "Deployment packs"},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := ready(t)
			patchSpec(t, r, tt.spec)
			wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, tt.child+" was refused")
			wantEvent(t, r, "Warning", v1alpha1.ReasonRefused, tt.child)
			patchSpec(t, r, `{"service":null,"pod":null}`)
			wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		})
	}
	t.Run("a claim of modes that exclude each other", func(t *testing.T) {
		namespace := newNamespace(t)
		startOperator(t, namespace)
		r := newRegistry(namespace)
		r.Spec.Storage.PersistentVolumeClaim.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod, corev1.ReadWriteOnce}
		must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
		must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
		must(t, api.Create(t.Context(), r))
		wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "PersistentVolumeClaim packs-data was refused")
		wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonRefused)
		err := api.Get(t.Context(), client.ObjectKeyFromObject(r), &appsv1.Deployment{})
		if !apierrors.IsNotFound(err) {
			t.Errorf("pods were made without their claim: %v", err)
		}
	})
}

// A quota is waited for: nothing says that waiting will not help, and it is noticed soon when it is lifted.
func TestAPIQuotaIsWaitedFor(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "none", Namespace: namespace},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"persistentvolumeclaims": resource.MustParse("0")}}}
	must(t, api.Create(t.Context(), quota))
	quota.Status = corev1.ResourceQuotaStatus{Hard: quota.Spec.Hard, Used: corev1.ResourceList{"persistentvolumeclaims": resource.MustParse("0")}}
	must(t, api.Status().Update(t.Context(), quota))
	startOperator(t, namespace)
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonQuotaExceeded, "PersistentVolumeClaim packs-data", "exceeded quota")
	wantCondition(t, r, v1alpha1.ConditionStorageReady, metav1.ConditionFalse, v1alpha1.ReasonQuotaExceeded)
	live := get(t, namespace, r.Name, &v1alpha1.PackRegistry{})
	if c := meta.FindStatusCondition(live.Status.Conditions, v1alpha1.ConditionStalled); c != nil {
		t.Errorf("stalled: %s", c.Message)
	}
	get(t, namespace, r.Name, &corev1.Service{}) // what needs no quota is there
	must(t, api.Delete(t.Context(), quota))
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// A claim of somebody else's is not mounted.
func TestAPIAForeignClaimIsNotMounted(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	o := startOperator(t, namespace)
	foreign := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "packs-data", Namespace: namespace},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}}}
	must(t, api.Create(t.Context(), foreign))
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "p"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	r := newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonConflict, "PersistentVolumeClaim packs-data exists already")
	get(t, namespace, "packs", &corev1.Service{})
	o.settle(t)
	if err := api.Get(t.Context(), client.ObjectKeyFromObject(r), &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("there is a Deployment: %v", err)
	}
}

// A slot to be upgraded whose apply fails is not kept: what becomes of that registry is no other's concern.
func TestAPIASlotWhoseApplyFailsIsReleased(t *testing.T) {
	t.Parallel()
	for name, overtake := range map[string]func(t *testing.T, r *v1alpha1.PackRegistry){
		"another spec": func(t *testing.T, r *v1alpha1.PackRegistry) { patchSpec(t, r, `{"log":{"level":"debug"}}`) },
		"no Deployment": func(t *testing.T, r *v1alpha1.PackRegistry) {
			must(t, api.Delete(t.Context(), get(t, r.Namespace, r.Name, &appsv1.Deployment{})))
		},
		"suspended":    func(t *testing.T, r *v1alpha1.PackRegistry) { patchSpec(t, r, `{"suspend":true}`) },
		"it goes away": func(t *testing.T, r *v1alpha1.PackRegistry) { must(t, api.Delete(t.Context(), r.DeepCopy())) },
	} {
		t.Run(name, func(t *testing.T) {
			needAPI(t)
			namespace := newNamespace(t)
			o := startOperator(t, namespace)
			must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
			must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
			registries := map[string]*v1alpha1.PackRegistry{}
			for _, name := range []string{"a", "b"} {
				r := newRegistry(namespace)
				r.Name, r.Spec.Hosts = name, []string{name + ".example.com"}
				must(t, api.Create(t.Context(), r))
				bind(t, namespace, name+"-data")
				rollOut(t, namespace, name)
				registries[name] = r
			}
			o.settle(t)
			o.stop()
			// The next release's first write of a Deployment fails, and that registry's later ones do until it is overtaken.
			var victim atomic.Pointer[string]
			var over atomic.Bool
			startAs(t, "2.0.0", "registry:new", namespace, interceptor.Funcs{
				Apply: func(ctx context.Context, c client.WithWatch, intent runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
					if d, ok := intent.(interface{ GetKind() *string }); ok && *d.GetKind() == "Deployment" {
						name := *intent.(namedApply).GetName()
						if victim.CompareAndSwap(nil, &name) || *victim.Load() == name && !over.Load() {
							return apierrors.NewInternalError(errors.New("not now"))
						}
					}
					return c.Apply(ctx, intent, opts...)
				},
			})
			eventually(t, "an apply in a slot fails", func() error {
				if victim.Load() == nil {
					return errors.New("not yet")
				}
				return nil
			})
			overtake(t, registries[*victim.Load()])
			over.Store(true)
			other := "a"
			if *victim.Load() == "a" {
				other = "b"
			}
			eventually(t, "the other is upgraded", func() error {
				// What is being rolled for another spec's sake plays no part.
				if image := imageRun(t, namespace, other); image != "registry:new" {
					return errors.New(image)
				}
				return nil
			})
		})
	}
}
