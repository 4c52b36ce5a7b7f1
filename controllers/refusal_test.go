package controllers

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"packregistry.dev/api/v1alpha1"
)

// Children are read in no order: conditions that followed it would be written, and recorded as events, at each look.
func TestConditionsOfRefusalsHaveOneOrder(t *testing.T) {
	route := refusal{kind: "HTTPRoute", name: "packs", part: v1alpha1.ConditionExposed, reason: v1alpha1.ReasonRefused, message: "route", permanent: true}
	monitor := refusal{kind: "ServiceMonitor", name: "packs", part: v1alpha1.ConditionExposed, reason: v1alpha1.ReasonConflict, message: "monitor", permanent: true}
	early := refusal{kind: "ConfigMap", name: "packs", part: v1alpha1.ConditionExposed, reason: v1alpha1.ReasonQuotaExceeded, message: "quota"}
	for _, refused := range [][]refusal{{route, monitor, early}, {monitor, route, early}, {early, monitor, route}} {
		if f := worst(refused, true); f.reason != v1alpha1.ReasonRefused || f.message != "route; monitor" {
			t.Errorf("%s: %s", f.reason, f.message)
		}
		found := map[string]condition{}
		withRefusals(found, refused)
		if f := found[v1alpha1.ConditionExposed]; f.message != "route" {
			t.Errorf("Exposed: %s", f.message)
		}
	}
}

// A name says nothing about why a child was refused.
func TestRefusalByQuota(t *testing.T) {
	r := newRegistry("team")
	for cause, reason := range map[string]string{
		"exceeded quota: q, requested: count/secrets=1, used: count/secrets=3, limited: count/secrets=3": v1alpha1.ReasonQuotaExceeded,
		"failed quota: q: must specify limits.cpu":                                                       v1alpha1.ReasonQuotaExceeded,
		"a policy denies it": v1alpha1.ReasonRefused,
	} {
		err := apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "quota-packs", errors.New(cause))
		if f, ok := refusalOf(r, "Service", "quota-packs", err); !ok || f.reason != reason || f.permanent != (reason == v1alpha1.ReasonRefused) {
			t.Errorf("%s: %+v", cause, f)
		}
	}
}
