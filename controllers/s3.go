package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/pemfile"
)

// bucketState is what the Secrets of storage.s3 come to.
type bucketState struct {
	credential *children.S3Credential
	ca         []byte
	// missing and invalid say what is wrong with a Secret, by name.
	missing, invalid string
	// notes say what is as well to know.
	notes []string
}

func (b bucketState) ok() bool { return b.missing == "" && b.invalid == "" }

// Keys of a Secret with a credential for S3, as AWS names them everywhere.
const (
	accessKeyID     = "AWS_ACCESS_KEY_ID"
	secretAccessKey = "AWS_SECRET_ACCESS_KEY"
	sessionToken    = "AWS_SESSION_TOKEN"
)

func evaluateBucket(spec *v1alpha1.S3Spec, sources map[string]*corev1.Secret) bucketState {
	var b bucketState
	if spec == nil {
		return b
	}
	if spec.SecretRef != nil {
		secret := sources[spec.SecretRef.Name]
		if secret == nil {
			b.missing = fmt.Sprintf("Secret %s does not exist; create it with the keys %s and %s", spec.SecretRef.Name, accessKeyID, secretAccessKey)
			return b
		}
		values := map[string]string{}
		for _, key := range []string{accessKeyID, secretAccessKey, sessionToken} {
			value, trimmed := oneLine(secret.Data[key])
			switch {
			case value == "" && key != sessionToken:
				b.invalid = fmt.Sprintf("Secret %s has no key %s", spec.SecretRef.Name, key)
			case strings.ContainsAny(value, "\r\n"):
				b.invalid = fmt.Sprintf("Secret %s: %s has several lines", spec.SecretRef.Name, key)
			case strings.TrimSpace(value) != value:
				b.invalid = fmt.Sprintf("Secret %s: %s has a space at its beginning or end; remove it", spec.SecretRef.Name, key)
			case trimmed:
				b.notes = append(b.notes, noteTrimmed(spec.SecretRef.Name, key))
			}
			if b.invalid != "" {
				return b
			}
			values[key] = value
		}
		b.credential = &children.S3Credential{AccessKeyID: values[accessKeyID], SecretAccessKey: values[secretAccessKey],
			SessionToken: values[sessionToken], Version: string(secret.UID) + "/" + secret.ResourceVersion}
	}
	if spec.CARef != nil {
		b.ca, b.missing, b.invalid = trusted(spec.CARef, sources)
	}
	return b
}

// trusted reads the certificates to trust from a Secret or ConfigMap, and says what is wrong with it.
func trusted(ref *v1alpha1.CARef, sources map[string]*corev1.Secret) (pem []byte, missing, invalid string) {
	name := fmt.Sprintf("%s %s", cmp.Or(ref.Kind, v1alpha1.CARefSecret), ref.Name)
	source := sources[sourceOf(ref)]
	if source == nil {
		return nil, fmt.Sprintf("%s does not exist; create it with the certificates to trust as %s", name, children.CAKey), ""
	}
	pem = source.Data[children.CAKey]
	if len(pem) == 0 {
		return nil, "", fmt.Sprintf("%s has no key %s; write the certificates to trust there, in PEM", name, children.CAKey)
	}
	if _, err := pemfile.Certificates(pem); err != nil {
		return nil, "", fmt.Sprintf("%s: %s: %v", name, children.CAKey, err)
	}
	return pem, "", ""
}

// sourceOf is what certificates to trust are found by among what was observed. No Secret has a '/' in its name.
func sourceOf(ref *v1alpha1.CARef) string {
	if ref.Kind == v1alpha1.CARefConfigMap {
		return "ConfigMap/" + ref.Name
	}
	return ref.Name
}

// caRefs are the certificates to trust that a spec names.
func caRefs(r *v1alpha1.PackRegistry) []*v1alpha1.CARef {
	refs := []*v1alpha1.CARef{r.Spec.TLS.ClientCARef}
	if s3 := r.Spec.Storage.S3; s3 != nil {
		refs = append(refs, s3.CARef)
	}
	if acme := r.Spec.TLS.LetsEncrypt; acme != nil {
		refs = append(refs, acme.CARef)
	}
	return slices.DeleteFunc(refs, func(ref *v1alpha1.CARef) bool { return ref == nil || ref.Name == "" })
}
