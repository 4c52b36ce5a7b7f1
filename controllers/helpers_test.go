package controllers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"packregistry.dev/api/v1alpha1"
)

const zapErrors = zapcore.ErrorLevel

// newRegistry is the PackRegistry that tests begin with.
func newRegistry(namespace string) *v1alpha1.PackRegistry {
	size := resource.MustParse("1Gi")
	return &v1alpha1.PackRegistry{
		ObjectMeta: metav1.ObjectMeta{Name: "packs", Namespace: namespace},
		Spec: v1alpha1.PackRegistrySpec{
			Hosts:   []string{"packs.example.com"},
			Storage: v1alpha1.StorageSpec{PersistentVolumeClaim: &v1alpha1.PersistentVolumeClaimSpec{Size: &size}},
			Auth:    v1alpha1.AuthSpec{SecretRefs: []v1alpha1.AuthSecretRef{{Name: "users"}}},
			TLS:     v1alpha1.TLSSpec{SecretRef: &v1alpha1.SecretRef{Name: "certificate"}},
		},
	}
}

func htpasswdLine(t testing.TB, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), 4)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(hash)
}

func usersSecret(namespace, text string) *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "users", Namespace: namespace}, Data: map[string][]byte{"htpasswd": []byte(text)}}
}

// certificateSecret holds a certificate for host that is valid around now.
func certificateSecret(t testing.TB, namespace, host string, from, to time.Time) *corev1.Secret {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{host}, NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "certificate", Namespace: namespace}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}),
	}}
}

func readSamples(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	var files []string
	for _, pattern := range []string{"../config/samples/*.yaml", "../examples/registries/*.yaml"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatal(pattern, err)
		}
		files = append(files, found...)
	}
	var list []*unstructured.Unstructured
	for _, file := range files {
		if filepath.Base(file) == "kustomization.yaml" {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		list = append(list, u)
	}
	return list
}

// schemaOf reads "apps/v1/Deployment".
func schemaOf(text string) schema.GroupVersionKind {
	i := strings.LastIndex(text, "/")
	return schema.FromAPIVersionAndKind(text[:i], text[i+1:])
}

// forbidden is what an admission policy answers.
func forbidden(kind, name string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: kind}, name, errors.New("a policy says no"))
}

// runningRegistry makes a registry and what it needs, and plays the controllers that let it run.
func runningRegistry(t *testing.T, namespace, name string, change func(*v1alpha1.PackRegistry)) *v1alpha1.PackRegistry {
	t.Helper()
	r := newRegistry(namespace)
	r.Name, r.Spec.Hosts = name, []string{name + ".example.com"}
	r.Spec.TLS.SecretRef.Name, r.Spec.Auth.SecretRefs[0].Name = name+"-certificate", name+"-accounts"
	change(r)
	certificate := certificateSecret(t, namespace, name+".example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	users := usersSecret(namespace, htpasswdLine(t, "ann", "p"))
	certificate.Name, users.Name = name+"-certificate", name+"-accounts"
	must(t, api.Create(t.Context(), certificate))
	must(t, api.Create(t.Context(), users))
	must(t, api.Create(t.Context(), r))
	if r.Spec.Storage.PersistentVolumeClaim != nil {
		bind(t, namespace, name+"-data")
	}
	rollOut(t, namespace, name)
	wantCondition(t, r, v1alpha1.ConditionAvailable, metav1.ConditionTrue, v1alpha1.ReasonMinimumAvailable)
	return r
}
