package controllers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

var now = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func TestEvaluateCertificate(t *testing.T) {
	valid := certificateSecret(t, "", "packs.example.com", now.AddDate(0, -1, 0), now.AddDate(0, 6, 0))
	mixed := certificateSecret(t, "", "packs.example.com", now, now.AddDate(1, 0, 0))
	mixed.Data[corev1.TLSPrivateKeyKey] = valid.Data[corev1.TLSPrivateKeyKey]
	for _, tt := range []struct {
		name   string
		secret *corev1.Secret
		hosts  []string
		reason string
		words  string
	}{
		{"valid", valid, []string{"packs.example.com"}, v1alpha1.ReasonCertificateValid, "2030-07-01"},
		{"no host to check", valid, nil, v1alpha1.ReasonCertificateValid, ""},
		{"missing", nil, nil, v1alpha1.ReasonSecretMissing, "Secret c does not exist"},
		{"no key", &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("x")}}, nil, v1alpha1.ReasonSecretInvalid, "no key tls.key"},
		{"garbage", &corev1.Secret{Data: map[string][]byte{"tls.crt": []byte("x"), "tls.key": []byte("secret")}}, nil, v1alpha1.ReasonSecretInvalid, "cannot be used together"},
		{"key of another", mixed, nil, v1alpha1.ReasonSecretInvalid, "private key does not match"},
		{"wrong host", valid, []string{"packs.example.com", "other.example.com"}, v1alpha1.ReasonWrongHost, "not for other.example.com, but for packs.example.com"},
		{"expired", certificateSecret(t, "", "h", now.AddDate(-1, 0, 0), now.AddDate(0, 0, -1)), nil, v1alpha1.ReasonExpired, "expired on 2029-12-31"},
		{"not yet", certificateSecret(t, "", "h", now.AddDate(0, 0, 1), now.AddDate(1, 0, 0)), nil, v1alpha1.ReasonExpired, "not valid before"},
		{"soon", certificateSecret(t, "", "h", now.AddDate(-1, 0, 0), now.AddDate(0, 0, 3)), nil, v1alpha1.ReasonExpiresSoon, "expires on 2030-01-04"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := evaluateCertificate("c", tt.secret, tt.hosts, now)
			if got.reason != tt.reason || !strings.Contains(got.message, tt.words) || strings.Contains(got.message, "secret") {
				t.Errorf("%s: %s", got.reason, got.message)
			}
			if got.leaf != nil && got.reason == v1alpha1.ReasonCertificateValid && !got.nextLook.After(now) {
				t.Errorf("looks again at %v", got.nextLook)
			}
		})
	}
}

func TestMergeUsers(t *testing.T) {
	ann, bob, annToo := htpasswdLine(t, "ann", "1"), htpasswdLine(t, "bob", "2"), htpasswdLine(t, "ann", "3")
	opaque := func(text string) *corev1.Secret {
		return &corev1.Secret{Data: map[string][]byte{"htpasswd": []byte(text), "other": []byte(text)}}
	}
	refs := func(names ...string) (list []v1alpha1.AuthSecretRef) {
		for _, n := range names {
			name, key, _ := strings.Cut(n, "/")
			list = append(list, v1alpha1.AuthSecretRef{Name: name, Key: key})
		}
		return list
	}
	for _, tt := range []struct {
		name     string
		refs     []v1alpha1.AuthSecretRef
		sources  map[string]*corev1.Secret
		want     string
		wrong    string
		duplicte string
	}{
		{"one", refs("a"), map[string]*corev1.Secret{"a": opaque("# people\n\n" + ann + "\r\n" + bob)}, ann + "\n" + bob + "\n", "", ""},
		{"another key", refs("a/other"), map[string]*corev1.Secret{"a": opaque(ann)}, ann + "\n", "", ""},
		{"two, the first wins", refs("a", "b"), map[string]*corev1.Secret{"a": opaque(ann), "b": opaque(annToo + "\n" + bob)}, ann + "\n" + bob + "\n", "", "ann"},
		{"one of two is missing", refs("a", "b"), map[string]*corev1.Secret{"a": opaque(ann)}, "", "Secret b does not exist", ""},
		{"no such key", refs("a/none"), map[string]*corev1.Secret{"a": opaque(ann)}, "", `Secret a: has no key "none"`, ""},
		{"empty", refs("a"), map[string]*corev1.Secret{"a": opaque("# nobody\n")}, "", "Secret a: key htpasswd holds no user", ""},
		{"no colon", refs("a"), map[string]*corev1.Secret{"a": opaque(ann + "\nhunter2")}, "", "Secret a: key htpasswd, line 2: not of the form", ""},
		{"another hash", refs("a"), map[string]*corev1.Secret{"a": opaque("ann:hunter2")}, "", "line 1: no hash that is known", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := mergeUsers(tt.refs, tt.sources, nil, nil)
			wrong := strings.Join(append(m.missing, m.invalid...), "; ")
			if string(m.htpasswd) != tt.want || !strings.Contains(wrong, tt.wrong) || (wrong == "") != (tt.wrong == "") || strings.Join(m.duplicates, ",") != tt.duplicte {
				t.Errorf("%q, wrong %q, duplicates %v", m.htpasswd, wrong, m.duplicates)
			}
			if strings.Contains(wrong, "hunter2") {
				t.Error("a secret is shown")
			}
		})
	}
}

