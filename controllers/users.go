package controllers

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// mergedUsers is the outcome of merging the sources of users.
type mergedUsers struct {
	// htpasswd are the merged lines; nil where they cannot be had and the last good ones stay.
	htpasswd []byte
	// missing and invalid say what is wrong with a source, by name. They hold no secret.
	missing, invalid []string
	// duplicates are users that are in several sources; the first holds.
	duplicates []string
}

func (m mergedUsers) ok() bool { return len(m.missing)+len(m.invalid) == 0 }

// mergeUsers merges the lines of all sources, in the order of the spec. current is what was merged before: a line made
// from a basic-auth Secret stays as long as it fits the password, since making one anew gives another hash.
func mergeUsers(refs []v1alpha1.AuthSecretRef, sources map[string]*corev1.Secret, current []byte) mergedUsers {
	var m mergedUsers
	var out bytes.Buffer
	known := linesByUser(current)
	seen := map[string]bool{}
	for _, ref := range refs {
		secret := sources[ref.Name]
		if secret == nil {
			m.missing = append(m.missing, fmt.Sprintf("Secret %s does not exist", ref.Name))
			continue
		}
		lines, err := usersOf(ref, secret, known)
		if err != nil {
			m.invalid = append(m.invalid, fmt.Sprintf("Secret %s: %v", ref.Name, err))
			continue
		}
		for _, line := range lines {
			user, _, _ := strings.Cut(line, ":")
			if seen[user] {
				m.duplicates = append(m.duplicates, user)
				continue
			}
			seen[user] = true
			out.WriteString(line + "\n")
		}
	}
	if m.ok() {
		m.htpasswd = out.Bytes()
	}
	return m
}

// usersOf returns a source's lines, each checked. Errors name lines by number, never by content.
func usersOf(ref v1alpha1.AuthSecretRef, secret *corev1.Secret, known map[string]string) ([]string, error) {
	if secret.Type == corev1.SecretTypeBasicAuth {
		line, err := basicAuthLine(secret, known)
		return []string{line}, err
	}
	key := ref.Key
	if key == "" {
		key = children.UsersKey
	}
	text, ok := secret.Data[key]
	if !ok {
		return nil, fmt.Errorf("has no key %q; write the lines of `htpasswd -B` there, or name the key in auth.secretRefs", key)
	}
	var lines []string
	for number, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("key %s, line %d: not of the form user:hash", key, number+1)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil {
			return nil, fmt.Errorf("key %s, line %d: not a bcrypt hash; write the line with htpasswd -B", key, number+1)
		}
		lines = append(lines, line)
	}
	if len(lines) == 0 {
		return nil, fmt.Errorf("key %s holds no user", key)
	}
	return lines, nil
}

func basicAuthLine(secret *corev1.Secret, known map[string]string) (string, error) {
	user, password := string(secret.Data[corev1.BasicAuthUsernameKey]), secret.Data[corev1.BasicAuthPasswordKey]
	switch {
	case user == "" || strings.ContainsAny(user, ":\r\n"):
		return "", fmt.Errorf("username must not be empty or hold ':'")
	case len(password) == 0:
		return "", fmt.Errorf("password is empty")
	case len(password) > 72:
		return "", fmt.Errorf("password is longer than the 72 bytes that bcrypt takes")
	}
	if line, ok := known[user]; ok {
		_, hash, _ := strings.Cut(line, ":")
		if bcrypt.CompareHashAndPassword([]byte(hash), password) == nil {
			return line, nil
		}
	}
	hash, err := bcrypt.GenerateFromPassword(password, bcrypt.DefaultCost)
	if err != nil {
		return "", err
	}
	return user + ":" + string(hash), nil
}

func linesByUser(htpasswd []byte) map[string]string {
	lines := map[string]string{}
	for line := range strings.Lines(string(htpasswd)) {
		line = strings.TrimSpace(line)
		if user, _, ok := strings.Cut(line, ":"); ok {
			lines[user] = line
		}
	}
	return lines
}
