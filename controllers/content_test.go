package controllers

import (
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// annotate changes a Secret's version and not its content, as External Secrets does at each refresh.
func annotate(t *testing.T, namespace, name string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"refreshed":%q}}}`, time.Now().Format(time.RFC3339Nano))
	must(t, api.Patch(t.Context(), get(t, namespace, name, &corev1.Secret{}), client.RawPatch(types.MergePatchType, patch)))
}

// An annotation on a Secret is no other content: pods are neither rolled nor touched.
func TestAPIAnnotationsOfSecretsChangeNothing(t *testing.T) {
	t.Parallel()
	o, r := onBucket(t, 1)
	basic := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "basic", Namespace: r.Namespace}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte("carl"), "password": []byte("secret")}}
	must(t, api.Create(t.Context(), basic))
	clients := certificateSecret(t, r.Namespace, "clients", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))
	clients.Name, clients.Type = "clients", corev1.SecretTypeOpaque
	clients.Data = map[string][]byte{"ca.crt": clients.Data["tls.crt"]}
	must(t, api.Create(t.Context(), clients))
	endpoint := clients.DeepCopy()
	endpoint.ObjectMeta = metav1.ObjectMeta{Name: "endpoint", Namespace: r.Namespace}
	must(t, api.Create(t.Context(), endpoint))
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "packs-1", Namespace: r.Namespace, Labels: children.Labels(r)},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "registry", Image: "registry:test"}}}}
	must(t, api.Create(t.Context(), pod))
	pod.Status.Phase = corev1.PodRunning
	must(t, api.Status().Update(t.Context(), pod))
	patchSpec(t, r, `{"auth":{"secretRefs":[{"name":"users"},{"name":"basic"}]},"tls":{"clientCARef":{"name":"clients"}},"storage":{"s3":{"caRef":{"name":"endpoint"}}}}`)
	eventually(t, "the configuration trusts the endpoint", func() error {
		if len(configOf(t, r).Data["s3-ca.crt"]) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
	rollOut(t, r.Namespace, r.Name)
	o.settle(t)
	looked := func() (config, deployment, touched string) {
		d := get(t, r.Namespace, r.Name, &appsv1.Deployment{})
		return configOf(t, r).Name, d.ResourceVersion, get(t, r.Namespace, "packs-1", &corev1.Pod{}).ResourceVersion
	}
	config, deployment, touched := looked()
	for _, name := range []string{"keys", "endpoint", "clients", "users", "basic", children.UsersName(r), children.TLSSecret(r)} {
		reconciles := o.reconciles.Load()
		annotate(t, r.Namespace, name)
		eventually(t, "it is looked at", func() error {
			if o.reconciles.Load() == reconciles {
				return errors.New("not yet")
			}
			return nil
		})
		o.settle(t)
		if c, d, p := looked(); c != config || d != deployment || p != touched {
			t.Errorf("%s: configuration %s became %s, Deployment %s became %s, pod %s became %s", name, config, c, deployment, d, touched, p)
			config, deployment, touched = c, d, p
		}
	}
	// Content that differs is seen.
	must(t, api.Update(t.Context(), keysSecret(r.Namespace, "another-secret")))
	eventually(t, "the pods roll", func() error {
		if c, _, _ := looked(); c == config {
			return errors.New("not yet")
		}
		return nil
	})
	must(t, api.Update(t.Context(), usersSecret(r.Namespace, htpasswdLine(t, "bob", "p"))))
	eventually(t, "the pod's volumes are synced again", func() error {
		if _, _, p := looked(); p == touched {
			return errors.New("not yet")
		}
		return nil
	})
}

// One line break at the end is no part of a value, whoever wrote it, and is reported.
func TestValuesWithALineBreakAtTheEnd(t *testing.T) {
	for _, end := range []string{"", "\n", "\r\n"} {
		secret := &corev1.Secret{Type: corev1.SecretTypeBasicAuth, Data: map[string][]byte{"username": []byte("ann" + end), "password": []byte("one" + end)}}
		secret.Name = "s"
		m := mergeUsers([]v1alpha1.AuthSecretRef{{Name: "s"}}, map[string]*corev1.Secret{"s": secret}, nil, nil)
		user, hash, _ := strings.Cut(strings.TrimSuffix(string(m.htpasswd), "\n"), ":")
		if user != "ann" || bcrypt.CompareHashAndPassword([]byte(hash), []byte("one")) != nil {
			t.Errorf("%q: %q, %v", end, user, m.invalid)
		}
		r := newRegistry("team")
		f := authReady(&observed{registry: r}, decision{users: m})
		if reported := strings.Contains(f.message, "line break at the end of password"); reported != (end != "") || f.status != metav1.ConditionTrue {
			t.Errorf("%q: %+v", end, f)
		}
		spec := &v1alpha1.S3Spec{Bucket: "packs", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}
		keys := keysSecret("team", "secret"+end)
		b := evaluateBucket(spec, map[string]*corev1.Secret{"keys": keys})
		if b.credential == nil || b.credential.SecretAccessKey != "secret" {
			t.Fatalf("%q: %+v", end, b)
		}
		f = bucketReady(spec, b)
		if reported := strings.Contains(f.message, "line break at the end of "+secretAccessKey); reported != (end != "") {
			t.Errorf("%q: %+v", end, f)
		}
	}
	spec := &v1alpha1.S3Spec{Bucket: "packs", SecretRef: &v1alpha1.SecretRef{Name: "keys"}}
	for _, tt := range []struct{ value, words string }{
		{"a\nb", "several lines"},
		{"secret\n\n", "several lines"},
		{" secret", "a space at its beginning or end"},
		{"secret\t\n", "a space at its beginning or end"},
		{"\n", "has no key"},
	} {
		value, words := tt.value, tt.words
		b := evaluateBucket(spec, map[string]*corev1.Secret{"keys": keysSecret("team", value)})
		if b.ok() || !strings.Contains(b.invalid, words) {
			t.Errorf("%q: %+v", value, b)
		}
	}
}

// A password whose line break was part of it before gets a line that fits, although its Secret has not changed.
func TestLineBreakThatWasKeptBefore(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", UID: "u", ResourceVersion: "1"}, Type: corev1.SecretTypeBasicAuth,
		Data: map[string][]byte{"username": []byte("ann"), "password": []byte("one\n")}}
	before := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{children.AnnotationSources: `{"s":"u/1"}`}},
		Data: map[string][]byte{children.UsersKey: []byte(htpasswdLine(t, "ann", "one\n") + "\n")}}
	m := mergeUsers([]v1alpha1.AuthSecretRef{{Name: "s"}}, map[string]*corev1.Secret{"s": secret}, before, nil)
	_, hash, _ := strings.Cut(strings.TrimSpace(string(m.htpasswd)), ":")
	if bcrypt.CompareHashAndPassword([]byte(hash), []byte("one")) != nil {
		t.Errorf("%s", m.htpasswd)
	}
}

// Text that cannot be read is reported where it is, and never passed over.
func TestDamagedPEMIsReported(t *testing.T) {
	good := certificateSecret(t, "", "packs.example.com", now.AddDate(0, -1, 0), now.AddDate(0, 6, 0))
	crt := string(good.Data[corev1.TLSCertKey])
	damaged := crt + strings.Replace(crt, "MII", "M!I", 1)
	notACertificate := crt + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}))
	for name, text := range map[string]string{"damaged": damaged, "not a certificate": notACertificate} {
		secret := &corev1.Secret{Data: map[string][]byte{children.CAKey: []byte(text)}}
		if _, _, invalid := trusted(&v1alpha1.CARef{Name: "c"}, map[string]*corev1.Secret{"c": secret}); !strings.Contains(invalid, "Secret c: ca.crt: ") || !strings.Contains(invalid, "line") {
			t.Errorf("%s: %q", name, invalid)
		}
		chain := good.DeepCopy()
		chain.Data[corev1.TLSCertKey] = []byte(text)
		if c := evaluateCertificate("c", chain, []string{"packs.example.com"}, now); c.reason != v1alpha1.ReasonSecretInvalid || !strings.Contains(c.message, "line") {
			t.Errorf("%s: %s: %s", name, c.reason, c.message)
		}
	}
	// A byte order mark is read over by the server too.
	marked := good.DeepCopy()
	marked.Data[corev1.TLSCertKey] = []byte("\ufeff" + crt)
	if c := evaluateCertificate("c", marked, []string{"packs.example.com"}, now); !c.ok() {
		t.Errorf("%s", c.message)
	}
	ca, err := keepCA(newRegistry("team"), nil, nil, now)
	must(t, err)
	broken := map[string][]byte{corev1.TLSCertKey: ca.ca[corev1.TLSCertKey], corev1.TLSPrivateKeyKey: ca.ca[corev1.TLSPrivateKeyKey], children.CAKey: []byte(damaged)}
	again, err := keepCA(newRegistry("team"), &corev1.Secret{Data: broken}, nil, now)
	if must(t, err); !strings.Contains(again.invalid, "ca.crt") {
		t.Errorf("a damaged bundle is published: %q", again.invalid)
	}
	delete(broken, children.CAKey)
	again, err = keepCA(newRegistry("team"), &corev1.Secret{Data: broken}, nil, now)
	if must(t, err); again.invalid != "" || string(again.bundle) != string(ca.ca[corev1.TLSCertKey]) {
		t.Errorf("a CA without its bundle: %q, %q", again.invalid, again.bundle)
	}
}

// Lines that never match are refused with their numbers, as the server reads them.
func TestUsersThatNeverMatchAreReported(t *testing.T) {
	ann := htpasswdLine(t, "ann", "1")
	for text, words := range map[string]string{
		ann + "\n\"" + htpasswdLine(t, "bob", "2") + "\"": "line 2: quotes",
		ann[:len(ann)-1]:          "line 1: a damaged bcrypt hash",
		ann + "\nbob:{SHA}abc":    "line 2: a SHA-1 hash",
		"\xff\xfea\x00n\x00n\x00": "UTF-8",
	} {
		m := mergeUsers([]v1alpha1.AuthSecretRef{{Name: "s"}}, map[string]*corev1.Secret{"s": {Data: map[string][]byte{children.UsersKey: []byte(text)}}}, nil, nil)
		if m.ok() || !strings.Contains(strings.Join(m.invalid, ""), words) {
			t.Errorf("%q: %v", words, m.invalid)
		}
	}
	m := mergeUsers([]v1alpha1.AuthSecretRef{{Name: "s"}}, map[string]*corev1.Secret{"s": {Data: map[string][]byte{children.UsersKey: []byte("\ufeff" + ann + "\n" + htpasswdLine(t, "ann", "2"))}}}, nil, nil)
	if string(m.htpasswd) != ann+"\n" || strings.Join(m.duplicates, ",") != "ann" {
		t.Errorf("%q, %v, duplicates %v", m.htpasswd, m.invalid, m.duplicates)
	}
}
