package controllers

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file checks users and certificates, as they are in Secrets and as pods have read them.

// expectedUsers are the lines of the users that the spec's Secrets hold, or what is wrong with one. A line of a basic-auth Secret
// is given as user and password.
func (k *walk) expectedUsers(w *world, r *v1alpha1.PackRegistry) (users map[string]string, wrong string) {
	users = map[string]string{}
	for _, ref := range r.Spec.Auth.SecretRefs {
		secret := find[*corev1.Secret](w, k.namespace, ref.Name)
		if secret == nil {
			return nil, "Secret " + ref.Name + " is missing"
		}
		user, value := string(secret.Data[corev1.BasicAuthUsernameKey]), "password:"+string(secret.Data[corev1.BasicAuthPasswordKey])
		if secret.Type != corev1.SecretTypeBasicAuth {
			user, value, _ = strings.Cut(strings.TrimSpace(string(secret.Data[children.UsersKey])), ":")
			if _, err := bcrypt.Cost([]byte(value)); err != nil {
				return nil, "Secret " + ref.Name + " is broken"
			}
		}
		if user == "" || strings.Contains(user, ":") {
			return nil, "Secret " + ref.Name + " is broken"
		}
		if _, ok := users[user]; !ok {
			users[user] = value
		}
	}
	return users, ""
}

// begun says whether the registry runs, or could: what is suspended or refused as a whole does not begin to.
func (k *walk) begun(r *v1alpha1.PackRegistry) bool {
	claim := find[*corev1.PersistentVolumeClaim](k.now, k.namespace, children.ClaimName(r))
	return !r.Spec.Suspend && !badConfig(r) && !otherClaim(claim, r) || find[*appsv1.Deployment](k.now, k.namespace, subject) != nil
}

// checkUsers holds for suspended and Stalled registries too: a password that is to be out of use must be.
func (k *walk) checkUsers(r *v1alpha1.PackRegistry) (wrong []string) {
	if r == nil || len(r.Spec.Auth.SecretRefs) == 0 || k.refused["secrets"] {
		return nil
	}
	now := find[*corev1.Secret](k.now, k.namespace, children.UsersName(r))
	users, trouble := k.expectedUsers(k.now, r)
	if trouble != "" {
		before := find[*corev1.Secret](k.before, k.namespace, children.UsersName(r))
		if before == nil || !metav1.IsControlledBy(before, r) || k.deleted != nil || k.usersLost {
			return nil
		}
		good := before.Data[children.UsersKey]
		if copied, ok := before.Data[children.LastGoodUsersKey]; ok {
			good = copied
		}
		if now == nil || !bytes.Equal(now.Data[children.UsersKey], good) {
			return []string{"the last good users are gone, and " + trouble}
		}
		return nil
	}
	if now == nil {
		if k.quota || !k.begun(r) {
			return nil
		}
		return []string{"no users are in effect"}
	}
	lines := linesByUser(now.Data[children.UsersKey])
	for user, value := range users {
		_, hash, _ := strings.Cut(lines[user], ":")
		password, isPassword := strings.CutPrefix(value, "password:")
		if good := isPassword && bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil || hash == value; !good {
			wrong = append(wrong, "user "+user+" has not the newest password")
		}
	}
	if len(lines) != len(users) {
		wrong = append(wrong, fmt.Sprintf("%d users are in effect, not %d", len(lines), len(users)))
	}
	return wrong
}

// checkPods: what pods have read of the Secrets that they mount is what these hold.
func (k *walk) checkPods(r *v1alpha1.PackRegistry) (wrong []string) {
	if r == nil || k.refused["pods"] {
		return nil
	}
	for _, pod := range all[*corev1.Pod](k.now) {
		loaded, running := k.loaded[pod.UID]
		if pod.Namespace != k.namespace || pod.Labels[children.LabelRegistry] != subject || !running {
			continue
		}
		for name, content := range loaded.contents {
			secret := find[*corev1.Secret](k.now, pod.Namespace, name)
			for _, key := range []string{children.UsersKey, corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
				if secret != nil && !bytes.Equal(secret.Data[key], content[key]) {
					wrong = append(wrong, fmt.Sprintf("pod %s has not read %s of the Secret %s again", pod.Name, key, name))
				}
			}
		}
	}
	return wrong
}

// certificateTrouble says what is wrong with the certificate that the spec names.
func (k *walk) certificateTrouble(w *world, r *v1alpha1.PackRegistry) string {
	if r.Spec.TLS.SecretRef == nil {
		return ""
	}
	secret := find[*corev1.Secret](w, k.namespace, r.Spec.TLS.SecretRef.Name)
	if secret == nil {
		return "missing"
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return "broken"
	}
	for _, host := range r.Spec.Hosts {
		if pair.Leaf.VerifyHostname(host) != nil {
			return "not for " + host
		}
	}
	return ""
}

// checkCertificate looks at what tls.selfSigned made.
func (k *walk) checkCertificate(r *v1alpha1.PackRegistry) []string {
	if r == nil || r.Spec.TLS.SelfSigned == nil || !k.begun(r) || k.refused["secrets"] || k.quota {
		return nil
	}
	ca, leaf := find[*corev1.Secret](k.now, k.namespace, children.CAName(r)), find[*corev1.Secret](k.now, k.namespace, children.TLSSecret(r))
	if ca == nil || leaf == nil {
		return []string{"the CA or its certificate is missing"}
	}
	issuer, err := tls.X509KeyPair(ca.Data[corev1.TLSCertKey], ca.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil // a person is asked to delete it
	}
	pair, err := tls.X509KeyPair(leaf.Data[corev1.TLSCertKey], leaf.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return []string{"the certificate cannot be used"}
	}
	if err := pair.Leaf.CheckSignatureFrom(issuer.Leaf); err != nil {
		return []string{err.Error()}
	}
	for _, host := range append(children.ServiceNames(r), r.Spec.Hosts...) {
		if err := pair.Leaf.VerifyHostname(host); err != nil {
			return []string{err.Error()}
		}
	}
	return nil
}
