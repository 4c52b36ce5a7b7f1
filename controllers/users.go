package controllers

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/htpasswd"
)

// mergedUsers is the outcome of merging the sources of users.
type mergedUsers struct {
	// htpasswd are the merged lines; nil where they cannot be had and the last good ones stay.
	htpasswd []byte
	// missing and invalid say what is wrong with a source, by name. They hold no secret.
	missing, invalid []string
	// versions are those of the basic-auth Secrets that lines were made from, by name.
	versions map[string]string
	// duplicates are users that are in several sources; the first holds.
	duplicates []string
	// notes say what is as well to know.
	notes []string
	// salt keys what stands for the users elsewhere.
	salt []byte
}

func (m mergedUsers) ok() bool { return len(m.missing)+len(m.invalid) == 0 }

// mergeUsers merges the lines of all sources, in the order of the spec. current is the Secret with what was merged before,
// or nil: a line made from a basic-auth Secret stays as long as it fits the password, since making one anew gives another
// hash. Whether it fits takes as long to find out as making it, and is asked only of a version of the Secret that was not
// seen before.
func mergeUsers(refs []v1alpha1.AuthSecretRef, sources map[string]*corev1.Secret, current *corev1.Secret) mergedUsers {
	m := mergedUsers{versions: map[string]string{}, salt: saltOf(current)}
	var out bytes.Buffer
	known, seenVersions := map[string]string{}, map[string]string{}
	if current != nil {
		known = linesByUser(current.Data[children.UsersKey])
		json.Unmarshal([]byte(current.Annotations[children.AnnotationSources]), &seenVersions) //nolint:errcheck // else every line is looked at again
	}
	seen := map[string]bool{}
	for _, ref := range refs {
		secret := sources[ref.Name]
		if secret == nil {
			m.missing = append(m.missing, fmt.Sprintf("Secret %s does not exist", ref.Name))
			continue
		}
		version := ""
		if secret.Type == corev1.SecretTypeBasicAuth {
			version = string(secret.UID) + "/" + secret.ResourceVersion
			for _, key := range []string{corev1.BasicAuthUsernameKey, corev1.BasicAuthPasswordKey} {
				if _, trimmed := oneLine(secret.Data[key]); trimmed {
					m.notes = append(m.notes, noteTrimmed(ref.Name, key))
					version += "/trimmed" // an earlier operator took it for part of the password
				}
			}
			m.versions[ref.Name] = version
		}
		lines, doubled, err := usersOf(ref, secret, known, version != "" && seenVersions[ref.Name] == version)
		m.duplicates = append(m.duplicates, doubled...)
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

// usersOf returns a source's lines, each checked, and users that it has more than once. unchanged says that the known lines
// were made from this very version. Errors name lines by number, never by content.
func usersOf(ref v1alpha1.AuthSecretRef, secret *corev1.Secret, known map[string]string, unchanged bool) (lines, doubled []string, err error) {
	if secret.Type == corev1.SecretTypeBasicAuth {
		line, err := basicAuthLine(secret, known, unchanged)
		return []string{line}, nil, err
	}
	key := cmp.Or(ref.Key, children.UsersKey)
	text, ok := secret.Data[key]
	if !ok {
		return nil, nil, fmt.Errorf("has no key %q; write the lines of `htpasswd -B` there, or name the key in auth.secretRefs", key)
	}
	file, err := htpasswd.Parse(text)
	if err != nil {
		return nil, nil, fmt.Errorf("key %s, %w", key, err)
	}
	for _, u := range file.Unusable {
		if u.Doubled == "" {
			return nil, nil, fmt.Errorf("key %s, line %d: %s", key, u.Line, u.Reason)
		}
		doubled = append(doubled, u.Doubled)
	}
	for _, e := range file.Entries {
		lines = append(lines, e.User+":"+e.Hash)
	}
	if len(lines) == 0 {
		return nil, nil, fmt.Errorf("key %s holds no user", key)
	}
	return lines, doubled, nil
}

// saltOf is the salt that there is, or another one.
func saltOf(current *corev1.Secret) []byte {
	if current != nil && len(current.Data[children.SaltKey]) > 0 {
		return current.Data[children.SaltKey]
	}
	return []byte(rand.Text())
}

func basicAuthLine(secret *corev1.Secret, known map[string]string, unchanged bool) (string, error) {
	user, _ := oneLine(secret.Data[corev1.BasicAuthUsernameKey])
	text, _ := oneLine(secret.Data[corev1.BasicAuthPasswordKey])
	password := []byte(text)
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
		if unchanged || bcrypt.CompareHashAndPassword([]byte(hash), password) == nil {
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
