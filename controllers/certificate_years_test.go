//go:build !race

package controllers

import (
	"bytes"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// It has one goroutine, and takes a minute with the race detector: make unit runs it without.
//
// Twenty years of one registry, a day at a time: what clients were given to trust once is good until they can have got
// its successor, and nothing is made anew before its time.
func TestCAOverTheYears(t *testing.T) {
	t.Parallel()
	r := newRegistry("team")
	var ca, leaf *corev1.Secret
	var client []byte // a client that fetches the bundle every 200 days
	authorities, leaves := 0, 0
	for day := range 20 * 365 {
		at := now.AddDate(0, 0, day)
		a, err := keepCA(r, ca, leaf, at)
		must(t, err)
		if ca == nil || !bytes.Equal(ca.Data[corev1.TLSCertKey], a.ca[corev1.TLSCertKey]) {
			authorities++
		}
		if leaf == nil || !bytes.Equal(leaf.Data[corev1.TLSCertKey], a.leaf[corev1.TLSCertKey]) {
			leaves++
		}
		if day%200 == 0 {
			client = a.bundle
		}
		for _, host := range []string{"packs.example.com", "packs.team.svc"} {
			// As it was served the day before, and as it is served from now on.
			if err := trusts(t, a.bundle, a.leaf, host, at); err != nil {
				t.Fatalf("day %d: %v", day, err)
			}
		}
		if authorities == 1 {
			if err := trusts(t, client, a.leaf, "packs.example.com", at); err != nil {
				t.Fatalf("day %d: a client of day %d: %v", day, day/200*200, err)
			}
		}
		if leaf != nil {
			if err := trusts(t, a.bundle, leaf.Data, "packs.example.com", at); err != nil {
				t.Fatalf("day %d: the certificate before: %v", day, err)
			}
		}
		if !a.renew.After(at) {
			t.Fatalf("day %d: looks again at %v", day, a.renew)
		}
		ca, leaf = secretOf(a.ca), secretOf(a.leaf)
	}
	if authorities != 3 || leaves < 118 || leaves > 125 {
		t.Errorf("%d CAs and %d certificates in 20 years", authorities, leaves)
	}
	if n := strings.Count(string(ca.Data["ca.crt"]), "BEGIN"); n > 2 {
		t.Errorf("%d certificates in the bundle", n)
	}
}
