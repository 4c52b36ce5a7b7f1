package controllers

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	networkingv1apply "k8s.io/client-go/applyconfigurations/networking/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file lists the children that a spec asks for: what protects packs and lets people in first, then the others.

// planFirst lists what protects packs and lets people in: users, certificates, and what carries a deletion policy. None of it
// needs the rest of the spec to be carried out.
func (d *decision) planFirst(o *observed) {
	r := o.registry
	if claim := children.Claim(r, o.claim); claim != nil && !o.unread.claim {
		// Who else wants the claim must not find it deleted with this PackRegistry, nor who has kept it.
		if d.conflict == "" && !o.unread.conflicting && unlikeKept(r, o.claim) == "" || r.Spec.Storage.PersistentVolumeClaim.DeletionPolicy != v1alpha1.DeletionDelete {
			d.first = append(d.first, claimChild(o.claim, claim))
		}
	}
	if d.users.htpasswd != nil && !o.unread.users && len(r.Spec.Auth.SecretRefs) > 0 && !unread(r, "spec.auth") {
		d.first = append(d.first, secretChild(o.users, children.UsersSecret(r, d.users.htpasswd, d.users.salt, d.users.versions)))
	}
	if o.unread.tls || unread(r, "spec.hosts") || unread(r, "spec.tls") {
		return
	}
	d.planGivenUpCA(o)
	if d.ca.leaf != nil {
		d.first = append(d.first,
			secretChild(o.ca, children.CASecret(r, d.ca.ca)),
			configMapChild(o.bundle, children.CABundle(r, d.ca.bundle)),
			secretChild(o.leaf, children.SelfSignedSecret(r, d.ca.leaf)))
	}
	if o.unread.hosts || len(o.refusedHosts) > 0 {
		return // nobody is asked for a certificate of hosts that are others'
	}
	if err := d.planOptional(o, &d.first, true); err != nil {
		d.invalid = err.Error()
	}
}

// unread says whether a part of the spec could not be decoded, so that nothing may be made of it.
func unread(r *v1alpha1.PackRegistry, part string) bool { return strings.Contains(r.DecodeError, part) }

// plan lists the other children. A registry that never ran waits for what its pods need; one that runs goes on with what it
// had.
func (d *decision) plan(o *observed) {
	r := o.registry
	refusesToGrow := wantsToGrow(o) && cannotGrow(o) != "" // asking again would only be refused again
	if wantsToRequestMore(o) && !refusesToGrow {
		d.children = append(d.children, claimChild(o.claim, children.GrownClaim(r)))
	}
	d.children = append(d.children, serviceChild(o.service, children.Service(r)))
	d.planBudget(o)
	if err := d.planExposure(o); err != nil {
		d.invalid = err.Error()
		return
	}
	if err := d.planOptional(o, &d.children, false); err != nil {
		d.invalid = err.Error()
		return
	}

	rendered, err := children.RenderConfig(r, children.ConfigInput{S3: d.bucket.credential, S3CA: d.bucket.ca, ACMECA: d.acmeCA})
	if err != nil {
		d.invalid = err.Error()
		return
	}
	rendered = keepConfig(o, rendered)
	usersExist := len(r.Spec.Auth.SecretRefs) == 0 || o.users != nil || d.users.htpasswd != nil
	if o.deployment == nil && (!usersExist || children.ServesTLS(r) && d.certificate.nothing || claimMissing(o)) {
		return
	}
	if !d.bucket.ok() || d.waitsFor != "" {
		return // what runs goes on with the configuration that it has
	}
	if err := d.planPods(o, rendered); err != nil {
		d.invalid = err.Error()
	}
}

// planPods lists the configuration and the Deployment that runs with it.
func (d *decision) planPods(o *observed, rendered children.RenderedConfig) error {
	r := o.registry
	wanted := func(release, from, noted string) (child, error) {
		deployment, err := children.Deployment(r, children.DeploymentInput{
			Image: o.image, Defaults: o.defaults, Config: rendered, Shared: shared(o), LeaveReplicas: leavesReplicas(o), NotedReplicas: noted, Version: release, UpgradedFrom: from,
		})
		if err != nil {
			return nil, err
		}
		return deploymentChild(o.deployment, deployment), nil
	}
	before := ""
	if o.deployment != nil {
		before = o.deployment.Annotations[children.AnnotationUpgradedFrom]
	}
	// What an earlier operator did not note yet makes no other pods.
	upgrade, err := isUpgrade(o, func(release string) (child, error) {
		return wanted(release, before, o.deployment.Annotations[children.AnnotationReplicas])
	})
	if err != nil {
		return err
	}
	if upgrade {
		if before = o.deployment.Annotations[children.AnnotationVersion]; before == "" {
			before = "an operator that did not say"
		}
	}
	deployment, err := wanted(o.release, before, notedReplicas(o))
	if err != nil {
		return err
	}
	if !upgrade && before != "" && specChanged(o) {
		// Pods that are rolled for another spec's sake are no part of an upgrade any more: others must not wait for them.
		if same, err := deployment.upToDate(); err != nil || !same {
			if deployment, err = wanted(o.release, "", notedReplicas(o)); err != nil {
				return err
			}
		}
	}
	pods := []child{deployment}
	// The configuration is immutable, so one that exists needs no second look, if it stays as long as this registry does.
	if !slices.ContainsFunc(o.configs, func(m metav1.PartialObjectMetadata) bool {
		return m.Name == rendered.Name && metav1.IsControlledBy(&m, r)
	}) {
		pods = []child{secretChild(nil, children.ConfigSecret(r, rendered)), deployment}
	}
	d.pods, d.upgrade = pods, upgrade
	for _, c := range o.configs {
		if c.Name != rendered.Name {
			d.outdated = append(d.outdated, c)
		}
	}
	return nil
}

// planExposure lists what leads clients here, and who may come.
func (d *decision) planExposure(o *observed) error {
	if ingress := children.Ingress(o.registry); ingress != nil {
		d.children = append(d.children, newChild("Ingress", o.ingress, ingress, networkingv1apply.ExtractIngress))
	}
	if _, err := children.Relabelings(&o.registry.Spec); err != nil {
		return err
	}
	policy, err := children.NetworkPolicy(o.registry)
	if err != nil {
		return err
	}
	if policy != nil {
		d.children = append(d.children, newChild("NetworkPolicy", o.policy, policy, networkingv1apply.ExtractNetworkPolicy))
	}
	if metrics := children.MetricsService(o.registry); metrics != nil {
		d.children = append(d.children, serviceChild(o.metrics, metrics))
	}
	return nil
}

// planBudget lists the PodDisruptionBudget, by how many replicas there are to be.
func (d *decision) planBudget(o *observed) {
	replicas := children.Replicas(o.registry)
	if leavesReplicas(o) {
		replicas = *o.deployment.Spec.Replicas
	}
	if budget := children.DisruptionBudget(o.registry, replicas); budget != nil {
		d.children = append(d.children, budgetChild(o.budget, budget))
	}
}
