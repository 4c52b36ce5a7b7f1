package children

import (
	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// This file is about what the pods mount that is the operator's.

func mounts(r *v1alpha1.PackRegistry) []*corev1apply.VolumeMountApplyConfiguration {
	// Whole directories, never subPath: the kubelet does not update what is mounted by subPath.
	list := []*corev1apply.VolumeMountApplyConfiguration{
		corev1apply.VolumeMount().WithName(configVolume).WithMountPath(configDir).WithReadOnly(true),
		corev1apply.VolumeMount().WithName(tmpVolume).WithMountPath(tmpDir),
	}
	if len(r.Spec.Auth.SecretRefs) > 0 {
		list = append(list, corev1apply.VolumeMount().WithName(usersVolume).WithMountPath(usersDir).WithReadOnly(true))
	}
	if CertificateSecret(r) != "" {
		list = append(list, corev1apply.VolumeMount().WithName(certificateVolume).WithMountPath(certificateDir).WithReadOnly(true))
	}
	if r.Spec.TLS.ClientCARef != nil && ServesTLS(r) {
		list = append(list, corev1apply.VolumeMount().WithName(clientCAVolume).WithMountPath(clientCADir).WithReadOnly(true))
	}
	if ClaimName(r) != "" {
		list = append(list, corev1apply.VolumeMount().WithName(dataVolume).WithMountPath(dataDir))
	}
	return list
}

func volumes(r *v1alpha1.PackRegistry, in DeploymentInput) []*corev1apply.VolumeApplyConfiguration {
	// Of Secrets that hold more than pods need, pods get what they need: what a process cannot read, nobody can have it sent elsewhere.
	// The kubelet updates what is chosen by key as it updates whole Secrets.
	secret := func(name, secret string, keys ...string) *corev1apply.VolumeApplyConfiguration {
		return corev1apply.Volume().WithName(name).WithSecret(corev1apply.SecretVolumeSource().WithSecretName(secret).WithItems(items(keys)...))
	}
	list := []*corev1apply.VolumeApplyConfiguration{
		secret(configVolume, in.Config.Name), // all of it is for the pods
		corev1apply.Volume().WithName(tmpVolume).WithEmptyDir(corev1apply.EmptyDirVolumeSource()),
	}
	if len(r.Spec.Auth.SecretRefs) > 0 {
		list = append(list, secret(usersVolume, UsersName(r), UsersKey))
	}
	if name := CertificateSecret(r); name != "" {
		list = append(list, secret(certificateVolume, name, corev1.TLSCertKey, corev1.TLSPrivateKeyKey))
	}
	if ref := r.Spec.TLS.ClientCARef; ref != nil && ServesTLS(r) {
		if ref.Kind == v1alpha1.CARefConfigMap {
			list = append(list, corev1apply.Volume().WithName(clientCAVolume).WithConfigMap(
				corev1apply.ConfigMapVolumeSource().WithName(ref.Name).WithItems(items([]string{CAKey})...)))
		} else {
			list = append(list, secret(clientCAVolume, ref.Name, CAKey))
		}
	}
	if claim := ClaimName(r); claim != "" {
		list = append(list, corev1apply.Volume().WithName(dataVolume).WithPersistentVolumeClaim(
			corev1apply.PersistentVolumeClaimVolumeSource().WithClaimName(claim)))
	}
	return list
}

// items mounts keys under their own names.
func items(keys []string) []*corev1apply.KeyToPathApplyConfiguration {
	var list []*corev1apply.KeyToPathApplyConfiguration
	for _, key := range keys {
		list = append(list, corev1apply.KeyToPath().WithKey(key).WithPath(key))
	}
	return list
}
