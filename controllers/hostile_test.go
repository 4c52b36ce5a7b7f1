package controllers

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"packregistry.dev/api/v1alpha1"
)

// What a pod answers is a claim: a hostile one leads the operator nowhere, and takes no more of it than an honest one.
func TestAHostilePodIsAskedInVain(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		elsewhere.Add(1)
		fmt.Fprint(w, `{"storage":{"free":1,"size":2}}`)
	}))
	defer other.Close()
	endless := func(w http.ResponseWriter, r *http.Request, part string) {
		for r.Context().Err() == nil {
			if _, err := fmt.Fprint(w, part); err != nil {
				return
			}
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/status", http.StatusFound)
		},
		"never ends":   func(w http.ResponseWriter, r *http.Request) { endless(w, r, strings.Repeat(" ", 1<<16)) },
		"never begins": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"has large headers": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 1<<17))
			fmt.Fprint(w, `{"storage":{"free":1,"size":2}}`)
		},
		"has a long list": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"a":[`+strings.Repeat("[],", 1<<16)+`[]],"storage":{"free":1,"size":2}}`)
		},
		"is deep":                func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("[", 1<<15)) },
		"has more free than all": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"storage":{"free":3,"size":2}}`) },
		"counts below nothing":   func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"storage":{"free":-1,"size":2}}`) },
		"counts above anything": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, `{"storage":{"free":1,"size":18446744073709551615}}`)
		},
		"has no size": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"storage":{"free":1,"size":0}}`) },
		"says no": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, strings.Repeat("no", 1<<20), http.StatusTeapot)
		},
	} {
		t.Run(name, func(t *testing.T) {
			pod := httptest.NewServer(answer)
			defer pod.CloseClientConnections()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			space, err := AskSpace(ctx, strings.TrimPrefix(pod.URL, "http://"))
			if err == nil || space != (Space{}) {
				t.Errorf("%+v, %v", space, err)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("%d bytes of an error", len(err.Error()))
			}
			if ctx.Err() != nil {
				t.Error("nothing but the caller ended it")
			}
		})
	}
	if n := elsewhere.Load(); n > 0 {
		t.Errorf("it was led elsewhere %d times", n)
	}
	if space, err := AskSpace(t.Context(), strings.TrimPrefix(other.URL, "http://")); err != nil || space != (Space{Free: 1, Size: 2}) {
		t.Errorf("an honest one: %+v, %v", space, err)
	}
}

// A certificate, of a pod or of a tenant's Secret, and words of pods take a bounded part of a status.
func TestAStatusIsBounded(t *testing.T) {
	var names []string
	for i := range 3000 {
		names = append(names, fmt.Sprintf("%d.%s.example.com", i, strings.Repeat("x", 60)))
	}
	leaf := &x509.Certificate{DNSNames: names, Issuer: pkix.Name{CommonName: strings.Repeat("i", 1<<16)}, NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(1, 0, 0)}
	r := newRegistry("n")
	r.Spec.TLS = v1alpha1.TLSSpec{LetsEncrypt: &v1alpha1.LetsEncryptSpec{}}
	d := deploymentWith(2, 2, 1, 0, 0)
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: strings.Repeat("w", 1<<16)}}
	pod := corev1.Pod{Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: strings.Repeat("w", 1<<16)}},
		ContainerStatuses: []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: strings.Repeat("w", 1<<16), Message: "x"}}}}}}
	for _, o := range []*observed{{registry: r, image: "i", now: now, deployment: d, served: leaf}, {registry: r, image: "i", now: now, deployment: deploymentWith(2, 2, 1, 0, 0), pods: []corev1.Pod{pod}, served: leaf}} {
		status := report(o, decide(o), nil)
		for _, c := range status.Conditions {
			if len(c.Message) > 2500 {
				t.Errorf("%s: %d bytes", c.Type, len(c.Message))
			}
		}
		if c := status.Certificate; c == nil || len(c.DNSNames) > 100 || len(c.Issuer) > 600 {
			t.Errorf("%d names, %d bytes of issuer", len(c.DNSNames), len(c.Issuer))
		}
		if c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionTLSReady); c == nil {
			t.Error("no condition")
		}
	}
}