// A basic-auth Secret whose line no login could match, or would be read as another user's or as none, is refused with the reason.
func TestBasicAuthThatNobodyCanUse(t *testing.T) {
	for _, tt := range []struct{ user, password, want string }{
		{"ann", "hunter2\x00hunter2", "the password holds a NUL byte"},
		{"ann", "hunter2" + strings.Repeat("x", 66), "the password is longer than the 72 bytes"},
		{"ann", "", "password is empty"},
		{"", "hunter2", "must not be empty"},
		{"ann:bob", "hunter2", "or hold ':'"},
		{"#ann", "hunter2", "must not begin with '#'"},
		{"an\x00n", "hunter2", "control characters"},
		{"J\xf6rg", "hunter2", "no UTF-8"},
	} {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{"username": []byte(tt.user), "password": []byte(tt.password)}}
		m := mergeUsers([]v1alpha1.AuthSecretRef{{Name: "s"}}, map[string]*corev1.Secret{"s": secret}, nil, &madeLines{})
		if wrong := strings.Join(m.invalid, "; "); !strings.Contains(wrong, tt.want) || strings.Contains(wrong, "hunter2") || m.htpasswd != nil {
			t.Errorf("%q: %q, want %q", tt.user, wrong, tt.want)
		}
	}
}

// The line for a basic-auth Secret is made once and stays while the password does: an operator that made it knows that of every
// version, one that was started since of the version that it was made from.
func TestBasicAuthLineIsMadeOnce(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("ann"), "password": []byte("one")}}
	sources, refs := map[string]*corev1.Secret{"s": secret}, []v1alpha1.AuthSecretRef{{Name: "s"}}
	merged := func(m mergedUsers) *corev1.Secret {
		text, err := json.Marshal(m.versions)
		must(t, err)
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{children.AnnotationSources: string(text)}},
			Data: map[string][]byte{children.UsersKey: m.htpasswd}}
	}
	made := &madeLines{}
	first := mergeUsers(refs, sources, nil, made)
	again := mergeUsers(refs, sources, merged(first), &madeLines{})
	if string(first.htpasswd) != string(again.htpasswd) || len(first.htpasswd) == 0 {
		t.Errorf("%q became %q", first.htpasswd, again.htpasswd)
	}
	secret.Data["password"] = []byte("two")
	secret.ResourceVersion = "2"
	changed := mergeUsers(refs, sources, merged(first), made)
	_, hash, _ := strings.Cut(strings.TrimSpace(string(changed.htpasswd)), ":")
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte("two")) != nil {
		t.Errorf("the new password does not match %q", changed.htpasswd)
	}
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != bcrypt.DefaultCost {
		t.Errorf("cost %d, %v", cost, err)
	}
	// Touched, with the same password: the line stays.
	secret.ResourceVersion = "3"
	touched := mergeUsers(refs, sources, merged(changed), made)
	if string(touched.htpasswd) != string(changed.htpasswd) || touched.versions["s"] == changed.versions["s"] {
		t.Errorf("%q became %q (%v)", changed.htpasswd, touched.htpasswd, touched.versions)
	}
	// An operator that was started since takes the line over with the version, and then knows it too.
	started := &madeLines{}
	if kept := mergeUsers(refs, sources, merged(touched), started); string(kept.htpasswd) != string(changed.htpasswd) {
		t.Errorf("made anew: %q", kept.htpasswd)
	}
	secret.ResourceVersion = "4"
	if kept := mergeUsers(refs, sources, merged(touched), started); string(kept.htpasswd) != string(changed.htpasswd) {
		t.Errorf("made anew: %q", kept.htpasswd)
	}
}

