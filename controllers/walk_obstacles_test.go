package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// This file puts what people put in the operator's way: admission policies and quotas.

const policyProbe = "walk-probe-"

// doRefuse lets a ValidatingAdmissionPolicy refuse what the operator writes of a kind.
func (k *walk) doRefuse(ctx context.Context, _ *testing.T, s step) error {
	if k.refused[s.On] {
		return nil
	}
	name, fail := k.namespace+"-"+s.On, admissionv1.Fail
	policy := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
		FailurePolicy: &fail,
		MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
			Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update, admissionv1.Delete},
			Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{s.On, "configmaps"}}}}}},
		MatchConditions: []admissionv1.MatchCondition{
			{Name: "operator", Expression: "request.userInfo.username == '" + walkOperatorUser + "'"},
			{Name: "kind", Expression: "request.resource.resource == '" + s.On + "' && !request.name.startsWith('" + policyProbe + "') || request.name == '" + policyProbe + s.On + "'"},
		},
		Validations: []admissionv1.Validation{{Expression: "false", Message: "a policy does not like " + s.On}},
	}}
	if err := k.api.Create(ctx, policy); err != nil {
		return err
	}
	if err := k.api.Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny},
		MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: k.namespace}}},
	}}); err != nil {
		return err
	}
	k.refused[s.On] = true
	return k.waitForPolicy(ctx, s.On, true)
}

// doAllow takes the policy away.
func (k *walk) doAllow(ctx context.Context, _ *testing.T, s step) error {
	if !k.refused[s.On] {
		return nil
	}
	meta := metav1.ObjectMeta{Name: k.namespace + "-" + s.On}
	if err := k.api.Delete(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: meta}); err != nil {
		return err
	}
	if err := k.api.Delete(ctx, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: meta}); err != nil {
		return err
	}
	delete(k.refused, s.On)
	return k.waitForPolicy(ctx, s.On, false)
}

// waitForPolicy waits until the API server goes by a policy.
func (k *walk) waitForPolicy(ctx context.Context, kind string, refuses bool) error {
	return waitUntil(ctx, settleLimit, "the policy holds", func() error {
		probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: policyProbe + kind, Namespace: k.namespace}}
		if err := k.asOperator.Create(ctx, probe, client.DryRunAll); (err != nil) != refuses {
			return fmt.Errorf("trying gives %w", cmp.Or(err, errors.New("no error")))
		}
		return nil
	})
}

const quotaResource corev1.ResourceName = "count/secrets"

// doQuota limits the namespace to the Secrets that it has, or lifts that.
func (k *walk) doQuota(ctx context.Context, _ *testing.T, s step) error {
	on := s.With == "on"
	if on == k.quota {
		return nil
	}
	secrets := &corev1.SecretList{}
	if err := k.api.List(ctx, secrets, client.InNamespace(k.namespace)); err != nil {
		return err
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "walk", Namespace: k.namespace},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{quotaResource: *resource.NewQuantity(int64(len(secrets.Items)), resource.DecimalSI)}}}
	if on {
		if err := k.api.Create(ctx, quota); err != nil {
			return err
		}
	} else if err := k.api.Delete(ctx, quota); err != nil {
		return err
	}
	k.quota = on
	return waitUntil(ctx, settleLimit, "the quota holds", func() error {
		probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: policyProbe + "quota", Namespace: k.namespace}}
		if err := k.api.Create(ctx, probe, client.DryRunAll); (err != nil) != on {
			return fmt.Errorf("trying gives %w", cmp.Or(err, errors.New("no error")))
		}
		return nil
	})
}

// clearObstacles takes away what keeps the operator from writing.
func (k *walk) clearObstacles(ctx context.Context) error {
	for kind := range k.refused {
		if err := k.doAllow(ctx, nil, step{On: kind}); err != nil {
			return err
		}
	}
	return k.doQuota(ctx, nil, step{With: "off"})
}
