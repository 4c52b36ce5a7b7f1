package children

import (
	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// CASecret holds the CA of tls.selfSigned. Clients trust it, so it stays as long as the packs do.
func CASecret(r *v1alpha1.PackRegistry, data map[string][]byte) *corev1apply.SecretApplyConfiguration {
	secret := corev1apply.Secret(CAName(r), r.Namespace).
		WithLabels(objectLabels(r, KeptLabels(r))).WithAnnotations(objectAnnotations(r)).WithType(corev1.SecretTypeTLS).WithData(data)
	if !KeptWithData(r) {
		secret.WithOwnerReferences(owner(r))
	}
	return secret
}

// CABundle publishes the certificates that clients need to trust: the CA's, and for a while that of the one before.
func CABundle(r *v1alpha1.PackRegistry, bundle []byte) *corev1apply.ConfigMapApplyConfiguration {
	return corev1apply.ConfigMap(CAName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithData(map[string]string{CAKey: string(bundle)})
}

// SelfSignedSecret holds the certificate that the CA signed.
func SelfSignedSecret(r *v1alpha1.PackRegistry, data map[string][]byte) *corev1apply.SecretApplyConfiguration {
	return corev1apply.Secret(TLSSecret(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).
		WithType(corev1.SecretTypeTLS).WithData(data)
}
