package controllers

import (
	"context"
	"crypto/x509"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/pemfile"
)

// What pods said of their volume and of their certificate holds until they are asked again: an operator that has just started
// writes no status that lacks it, to write it again a moment later.
func TestAPIWhatPodsSaidOutlivesTheOperator(t *testing.T) {
	needAPI(t)
	for name, tt := range map[string]struct {
		tls               string
		condition, reason string
		free              uint64
		validFor          time.Duration
	}{
		"a volume with room":               {`{secretRef: null, selfSigned: {}}`, v1alpha1.ConditionStorageReady, v1alpha1.ReasonClaimBound, 60, time.Hour},
		"a volume nearly full":             {`{secretRef: null, selfSigned: {}}`, v1alpha1.ConditionStorageReady, v1alpha1.ReasonNearlyFull, 1, time.Hour},
		"a certificate":                    {`{secretRef: null, letsEncrypt: {email: a@example.com}}`, v1alpha1.ConditionTLSReady, v1alpha1.ReasonCertificateValid, 60, 24 * 90 * time.Hour},
		"a certificate that expires soon":  {`{secretRef: null, letsEncrypt: {email: a@example.com}}`, v1alpha1.ConditionTLSReady, v1alpha1.ReasonExpiresSoon, 60, 5 * time.Minute},
		"a certificate that does not come": {`{secretRef: null, letsEncrypt: {email: a@example.com}}`, v1alpha1.ConditionTLSReady, v1alpha1.ReasonNotIssued, 60, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t)
			secret := certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().Add(tt.validFor))
			pair, err := pemfile.KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
			must(t, err)
			asks := func(r *Reconciler) {
				r.AskSpace = func(context.Context, string) (Space, error) { return Space{Size: 100 << 30, Free: tt.free << 30}, nil }
				r.AskCertificate = func(context.Context, string, string) (*x509.Certificate, error) {
					if tt.validFor == 0 {
						return nil, fmt.Errorf("no certificate yet")
					}
					return pair.Leaf, nil
				}
			}
			me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{namespace}}
			o := startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, asks)
			must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
			r := createWith(t, namespace, "packs", `tls: `+tt.tls)
			bind(t, namespace, "packs-data")
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "packs-1", Namespace: namespace, Labels: children.Labels(r)},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "registry", Image: "registry:test"}}}}
			must(t, api.Create(t.Context(), pod))
			pod.Status.Phase, pod.Status.PodIP, pod.Status.PodIPs = corev1.PodRunning, "192.0.2.1", []corev1.PodIP{{IP: "192.0.2.1"}}
			must(t, api.Status().Update(t.Context(), pod))
			rollOut(t, namespace, "packs")
			eventually(t, "the operator says what the pod said", func() error {
				live := get(t, namespace, "packs", &v1alpha1.PackRegistry{})
				if live.Status.Used == nil {
					return fmt.Errorf("%+v", live.Status)
				}
				return nil
			})
			status := metav1.ConditionTrue
			if tt.reason != v1alpha1.ReasonClaimBound && tt.reason != v1alpha1.ReasonCertificateValid {
				status = metav1.ConditionFalse
			}
			wantCondition(t, r, tt.condition, status, tt.reason)
			o.settle(t)
			before := get(t, namespace, "packs", &v1alpha1.PackRegistry{}).ResourceVersion
			o.stop()
			again := startInstallation(t, me, "1.0.0", "registry:test", namespace, interceptor.Funcs{}, asks)
			again.settle(t)
			if n := again.writes.Load(); n != 0 || get(t, namespace, "packs", &v1alpha1.PackRegistry{}).ResourceVersion != before {
				t.Errorf("%d writes after a restart", n)
			}
		})
	}
}
