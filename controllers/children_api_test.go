package controllers

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	v1alpha1apply "packregistry.dev/api/v1alpha1/applyconfiguration/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// Labels and annotations of spec.metadata are on every child, and in no selector; what is not asked for any more goes.
func TestAPIMetadataOfChildren(t *testing.T) {
	needAPI(t)
	o, r := onBucket(t, 2)
	installKinds(t, serviceMonitorCRD)
	patchSpec(t, r, `{"ingress":{},"networkPolicy":{"enabled":true},"monitoring":{"serviceMonitor":{"enabled":true}},
		"service":{"annotations":{"example.com/of":"service"}},"metadata":{"labels":{"cost-center":"7"},"annotations":{"example.com/of":"all"}}}`)
	monitor := emptyOfKind(children.ServiceMonitorKind.WithVersion("v1"))
	monitor.SetName(r.Name)
	named := func(o client.Object, name string) client.Object {
		o.SetName(name)
		return o
	}
	all := []client.Object{
		named(&appsv1.Deployment{}, r.Name), named(&corev1.Service{}, r.Name), named(&corev1.Service{}, children.MetricsServiceName(r)),
		named(&corev1.Secret{}, children.UsersName(r)), named(&corev1.ConfigMap{}, children.CAName(r)),
		named(&corev1.Secret{}, children.CAName(r)), named(&corev1.Secret{}, children.TLSSecret(r)),
		named(&policyv1.PodDisruptionBudget{}, r.Name), named(&networkingv1.Ingress{}, r.Name), named(&networkingv1.NetworkPolicy{}, r.Name), monitor,
	}
	want := func(label, annotation string) {
		t.Helper()
		for _, child := range all {
			eventually(t, fmt.Sprintf("%T %s has what the spec asks for", child, child.GetName()), func() error {
				live := get(t, r.Namespace, child.GetName(), child.DeepCopyObject().(client.Object))
				want := annotation
				if _, ok := live.(*corev1.Service); ok && live.GetName() == r.Name {
					want = "service"
				}
				if got := live.GetAnnotations()["example.com/of"]; live.GetLabels()["cost-center"] != label || got != want || live.GetLabels()[children.LabelRegistry] != r.Name {
					return fmt.Errorf("%v, %v", live.GetLabels(), live.GetAnnotations())
				}
				return nil
			})
		}
	}
	want("7", "all")
	if d := get(t, r.Namespace, r.Name, &appsv1.Deployment{}); d.Spec.Template.Labels["cost-center"] != "" || len(d.Spec.Selector.MatchLabels) != 2 {
		t.Errorf("the Deployment selects %v, and pods have %v", d.Spec.Selector.MatchLabels, d.Spec.Template.Labels)
	}
	if s := get(t, r.Namespace, r.Name, &corev1.Service{}); len(s.Spec.Selector) != 2 {
		t.Errorf("the Service selects %v", s.Spec.Selector)
	}
	wantNoWritesAfterRestart(t, o, r.Namespace)
	patchSpec(t, r, `{"metadata":null}`)
	want("", "")
}

// What the Service is given is as it was asked for, is written once, and can be taken back: the cluster's choices stay.
func TestAPIServiceFields(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	address := get(t, r.Namespace, r.Name, &corev1.Service{}).Spec.ClusterIP
	patchSpec(t, r, `{"service":{"sessionAffinity":"ClientIP","ipFamilies":["IPv4"],"ipFamilyPolicy":"SingleStack","clusterIP":"`+address+`","labels":{"of":"service"}}}`)
	eventually(t, "the Service has it", func() error {
		if s := get(t, r.Namespace, r.Name, &corev1.Service{}); s.Spec.SessionAffinity != corev1.ServiceAffinityClientIP || s.Labels["of"] != "service" {
			return fmt.Errorf("%+v", s.Spec)
		}
		return nil
	})
	wantNoWritesAfterRestart(t, o, r.Namespace)
	patchSpec(t, r, `{"service":null}`)
	eventually(t, "the Service has it no more", func() error {
		if s := get(t, r.Namespace, r.Name, &corev1.Service{}); s.Spec.SessionAffinity != corev1.ServiceAffinityNone || s.Labels["of"] != "" || s.Spec.ClusterIP != address {
			return fmt.Errorf("%+v", s.Spec)
		}
		return nil
	})
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
}

