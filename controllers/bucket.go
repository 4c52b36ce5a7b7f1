package controllers

import (
	"fmt"
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

func judgeBucket(spec *v1alpha1.S3Spec, sources map[string]*corev1.Secret) bucketState {
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
		b.ca, b.missing, b.invalid = trusted(spec.CARef.Name, sources)
	}
	return b
}

// trusted reads the certificates to trust from a Secret, and says what is wrong with it.
func trusted(name string, sources map[string]*corev1.Secret) (pem []byte, missing, invalid string) {
	secret := sources[name]
	if secret == nil {
		return nil, fmt.Sprintf("Secret %s does not exist; create it with the certificates to trust as %s", name, children.CAKey), ""
	}
	pem = secret.Data[children.CAKey]
	if len(pem) == 0 {
		return nil, "", fmt.Sprintf("Secret %s has no key %s; write the certificates to trust there, in PEM", name, children.CAKey)
	}
	if _, err := pemfile.Certificates(pem); err != nil {
		return nil, "", fmt.Sprintf("Secret %s: %s: %v", name, children.CAKey, err)
	}
	return pem, "", ""
}
