package controllers

import (
	"strings"
	"testing"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
)

// A Secret that exists and lacks a key, or holds nothing to trust, is not missing.
func TestConditionOfCertificatesToTrust(t *testing.T) {
	secret := func(data map[string][]byte) *corev1.Secret { return &corev1.Secret{Data: data} }
	ca := certificateSecret(t, "", "ca", now.AddDate(0, -1, 0), now.AddDate(1, 0, 0)).Data[corev1.TLSCertKey]
	for _, tt := range []struct {
		name          string
		secret        *corev1.Secret
		reason, words string
	}{
		{"missing", nil, v1alpha1.ReasonSecretMissing, "Secret trusted does not exist"},
		{"without the key", secret(map[string][]byte{"other.crt": ca}), v1alpha1.ReasonSecretInvalid, "Secret trusted has no key ca.crt"},
		{"with an empty key", secret(map[string][]byte{"ca.crt": nil}), v1alpha1.ReasonSecretInvalid, "Secret trusted has no key ca.crt"},
		{"without a certificate", secret(map[string][]byte{"ca.crt": []byte("nothing")}), v1alpha1.ReasonSecretInvalid, "Secret trusted: ca.crt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sources := map[string]*corev1.Secret{"certificate": certificateSecret(t, "", "packs.example.com", now.AddDate(0, -1, 0), now.AddDate(0, 6, 0))}
			if tt.secret != nil {
				sources["trusted"] = tt.secret
			}
			for name, change := range map[string]func(*v1alpha1.PackRegistrySpec){
				"clientCARef": func(s *v1alpha1.PackRegistrySpec) { s.TLS.ClientCARef = &v1alpha1.CARef{Name: "trusted"} },
				"letsEncrypt.caRef": func(s *v1alpha1.PackRegistrySpec) {
					s.TLS = v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{CARef: &v1alpha1.CARef{Name: "trusted"}}}
				},
			} {
				r := newRegistry("team")
				change(&r.Spec)
				var d decision
				d.decideCertificate(&observed{registry: r, now: now, sources: sources})
				if f := tlsReady(&observed{}, d); f.status != metav1.ConditionFalse || f.reason != tt.reason || !strings.Contains(f.message, tt.words) {
					t.Errorf("%s: %s=%s: %s", name, f.status, f.reason, f.message)
				}
			}
			spec := &v1alpha1.S3Spec{Bucket: "packs", CARef: &v1alpha1.CARef{Name: "trusted"}}
			if f := bucketReady(spec, evaluateBucket(spec, sources)); f.status != metav1.ConditionFalse || f.reason != tt.reason || !strings.Contains(f.message, tt.words) {
				t.Errorf("s3.caRef: %s=%s: %s", f.status, f.reason, f.message)
			}
		})
	}
}

// What a pending claim waits for is said as far as it can be known. One whose class does not exist may still be bound to a
// volume that somebody makes for it, so it is no failure.
func TestConditionOfAPendingClaim(t *testing.T) {
	for _, tt := range []struct {
		name         string
		className    *string
		classMissing bool
		words        string
	}{
		{"its class exists, or nobody may look", ptr.To("fast"), false, "PersistentVolumeClaim packs-data waits for a volume"},
		{"its class does not exist", ptr.To("fast"), true, "StorageClass fast does not exist"},
		{"it has no class", nil, false, "no default StorageClass"},
		{"it wants none", ptr.To(""), false, "PersistentVolumeClaim packs-data waits for a volume"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := &observed{registry: newRegistry("team"), now: now, classMissing: tt.classMissing,
				claim: &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: tt.className}, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}}}
			f := storageReady(o, decision{})
			if f.status != metav1.ConditionUnknown || f.reason != v1alpha1.ReasonClaimPending || !strings.Contains(f.message, tt.words) || strings.Contains(f.message, "not exist") != tt.classMissing {
				t.Errorf("%s=%s: %s", f.status, f.reason, f.message)
			}
		})
	}
}

func TestURLOfALoadBalancer(t *testing.T) {
	for _, tt := range []struct {
		name    string
		ingress corev1.LoadBalancerIngress
		want    string
	}{
		{"name", corev1.LoadBalancerIngress{Hostname: "lb.example.com"}, "https://lb.example.com"},
		{"address", corev1.LoadBalancerIngress{IP: "192.0.2.1"}, "https://192.0.2.1"},
		{"IPv6", corev1.LoadBalancerIngress{IP: "2001:db8::1"}, "https://[2001:db8::1]"},
		{"both", corev1.LoadBalancerIngress{Hostname: "lb.example.com", IP: "192.0.2.1"}, "https://lb.example.com"},
		{"neither yet", corev1.LoadBalancerIngress{}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRegistry("team")
			r.Spec.Hosts, r.Spec.Service.Type = nil, corev1.ServiceTypeLoadBalancer
			service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer}}
			service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{tt.ingress}
			listed := addresses(&observed{registry: r, service: service})
			if want := map[bool]int{tt.ingress.Hostname != "": 1}[true] + map[bool]int{tt.ingress.IP != "": 1}[true]; len(listed) != want {
				t.Errorf("addresses %v", listed)
			}
			if got := url(&observed{registry: r, service: service}); got != tt.want {
				t.Errorf("%q", got)
			}
		})
	}
}

// JSON holds whole characters only: a message with half of one would be read back as another, and written at each look.
func TestClipCutsNoCharacter(t *testing.T) {
	for name, text := range map[string]string{
		"a character at the bound": strings.Repeat("a", 499) + "é" + "b",
		"bytes that are no text":   "a\xffb",
		"both":                     "\xc3" + strings.Repeat("€", 300),
		"a long word":              strings.Repeat("a", 1000),
	} {
		clipped := clip(text)
		if !utf8.ValidString(clipped) || len(clipped) > 500+len("…") || !strings.HasPrefix(clipped, "a") && !strings.HasPrefix(clipped, "€") {
			t.Errorf("%s: %q", name, clipped)
		}
	}
}

// A name that could not be decoded names nothing: no Secret, and no host that another one could have.
func TestNamesThatCouldNotBeDecoded(t *testing.T) {
	r, older := newRegistry("team"), newRegistry("team")
	older.Name, older.UID = "older", "a"
	older.CreationTimestamp = metav1.NewTime(now)
	r.UID, r.CreationTimestamp = "b", metav1.NewTime(now.AddDate(0, 0, 1))
	for _, registry := range []*v1alpha1.PackRegistry{r, older} {
		registry.Spec.Hosts = []string{""}
		registry.Spec.Auth.SecretRefs = []v1alpha1.AuthSecretRef{{}}
		registry.Spec.TLS = v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{}, ClientCARef: &v1alpha1.CARef{}}
	}
	if names := secretNames(r); len(names) > 0 {
		t.Errorf("Secrets %q", names)
	}
	if hosts := hostsOf(r); len(hosts) > 0 {
		t.Errorf("hosts %q", hosts)
	}
	if why := findConflict(r, []v1alpha1.PackRegistry{*older}); why != "" {
		t.Error(why)
	}
}
