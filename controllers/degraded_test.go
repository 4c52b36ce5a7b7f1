package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// servedRegistry is a registry of which everything is well.
func servedRegistry(t *testing.T) *observed {
	t.Helper()
	r := newRegistry("n")
	r.Generation, r.Status.AppliedGeneration = 2, 2
	return &observed{registry: r, image: "i", now: now, deployment: deploymentWith(1, 1, 1, 1, 1),
		service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: "n"}},
		claim:   &corev1.PersistentVolumeClaim{Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound}},
		sources: map[string]*corev1.Secret{
			"users":       usersSecret("n", htpasswdLine(t, "ann", "p")),
			"certificate": certificateSecret(t, "n", "packs.example.com", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0)),
			"keys":        {Data: map[string][]byte{accessKeyID: []byte("a"), secretAccessKey: []byte("b")}},
		}}
}

// What needs attention while clients are served is Degraded, with the part's own condition, and leaves Ready true; what
// clients notice is not ready.
func TestDegraded(t *testing.T) {
	t.Parallel()
	certificate := func(end time.Time) *corev1.Secret {
		return certificateSecret(t, "n", "packs.example.com", now.AddDate(-1, 0, 0), end)
	}
	onBucket := func(o *observed) {
		o.registry.Spec.Storage = v1alpha1.StorageSpec{S3: &v1alpha1.S3Spec{Bucket: "packs", Region: "r", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}}
	}
	for _, tt := range []struct {
		name   string
		change func(*observed)
		part   string
		reason string
		served bool
	}{
		{"nothing", func(*observed) {}, "", "", true},
		{"a volume nearly full", func(o *observed) { o.space = &Space{Size: 100, Free: 1} }, v1alpha1.ConditionStorageReady, v1alpha1.ReasonNearlyFull, true},
		{"a volume that cannot grow", func(o *observed) {
			size := resource.MustParse("9Gi")
			o.registry.Spec.Storage.PersistentVolumeClaim.Size = &size
			o.claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
		}, v1alpha1.ConditionStorageReady, v1alpha1.ReasonCannotGrow, true},
		{"a claim that has lost its volume", func(o *observed) { o.claim.Status.Phase = corev1.ClaimLost }, v1alpha1.ConditionStorageReady, v1alpha1.ReasonClaimLost, false},
		{"keys of a bucket that are gone, and pods that run with a copy", func(o *observed) { onBucket(o); delete(o.sources, "keys") }, v1alpha1.ConditionStorageReady, v1alpha1.ReasonSecretMissing, true},
		{"keys of a bucket that are gone, and pods of an earlier generation", func(o *observed) {
			onBucket(o)
			delete(o.sources, "keys")
			o.registry.Status.AppliedGeneration = 1
		}, v1alpha1.ConditionStorageReady, v1alpha1.ReasonSecretMissing, false},
		{"keys of a bucket that never were", func(o *observed) { onBucket(o); delete(o.sources, "keys"); o.deployment = nil }, v1alpha1.ConditionStorageReady, v1alpha1.ReasonSecretMissing, false},
		{"users known before", func(o *observed) {
			delete(o.sources, "users")
			o.users = &corev1.Secret{Data: map[string][]byte{children.UsersKey: []byte("ann:x")}}
		}, v1alpha1.ConditionAuthReady, v1alpha1.ReasonLastGoodUsers, true},
		{"no users", func(o *observed) { delete(o.sources, "users") }, v1alpha1.ConditionAuthReady, v1alpha1.ReasonSecretMissing, false},
		{"a certificate that expires soon", func(o *observed) { o.sources["certificate"] = certificate(now.AddDate(0, 0, 2)) }, v1alpha1.ConditionTLSReady, v1alpha1.ReasonExpiresSoon, true},
		{"a certificate that has expired", func(o *observed) { o.sources["certificate"] = certificate(now.AddDate(0, 0, -2)) }, v1alpha1.ConditionTLSReady, v1alpha1.ReasonExpired, false},
		{"certificates to trust that are gone", func(o *observed) { o.registry.Spec.TLS.ClientCARef = &v1alpha1.CARef{Name: "none"} }, v1alpha1.ConditionTLSReady, v1alpha1.ReasonSecretMissing, true},
		{"certificates to trust that are gone, beside a certificate that has expired", func(o *observed) {
			o.registry.Spec.TLS.ClientCARef = &v1alpha1.CARef{Name: "none"}
			o.sources["certificate"] = certificate(now.AddDate(0, 0, -2))
		}, v1alpha1.ConditionTLSReady, v1alpha1.ReasonSecretMissing, false},
		{"pods that a quota does not admit, beside one that answers", func(o *observed) {
			o.deployment = deploymentWith(1, 1, 2, 1, 1)
			o.deployment.Status.Conditions = append(o.deployment.Status.Conditions, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: "exceeded quota"})
			o.registry.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: 2}}
		}, v1alpha1.ConditionAvailable, v1alpha1.ReasonReplicaFailure, true},
		{"metrics that nobody scrapes", func(o *observed) {
			o.registry.Spec.Monitoring = &v1alpha1.MonitoringSpec{ServiceMonitor: &v1alpha1.ServiceMonitorSpec{Enabled: true}}
		}, v1alpha1.ConditionExposed, v1alpha1.ReasonServiceMonitorNotInstalled, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := servedRegistry(t)
			tt.change(o)
			status := report(o, decide(o), nil)
			ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if (ready.Status == metav1.ConditionTrue) != tt.served {
				t.Errorf("Ready=%s %s: %s", ready.Status, ready.Reason, ready.Message)
			}
			if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReconciling); (c == nil) != tt.served {
				t.Errorf("Reconciling: %v", c)
			}
			degraded := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDegraded)
			if !tt.served || tt.part == "" {
				if degraded != nil {
					t.Errorf("Degraded, and no client is served: %v", degraded)
				}
				return
			}
			if degraded == nil || degraded.Status != metav1.ConditionTrue || degraded.Reason != tt.reason {
				t.Fatalf("Degraded: %v", degraded)
			}
			if part := meta.FindStatusCondition(status.Conditions, tt.part); part.Reason != tt.reason || !strings.Contains(degraded.Message, part.Message) {
				t.Errorf("%s=%s %s: %s; Degraded: %s", tt.part, part.Status, part.Reason, part.Message, degraded.Message)
			}
			// It goes when it is not true any more.
			o.registry.Status = status
			well := servedRegistry(t)
			well.registry.Status = status
			if c := meta.FindStatusCondition(report(well, decide(well), nil).Conditions, v1alpha1.ConditionDegraded); c != nil {
				t.Errorf("Degraded stays: %v", c)
			}
		})
	}
}

