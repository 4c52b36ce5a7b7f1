package controllers

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
)

// madeLines remembers the line that was made from each basic-auth Secret of a registry: whoever syncs Secrets from elsewhere makes version
// after version of the same password, and none of them is worth a computation of bcrypt. Passwords are not kept: what is known
// of one is a digest under a key that this process made and nobody else has.
type madeLines struct {
	mu    sync.Mutex
	key   []byte
	lines map[string]madeLine // by the Secret's name
}

type madeLine struct {
	from [sha256.Size]byte
	line string
}

func (m *madeLines) digest(user, password string) (sum [sha256.Size]byte) {
	if m.key == nil {
		m.key = []byte(rand.Text())
	}
	h := hmac.New(sha256.New, m.key)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(user)))) //nolint:errcheck // a hash takes everything
	h.Write([]byte(user + password))                               //nolint:errcheck // likewise
	return [sha256.Size]byte(h.Sum(nil))
}

// find returns the line that was made for a user and password from a Secret. A nil one remembers nothing.
func (m *madeLines) find(secret *corev1.Secret, user, password string) (string, bool) {
	if m == nil {
		return "", false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.lines[secret.Name]
	return known.line, ok && known.from == m.digest(user, password)
}

// keep remembers a line.
func (m *madeLines) keep(secret *corev1.Secret, user, password, line string) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lines == nil {
		m.lines = map[string]madeLine{}
	}
	m.lines[secret.Name] = madeLine{m.digest(user, password), line}
}

// only drops what is known of other Secrets.
func (m *madeLines) only(refs []v1alpha1.AuthSecretRef) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.lines, func(name string, _ madeLine) bool {
		return !slices.ContainsFunc(refs, func(ref v1alpha1.AuthSecretRef) bool { return ref.Name == name })
	})
}

// linesMade are those of a registry.
func (r *Reconciler) linesMade(registry *v1alpha1.PackRegistry) *madeLines {
	made, _ := r.made.LoadOrStore(client.ObjectKeyFromObject(registry), &madeLines{})
	return made.(*madeLines) //nolint:forcetypeassert // nothing else is put there
}
