package controllers

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// A kind that cannot be read now is no concern of a registry that does not use it; of one that does, the condition of the part
// says so, in the same words at each look.
func TestAnOptionalKindThatCannotBeRead(t *testing.T) {
	for _, tt := range []struct {
		name      string
		kind      schema.GroupKind
		use       func(*v1alpha1.PackRegistry)
		condition string
		ready     metav1.ConditionStatus
	}{
		{"a route that is not asked for", children.RouteKind(&v1alpha1.PackRegistry{}), nil, "", metav1.ConditionTrue},
		{"a ServiceMonitor that is not asked for", children.ServiceMonitorKind, nil, "", metav1.ConditionTrue},
		{"a Certificate that is not asked for", children.CertificateKind, nil, "", metav1.ConditionTrue},
		{"a ServiceMonitor", children.ServiceMonitorKind, func(r *v1alpha1.PackRegistry) {
			r.Spec.Monitoring = &v1alpha1.MonitoringSpec{ServiceMonitor: &v1alpha1.ServiceMonitorSpec{Enabled: true}}
		},
			v1alpha1.ConditionExposed, metav1.ConditionTrue},
		{"a route", children.RouteKind(&v1alpha1.PackRegistry{}), func(r *v1alpha1.PackRegistry) {
			r.Spec.Gateway = &v1alpha1.GatewaySpec{ParentRefs: []v1alpha1.ParentRef{{Name: "g"}}}
		}, v1alpha1.ConditionExposed, metav1.ConditionUnknown},
		{"a Certificate", children.CertificateKind, func(r *v1alpha1.PackRegistry) {
			r.Spec.TLS = v1alpha1.TLSSpec{IssuerRef: &v1alpha1.IssuerRef{Name: "i"}}
		}, v1alpha1.ConditionTLSReady, metav1.ConditionFalse},
	} {
		t.Run(tt.name, func(t *testing.T) {
			last := ""
			for port := range 2 {
				r := newRegistry("n")
				r.Generation = 1
				r.Spec.Storage = v1alpha1.StorageSpec{InMemory: &v1alpha1.InMemorySpec{}}
				if tt.use != nil {
					tt.use(r)
				}
				err := fmt.Errorf("get: %w", &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: 40000 + port}, Addr: &net.TCPAddr{Port: 443}, Err: errors.New("reset")})
				o := &observed{registry: r, image: "i", now: now, deployment: deploymentWith(1, 1, 1, 1, 1), service: &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: "n"}},
					unknown: map[schema.GroupKind]error{tt.kind: err},
					sources: map[string]*corev1.Secret{"users": usersSecret("n", htpasswdLine(t, "ann", "p")), "certificate": certificateSecret(t, "n", "packs.example.com", now.AddDate(-1, 0, 0), now.AddDate(1, 0, 0))}}
				d := decide(o)
				if d.requeueAfter == 0 || d.requeueAfter > optionalPoll {
					t.Errorf("looks again after %v", d.requeueAfter)
				}
				status := report(o, d, nil)
				if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionReady); c.Status != tt.ready {
					t.Errorf("Ready=%s %s: %s", c.Status, c.Reason, c.Message)
				}
				if tt.condition == "" {
					continue
				}
				c := meta.FindStatusCondition(status.Conditions, tt.condition)
				if !strings.Contains(c.Message, "cannot be read") || c.Reason != v1alpha1.ReasonReconcileFailed || last != "" && c.Message != last {
					t.Errorf("%s %s: %s; before %q", tt.condition, c.Reason, c.Message, last)
				}
				last = c.Message
			}
		})
	}
}
