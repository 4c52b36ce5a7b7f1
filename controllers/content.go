package controllers

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/controllers/children"
)

// This file is about what Secrets hold. Their versions say less: an annotation makes another one of the same content, and
// whoever syncs Secrets from elsewhere sets one again and again.

// oneLine is a value of a Secret without the line break that editors and echo put at its end, and whether there was one.
// Every value of one line is read this way.
func oneLine(data []byte) (value string, trimmed bool) {
	value, trimmed = strings.CutSuffix(string(data), "\n")
	if trimmed {
		value = strings.TrimSuffix(value, "\r")
	}
	return value, trimmed
}

// noteTrimmed says that a line break is no part of a value.
func noteTrimmed(secret, key string) string {
	return fmt.Sprintf("Secret %s: the line break at the end of %s is not taken for part of it", secret, key)
}

// contentOf stands for what pods have mounted and read again when it changes: users, certificate and client CAs. Users are
// secret; what stands for them here is keyed with a salt that lies beside them, so that nothing can be found out from it.
func contentOf(o *observed) string {
	h := sha256.New()
	if o.users != nil {
		salt := o.users.Data[children.SaltKey]
		if len(salt) == 0 {
			return o.users.ResourceVersion // an earlier operator made it, and it is about to be applied again
		}
		h = hmac.New(sha256.New, salt)
	}
	found := false
	add := func(secret *corev1.Secret, key string) {
		if secret == nil {
			return
		}
		found = true
		value := secret.Data[key]
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(value)))) //nolint:errcheck // a hash takes everything
		h.Write(value)                                                  //nolint:errcheck // likewise
	}
	add(o.users, children.UsersKey)
	// A certificate identifies its key.
	if name := children.CertificateSecret(o.registry); name != "" {
		add(o.sources[name], corev1.TLSCertKey)
	}
	if ref := o.registry.Spec.TLS.ClientCARef; ref != nil {
		add(o.sources[sourceOf(ref)], children.CAKey)
	}
	if children.ServesTLS(o.registry) {
		add(o.leaf, corev1.TLSCertKey)
	}
	if !found {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil)[:10])
}

// configHash is the configuration that a Deployment's pods run with, by its hash.
func configHash(live *appsv1.Deployment) string {
	if live == nil {
		return ""
	}
	if live.Annotations[annotationOwned] != "" {
		return live.Annotations[annotationConfig]
	}
	return live.Spec.Template.Labels[children.LabelConfig]
}

// keepConfig goes on with the configuration that pods run with where the one that was rendered has the same content, and only
// its credential's Secret another version.
func keepConfig(o *observed, rendered children.RenderedConfig) children.RenderedConfig {
	if o.config != nil && maps.EqualFunc(o.config.Data, rendered.Files, bytes.Equal) {
		rendered.Name, rendered.Hash = o.config.Name, configHash(o.deployment)
	}
	return rendered
}