// A stranger's number does not set the operator's work: what a line costs to compare is never paid, and a cost that no server
// takes is refused by its line's number.
func TestCostsOfLinesAreBounded(t *testing.T) {
	dear := strings.Replace(htpasswdLine(t, "bob", "p"), "$04$", "$31$", 1)
	basic := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("bob"), "password": []byte("p")}}
	refs := []v1alpha1.AuthSecretRef{{Name: "s"}}
	before := &corev1.Secret{Data: map[string][]byte{children.UsersKey: []byte(dear + "\n")}}
	m := mergeUsers(refs, map[string]*corev1.Secret{"s": basic}, before, nil) // would take a day
	_, hash, _ := strings.Cut(strings.TrimSpace(string(m.htpasswd)), ":")
	if cost, err := bcrypt.Cost([]byte(hash)); err != nil || cost != bcrypt.DefaultCost {
		t.Errorf("%q: cost %d, %v", m.htpasswd, cost, err)
	}
	for _, cost := range []string{"15", "17", "31"} {
		text := htpasswdLine(t, "ann", "p") + "\n" + strings.Replace(dear, "$31$", "$"+cost+"$", 1) + "\n"
		m := mergeUsers(refs, map[string]*corev1.Secret{"s": {Data: map[string][]byte{children.UsersKey: []byte(text)}}}, nil, nil)
		if len(m.invalid) != 1 || !strings.Contains(m.invalid[0], "line 2: a bcrypt hash of cost "+cost) || m.htpasswd != nil {
			t.Errorf("cost %s: %v", cost, m.invalid)
		}
	}
}

// Merged users that somebody has overwritten are put back: from the sources, or from the copy where a source is broken. Where
// both are gone the condition says so.
func TestOverwrittenUsers(t *testing.T) {
	good, other := htpasswdLine(t, "ann", "p")+"\n", htpasswdLine(t, "eve", "p")+"\n"
	owned := func(keys ...string) []metav1.ManagedFieldsEntry {
		fields := map[string]any{}
		for _, key := range keys {
			fields["f:"+key] = map[string]any{}
		}
		text, err := json.Marshal(map[string]any{"f:data": fields})
		must(t, err)
		return []metav1.ManagedFieldsEntry{{Manager: FieldOwner, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(text))}}
	}
	all := []string{children.UsersKey, children.LastGoodUsersKey, children.SaltKey}
	for _, tt := range []struct {
		name         string
		owned        []metav1.ManagedFieldsEntry
		users, copy_ string
		want, reason string
	}{
		{"as they were merged", owned(all...), good, good, good, v1alpha1.ReasonLastGoodUsers},
		{"by an earlier operator", owned(children.UsersKey, children.SaltKey), good, "", good, v1alpha1.ReasonLastGoodUsers},
		{"overwritten", owned(all[1:]...), other, good, good, v1alpha1.ReasonLastGoodUsers},
		{"the copy overwritten", owned(children.UsersKey), good, other, good, v1alpha1.ReasonLastGoodUsers},
		{"both overwritten", owned(children.SaltKey), other, other, "", v1alpha1.ReasonSecretInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry("n")
			current := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: children.UsersName(r), ManagedFields: tt.owned},
				Data: map[string][]byte{children.UsersKey: []byte(tt.users), children.LastGoodUsersKey: []byte(tt.copy_), children.SaltKey: []byte("salt")}}
			o := &observed{registry: r, now: now, users: current, sources: map[string]*corev1.Secret{"users": usersSecret("n", "ann:hunter2")}}
			d := decide(o)
			if got := string(d.users.htpasswd); got != tt.want {
				t.Errorf("%q", got)
			}
			if f := authReady(o, d); f.status != metav1.ConditionFalse || f.reason != tt.reason || !strings.Contains(f.message, "Secret users: key htpasswd, line 1") {
				t.Errorf("%+v", f)
			} else if tt.want == "" && !strings.Contains(f.message, "Secret packs-registry-users was overwritten") {
				t.Errorf("%+v", f)
			}
		})
	}
}