// An API server that fails for a moment takes no client away from a registry that was ready; a spec that could not be carried out
// yet is not ready.
func TestDegradedByCallsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name     string
		ready    int64
		degraded bool
	}{{"ready before", 2, true}, {"a new generation", 1, false}} {
		t.Run(tt.name, func(t *testing.T) {
			o := servedRegistry(t)
			o.registry.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, ObservedGeneration: tt.ready}}
			status := report(o, decide(o), errors.New("service unavailable"))
			ready := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady)
			if (ready.Status == metav1.ConditionTrue) != tt.degraded {
				t.Errorf("%+v", ready)
			}
			c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionDegraded)
			if (c != nil) != tt.degraded || c != nil && (c.Reason != v1alpha1.ReasonReconcileFailed || !strings.Contains(c.Message, "service unavailable")) {
				t.Errorf("%+v", c)
			}
		})
	}
}

// All that is to be mended is named, the first of the parts as the reason.
func TestDegradedNamesAll(t *testing.T) {
	o := servedRegistry(t)
	o.space = &Space{Size: 100, Free: 1}
	o.sources["certificate"] = certificateSecret(t, "n", "packs.example.com", now.AddDate(-1, 0, 0), now.AddDate(0, 0, 2))
	c := meta.FindStatusCondition(report(o, decide(o), nil).Conditions, v1alpha1.ConditionDegraded)
	if c == nil || c.Reason != v1alpha1.ReasonNearlyFull || !strings.Contains(c.Message, "full") || !strings.Contains(c.Message, "expires on") {
		t.Errorf("%v", c)
	}
}