// Certificates to trust may be in a ConfigMap: a pod mounts it, and what is wrong with it is reported with its kind.
func TestAPICertificatesToTrustInAConfigMap(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	patchSpec(t, r, `{"tls":{"clientCARef":{"kind":"ConfigMap","name":"trusted"}}}`)
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionFalse, v1alpha1.ReasonSecretMissing, "ConfigMap trusted does not exist")
	ca := certificateSecret(t, r.Namespace, "ca", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)).Data[corev1.TLSCertKey]
	must(t, api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "trusted", Namespace: r.Namespace}, Data: map[string]string{"ca.crt": string(ca)}}))
	patchSpec(t, r, `{"log":{"level":"debug"}}`) // it is looked at again at once, and within a minute without
	eventually(t, "pods mount the ConfigMap", func() error {
		for _, v := range get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.Volumes {
			if v.ConfigMap != nil && v.ConfigMap.Name == "trusted" {
				return nil
			}
		}
		return fmt.Errorf("they do not")
	})
	wantCondition(t, r, v1alpha1.ConditionTLSReady, metav1.ConditionTrue, v1alpha1.ReasonCertificateValid)
}

// A sidecar, a volume and what else spec.pod adds are applied once and for all: nothing is written again, also by an operator that
// has just started. What they have that the API server refuses is reported as that.
func TestAPIPodAdditions(t *testing.T) {
	t.Parallel()
	o, r := ready(t)
	patchSpec(t, r, `{"pod":{"containers":[{"name":"beside","image":"sidecar:1","ports":[{"containerPort":9999}],"resources":{"requests":{"cpu":"0.1"}}}],
		"initContainers":[{"name":"first","image":"init:1"}],"volumes":[{"name":"extra","emptyDir":{"sizeLimit":"1024Mi"}}],"volumeMounts":[{"name":"extra","mountPath":"/extra"}],
		"hostAliases":[{"ip":"192.0.2.9","hostnames":["minio"]}],"dnsPolicy":"None","dnsConfig":{"nameservers":["192.0.2.53"]},"schedulerName":"other",
		"probes":{"liveness":{"periodSeconds":30}},"securityContext":{"supplementalGroups":[5]}}}`)
	eventually(t, "the pods have all of it", func() error {
		spec := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec
		if len(spec.Containers) != 2 || spec.Containers[0].Name != "registry" || len(spec.InitContainers) != 1 || spec.SchedulerName != "other" ||
			spec.Containers[0].LivenessProbe.PeriodSeconds != 30 || *spec.SecurityContext.RunAsUser != 65532 {
			return fmt.Errorf("%+v", spec)
		}
		return nil
	})
	rollOut(t, r.Namespace, r.Name)
	wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	wantNoWritesAfterRestart(t, o, r.Namespace)
	if live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{}); live.Status.Image != "registry:test" {
		t.Errorf("status.image is %s", live.Status.Image)
	}
	// The platform's ids, by null as by {}: the API server keeps a null that may be one.
	for _, platform := range []string{`null`, `{}`} {
		patch := []byte(`[{"op":"add","path":"/spec/pod/securityContext","value":` + platform + `}]`)
		must(t, api.Patch(t.Context(), r.DeepCopy(), client.RawPatch(types.JSONPatchType, patch)))
		eventually(t, "the ids are the platform's with "+platform, func() error {
			if c := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.SecurityContext; c.RunAsUser != nil || c.RunAsGroup != nil || c.FSGroup != nil {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
		patchSpec(t, r, `{"pod":{"securityContext":{"runAsUser":7}}}`)
		eventually(t, "they are not", func() error {
			if c := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.SecurityContext; c.RunAsUser == nil || *c.RunAsUser != 7 || c.FSGroup == nil {
				return fmt.Errorf("%+v", c)
			}
			return nil
		})
	}
	patchSpec(t, r, `{"pod":{"containers":[{"name":"beside"}]}}`)
	wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRefused, "Deployment packs was refused", "image")
}

// What the operator cannot decode is reported with its path.
func TestAPIWhatDoesNotDecodeIsReportedByItsPath(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	for _, tt := range []struct{ spec, mend, words string }{
		{`{"networkPolicy":{"enabled":true,"ingress":[{},{"frm":[]}]}}`, `{"networkPolicy":null}`, `spec.networkPolicy.ingress[1]: unknown field "frm"`},
		{`{"networkPolicy":{"enabled":true,"ingress":[{"from":[{"ipBlock":{"cidr":5}}]}]}}`, `{"networkPolicy":null}`, `spec.networkPolicy.ingress[0].from.ipBlock.cidr: number cannot be of type string`},
		{`{"pod":{"containers":[{"name":"a","imagePulPolicy":"Always"}]}}`, `{"pod":null}`, `spec.pod.containers[0]: unknown field "imagePulPolicy"`},
		{`{"pod":{"volumes":[{"name":"data","emptyDir":{}}]}}`, `{"pod":null}`, `spec.pod.volumes[0].name: data is the operator's`},
	} {
		patchSpec(t, r, tt.spec)
		wantCondition(t, r, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid, tt.words)
		patchSpec(t, r, tt.mend)
		wantCondition(t, r, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	}
}

// Other programs apply PackRegistries by generated configurations: what they say is what they own.
func TestAPIApplyConfiguration(t *testing.T) {
	needAPI(t)
	t.Parallel()
	namespace := newNamespace(t)
	wanted := func() *v1alpha1apply.PackRegistryApplyConfiguration { // the client writes the answer into what it is given
		return v1alpha1apply.PackRegistry("packs", namespace).WithLabels(map[string]string{"a": "b"}).WithSpec(v1alpha1apply.PackRegistrySpec().
			WithHosts("packs.example.com").
			WithStorage(v1alpha1apply.StorageSpec().WithPersistentVolumeClaim(v1alpha1apply.PersistentVolumeClaimSpec().WithSize(resource.MustParse("1Gi")))).
			WithAuth(v1alpha1apply.AuthSpec().WithSecretRefs(v1alpha1apply.AuthSecretRef().WithName("users"))).
			WithTLS(v1alpha1apply.TLSSpec().WithSelfSigned(v1alpha1.SelfSignedSpec{})).
			WithPod(v1alpha1apply.PodSpec().WithVolumes(&v1alpha1apply.ObjectApplyConfiguration{RawExtension: runtime.RawExtension{Raw: []byte(`{"emptyDir":{},"name":"v"}`)}})))
	}
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test")))
	live := get(t, namespace, "packs", &v1alpha1.PackRegistry{})
	if len(live.Spec.Pod.Volumes) != 1 || live.Spec.TLS.SelfSigned == nil || live.Spec.Storage.PersistentVolumeClaim.Size.String() != "1Gi" {
		t.Errorf("%+v", live.Spec)
	}
	owned, err := v1alpha1apply.ExtractPackRegistry(live, "test")
	must(t, err)
	if got, want := asJSON(t, owned), asJSON(t, wanted()); got != want {
		t.Errorf("owns\n%s\nand applied\n%s", got, want)
	}
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test"))) // which stores the status's default
	version := get(t, namespace, "packs", &v1alpha1.PackRegistry{}).ResourceVersion
	must(t, api.Apply(t.Context(), wanted(), client.FieldOwner("test")))
	if again := get(t, namespace, "packs", &v1alpha1.PackRegistry{}); again.ResourceVersion != version {
		t.Error("the same again is another object")
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	must(t, err)
	return string(data)
}

// wantNoWritesAfterRestart lets an operator come to rest, and another one, which remembers nothing, take its place.
func wantNoWritesAfterRestart(t *testing.T, o *operator, namespace string) {
	t.Helper()
	o.settle(t)
	o.stop()
	again := startOperator(t, namespace)
	again.settle(t)
	if n := again.writes.Load(); n != 0 {
		t.Errorf("%d writes after a restart", n)
	}
}
