package controllers

import (
	"crypto/x509"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// bucketState is what the Secrets of storage.s3 come to.
type bucketState struct {
	credential *children.S3Credential
	ca         []byte
	// missing and invalid say what is wrong with a Secret, by name.
	missing, invalid string
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
			values[key] = strings.TrimSpace(string(secret.Data[key]))
			if values[key] == "" && key != sessionToken {
				b.invalid = fmt.Sprintf("Secret %s has no key %s", spec.SecretRef.Name, key)
				return b
			}
			if strings.ContainsAny(values[key], "\r\n") {
				b.invalid = fmt.Sprintf("Secret %s: %s has several lines", spec.SecretRef.Name, key)
				return b
			}
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
	if !x509.NewCertPool().AppendCertsFromPEM(pem) {
		return nil, "", fmt.Sprintf("Secret %s: %s holds no certificate", name, children.CAKey)
	}
	return pem, "", ""
}