func deploymentWith(generation, observed int64, want, updated, available int32) *appsv1.Deployment {
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Generation: generation}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To(want)},
		Status: appsv1.DeploymentStatus{ObservedGeneration: observed, Replicas: updated, UpdatedReplicas: updated, AvailableReplicas: available}}
	if available > 0 {
		d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentAvailable, Status: corev1.ConditionTrue}}
	}
	return d
}

// I14: a new generation is Unknown until it is rolled out; one that was stays True while enough replicas answer.
func TestReady(t *testing.T) {
	late := deploymentWith(2, 2, 1, 1, 0)
	late.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: "ProgressDeadlineExceeded"}}
	quota := deploymentWith(1, 1, 1, 0, 0)
	quota.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"}}
	for _, tt := range []struct {
		name       string
		deployment *appsv1.Deployment
		wasReady   int64 // the generation that was ready before; 0 for none
		want       metav1.ConditionStatus
		reason     string
		stalled    bool
	}{
		{"rolled out", deploymentWith(1, 1, 1, 1, 1), 0, metav1.ConditionTrue, v1alpha1.ReasonReady, false},
		{"not begun", nil, 0, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, false},
		{"first pod is coming", deploymentWith(1, 1, 1, 1, 0), 0, metav1.ConditionUnknown, v1alpha1.ReasonRollingOut, false},
		{"new generation rolls out, the old one answers", deploymentWith(2, 1, 2, 1, 1), 1, metav1.ConditionUnknown, v1alpha1.ReasonRollingOut, false},
		{"settled, one of two answers", deploymentWith(2, 2, 2, 2, 1), 2, metav1.ConditionTrue, v1alpha1.ReasonReady, false},
		{"settled, then the only pod went", deploymentWith(2, 2, 1, 1, 0), 2, metav1.ConditionUnknown, v1alpha1.ReasonRollingOut, false},
		{"too late", late, 1, metav1.ConditionFalse, v1alpha1.ReasonDeadlineExceeded, true},
		{"no quota", quota, 0, metav1.ConditionUnknown, v1alpha1.ReasonReplicaFailure, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry("n")
			r.Generation = 2
			r.Spec.Storage = v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}}
			if tt.wasReady > 0 {
				r.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: tt.wasReady}}
			}
			certificate := certificateSecret(t, "n", "packs.example.com", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0))
			o := &observed{registry: r, image: "i", now: now, deployment: tt.deployment, service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: "n"}},
				sources: map[string]*corev1.Secret{"users": usersSecret("n", htpasswdLine(t, "ann", "p")), "certificate": certificate}}
			status := report(o, decide(o), nil)
			c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if c.Status != tt.want || c.Reason != tt.reason {
				t.Errorf("Ready=%s %s: %s", c.Status, c.Reason, c.Message)
			}
			if got := meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionStalled); got != tt.stalled {
				t.Errorf("Stalled=%v", got)
			}
			if status.ObservedGeneration != 2 {
				t.Errorf("observedGeneration %d", status.ObservedGeneration)
			}
			// The same again is the same status: nothing in it moves by itself.
			r.Status = status
			if again := report(o, decide(o), nil); len(again.Conditions) != len(status.Conditions) {
				t.Errorf("%d conditions became %d", len(status.Conditions), len(again.Conditions))
			}
		})
	}
}

