package controllers

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"
	corev1 "k8s.io/api/core/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
	"packregistry.dev/internal/htpasswd"
)

// mergedUsers is the outcome of merging the sources of users.
type mergedUsers struct {
	// htpasswd are the merged lines, or the last good ones where a source cannot be used; nil where there are neither.
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
// or nil. A line made from a basic-auth Secret stays as long as the password does, since making one anew gives another hash,
// upon which every client's next login costs a computation.
func mergeUsers(refs []v1alpha1.AuthSecretRef, sources map[string]*corev1.Secret, current *corev1.Secret, made *madeLines) mergedUsers {
	m := mergedUsers{versions: map[string]string{}, salt: saltOf(current)}
	var out bytes.Buffer
	good, seenVersions := lastGoodUsers(current), map[string]string{}
	known := linesByUser(good)
	if current != nil {
		json.Unmarshal([]byte(current.Annotations[children.AnnotationSources]), &seenVersions) //nolint:errcheck // else every line is made anew
	}
	made.only(refs)
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
		unchanged := known
		if version == "" || seenVersions[ref.Name] != version {
			unchanged = nil
		}
		lines, doubled, err := usersOf(ref, secret, unchanged, made)
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
	switch {
	case m.ok():
		m.htpasswd = out.Bytes()
	case good != nil: // as they were, also where somebody has overwritten them
		m.htpasswd, m.versions = good, seenVersions
	}
	return m
}

// lastGoodUsers are the lines that were merged last, or nil where nobody has them any more. Those that somebody else has
// written since are none: who overwrites a key of a Secret takes it from the operator, as its managed fields show.
func lastGoodUsers(current *corev1.Secret) []byte {
	if current == nil {
		return nil
	}
	owned := current.Data
	if len(current.ManagedFields) > 0 {
		ours, err := corev1apply.ExtractSecret(current, FieldOwner)
		if err != nil {
			return nil
		}
		owned = ours.Data
	}
	for _, key := range []string{children.UsersKey, children.LastGoodUsersKey} {
		if lines := owned[key]; len(lines) > 0 {
			return lines
		}
	}
	return nil
}

// usersOf returns a source's lines, each checked, and users that it has more than once. unchanged are the lines, by user, that
// were made from this very version of it. Errors name lines by number, never by content. Nothing is compared with a hash: what
// that costs is for whoever wrote the hash to say.
func usersOf(ref v1alpha1.AuthSecretRef, secret *corev1.Secret, unchanged map[string]string, made *madeLines) (lines, doubled []string, err error) {
	if secret.Type == corev1.SecretTypeBasicAuth {
		line, err := basicAuthLine(secret, unchanged, made)
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

func basicAuthLine(secret *corev1.Secret, unchanged map[string]string, made *madeLines) (string, error) {
	user, _ := oneLine(secret.Data[corev1.BasicAuthUsernameKey])
	password, _ := oneLine(secret.Data[corev1.BasicAuthPasswordKey])
	if password == "" {
		return "", errors.New("password is empty")
	}
	if err := cmp.Or(htpasswd.CheckUser(user), htpasswd.CheckPassword([]byte(password))); err != nil {
		return "", err
	}
	if line, ok := unchanged[user]; ok {
		made.keep(secret, user, password, line)
		return line, nil
	}
	if line, ok := made.find(secret, user, password); ok {
		return line, nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", err
	}
	line := user + ":" + string(hash)
	made.keep(secret, user, password, line)
	return line, nil
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