func TestURL(t *testing.T) {
	service := func(kind corev1.ServiceType, address string) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: "n"}, Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 443, NodePort: 30443}}}}
		if address != "" {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address}}
		}
		return s
	}
	for _, tt := range []struct {
		name    string
		change  func(*v1alpha1.PackRegistrySpec)
		service *corev1.Service
		want    string
	}{
		{"no service yet", nil, nil, ""},
		{"cluster", nil, service(corev1.ServiceTypeClusterIP, ""), "https://packs.n.svc"},
		{"plain", func(s *v1alpha1.PackRegistrySpec) { s.TLS = v1alpha1.TLSSpec{Disabled: &v1alpha1.DisabledSpec{}} }, service(corev1.ServiceTypeClusterIP, ""), "http://packs.n.svc"},
		{"another port", func(s *v1alpha1.PackRegistrySpec) { s.Service.Port = 8443 }, service(corev1.ServiceTypeClusterIP, ""), "https://packs.n.svc:8443"},
		{"load balancer without address", nil, service(corev1.ServiceTypeLoadBalancer, ""), ""},
		{"load balancer", nil, service(corev1.ServiceTypeLoadBalancer, "192.0.2.1"), "https://packs.example.com"},
		{"load balancer, no host", func(s *v1alpha1.PackRegistrySpec) { s.Hosts = nil }, service(corev1.ServiceTypeLoadBalancer, "192.0.2.1"), "https://192.0.2.1"},
		{"node port", nil, service(corev1.ServiceTypeNodePort, ""), "https://packs.example.com:30443"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry("n")
			if tt.change != nil {
				tt.change(&r.Spec)
			}
			if got := url(&observed{registry: r, service: tt.service}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestInvalid(t *testing.T) {
	r := newRegistry("n")
	if got := validate(&observed{registry: r}); !strings.Contains(got, "RELATED_IMAGE_REGISTRY") {
		t.Errorf("no image: %q", got)
	}
	r.Spec.Replicas = ptr.To[int32](2)
	r.Spec.Storage.PersistentVolumeClaim = &v1alpha1.PersistentVolumeClaimSpec{ClaimName: "shared"}
	o := &observed{registry: r, image: "i", claim: &corev1.PersistentVolumeClaim{}}
	if got := validate(o); !strings.Contains(got, "ReadWriteMany") {
		t.Errorf("two replicas on one node's claim: %q", got)
	}
	o.claim.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	if got := validate(o); got != "" {
		t.Errorf("a shared claim: %q", got)
	}
}

func TestPodTroubleNamesTheCause(t *testing.T) {
	waiting := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "storage directory /data: permission denied"}},
	}}}}
	if got := podTrouble(&observed{pods: []corev1.Pod{waiting}}, "m"); !strings.Contains(got, "pod p: CrashLoopBackOff: storage directory /data: permission denied") {
		t.Error(got)
	}
	unscheduled := corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}}}
	if got := podTrouble(&observed{pods: []corev1.Pod{unscheduled}}, "m"); !strings.Contains(got, "cannot be scheduled: 0/1 nodes") {
		t.Error(got)
	}
}

// Each kind of storage can be decided on, before anything is there.
func TestDecideOnEachKindOfStorage(t *testing.T) {
	for name, storage := range map[string]v1alpha1.StorageSpec{
		"claim":     newRegistry("team").Spec.Storage,
		"claimName": {PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{ClaimName: "shared"}},
		"s3":        {S3: &v1alpha1.S3Spec{Bucket: "packs", Region: "eu-west-1"}},
		"inMemory":  {InMemory: &v1alpha1.InMemorySpec{}},
	} {
		r := newRegistry("team")
		r.Spec.Storage = storage
		o := &observed{registry: r, now: now, image: "registry:test"}
		if d := decide(o); d.stalled() {
			t.Errorf("%s: %s%s", name, d.invalid, d.conflict)
		} else if s := report(o, d, nil); len(s.Conditions) == 0 {
			t.Errorf("%s: nothing is reported", name)
		}
	}
}
