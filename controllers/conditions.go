package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file evaluates what the conditions of a registry speak of, one by one.

// bucketReady says whether everything is there that it takes to use the bucket. Whether the bucket answers is the
// registry's to say, by its readiness.
func bucketReady(spec *v1alpha1.S3Spec, b bucketState) condition {
	switch {
	case b.missing != "":
		return isFalse(v1alpha1.ReasonSecretMissing, "%s", b.missing)
	case b.invalid != "":
		return isFalse(v1alpha1.ReasonSecretInvalid, "%s", b.invalid)
	}
	at := "AWS"
	if spec.Endpoint != "" {
		at = spec.Endpoint
	}
	return isTrue(v1alpha1.ReasonBucketConfigured, "%s", strings.Join(append([]string{fmt.Sprintf("packs are kept in bucket %s at %s", spec.Bucket, at)}, b.notes...), "; "))
}

func storageReady(o *observed, d decision) condition {
	if s3 := o.registry.Spec.Storage.S3; s3 != nil {
		return bucketReady(s3, d.bucket).butServes(!d.bucket.ok() && servesSpec(o, d)) // pods run with a copy of what was good
	}
	spec := o.registry.Spec.Storage.PersistentVolumeClaim
	if spec == nil {
		return isTrue(v1alpha1.ReasonEphemeral, "packs are kept in memory, and lost when the pod ends")
	}
	name := children.ClaimName(o.registry)
	switch {
	case o.claim == nil && spec.ClaimName != "":
		return isFalse(v1alpha1.ReasonClaimMissing, "PersistentVolumeClaim %s does not exist; create it, or let the operator make one (size instead of claimName)", name)
	case o.claim == nil:
		return isUnknown(v1alpha1.ReasonProgressing, "PersistentVolumeClaim %s is being made", name)
	case o.claim.DeletionTimestamp != nil:
		return isFalse(v1alpha1.ReasonClaimLost, "PersistentVolumeClaim %s is being deleted", name)
	case o.claim.Status.Phase == corev1.ClaimBound && wantsToGrow(o):
		return growing(o)
	case o.claim.Status.Phase == corev1.ClaimBound && nearlyFull(o):
		return isFalse(v1alpha1.ReasonNearlyFull, "PersistentVolumeClaim %s is more than %d%% full, and pushes will soon be refused: let it grow (spec.storage.persistentVolumeClaim.size), or delete packs", name, nearlyFullTill).butServes(true)
	case o.claim.Status.Phase == corev1.ClaimBound:
		return isTrue(v1alpha1.ReasonClaimBound, "PersistentVolumeClaim %s is bound", name)
	case o.claim.Status.Phase == corev1.ClaimLost:
		return isFalse(v1alpha1.ReasonClaimLost, "PersistentVolumeClaim %s has lost its volume", name)
	}
	return isUnknown(v1alpha1.ReasonClaimPending, "PersistentVolumeClaim %s waits for a volume%s", name, unprovisioned(o))
}

// unprovisioned says why nobody will make a volume for a pending claim, or "". Somebody may have one made by hand.
func unprovisioned(o *observed) string {
	switch class := o.claim.Spec.StorageClassName; {
	case class == nil:
		return ", which somebody must make: the cluster has no default StorageClass, and the spec names none"
	case o.classMissing:
		return fmt.Sprintf(", which somebody must make: StorageClass %s does not exist", *class)
	}
	return ""
}

// growing says how the growth of a claim goes. The registry serves meanwhile, so all but a refusal is well.
func growing(o *observed) condition {
	name, size := o.claim.Name, o.registry.Spec.Storage.PersistentVolumeClaim.Size
	if why := cannotGrow(o); why != "" {
		return isFalse(v1alpha1.ReasonCannotGrow, "PersistentVolumeClaim %s cannot grow to %s: %s", name, size, why).butServes(true)
	}
	for _, c := range o.claim.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == corev1.PersistentVolumeClaimControllerResizeError || c.Type == corev1.PersistentVolumeClaimNodeResizeError) {
			return isFalse(v1alpha1.ReasonCannotGrow, "PersistentVolumeClaim %s did not grow to %s: %s", name, size, clip(c.Message)).butServes(true)
		}
	}
	return isTrue(v1alpha1.ReasonResizing, "PersistentVolumeClaim %s is bound, and growing to %s", name, size)
}

func authReady(o *observed, d decision) condition {
	if len(o.registry.Spec.Auth.SecretRefs) == 0 {
		return isTrue(v1alpha1.ReasonAnonymous, "everybody may pull, and nobody push")
	}
	if d.users.ok() {
		message := "the users are known"
		if len(d.users.duplicates) > 0 {
			message += "; there more than once, where the first holds: " + strings.Join(d.users.duplicates, ", ")
		}
		message = strings.Join(append([]string{message}, d.users.notes...), "; ")
		return isTrue(v1alpha1.ReasonUsersKnown, "%s", message)
	}
	wrong := strings.Join(append(append([]string(nil), d.users.missing...), d.users.invalid...), "; ")
	if d.users.htpasswd != nil {
		return isFalse(v1alpha1.ReasonLastGoodUsers, "%s; the users known before stay", wrong).butServes(true)
	}
	if o.users != nil {
		wrong += fmt.Sprintf("; and the users known before are lost, since Secret %s was overwritten: who may come in is decided when this is mended", o.users.Name)
	}
	if len(d.users.missing) > 0 {
		return isFalse(v1alpha1.ReasonSecretMissing, "%s", wrong)
	}
	return isFalse(v1alpha1.ReasonSecretInvalid, "%s", wrong)
}

func tlsReady(o *observed, d decision) condition {
	if d.certificate.ok() {
		return isTrue(d.certificate.reason, "%s", d.certificate.message)
	}
	return isFalse(d.certificate.reason, "%s", d.certificate.message).butServes(d.certificate.serves && servesSpec(o, d))
}

// servesSpec says whether the pods run with what this generation of the spec asks for. A Deployment alone does not say so: it may be of an
// earlier generation, or of a PackRegistry of the same name that was deleted without its children. A suspended one stays as it is.
func servesSpec(o *observed, d decision) bool {
	return o.deployment != nil && (d.applied || o.registry.Spec.Suspend || !specChanged(o))
}

func deploymentCondition(live *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range live.Status.Conditions {
		if live.Status.Conditions[i].Type == kind {
			return &live.Status.Conditions[i]
		}
	}
	return nil
}

// available reads the Deployment's own condition.
func available(o *observed) condition {
	if o.deployment == nil {
		return isFalse(v1alpha1.ReasonProgressing, "the registry was not started yet")
	}
	elsewhere := scaledElsewhere(o)
	if replicas := o.deployment.Spec.Replicas; replicas != nil && *replicas == 0 {
		if elsewhere != "" {
			return isFalse(v1alpha1.ReasonScaledToZero, "nothing serves: %s", elsewhere)
		}
		return isFalse(v1alpha1.ReasonScaledToZero, "spec.replicas is 0: nothing serves")
	}
	c := deploymentCondition(o.deployment, appsv1.DeploymentAvailable)
	answers := c != nil && c.Status == corev1.ConditionTrue && o.deployment.Status.AvailableReplicas > 0
	if failure := deploymentCondition(o.deployment, appsv1.DeploymentReplicaFailure); failure != nil && failure.Status == corev1.ConditionTrue {
		if answers {
			return isTrue(v1alpha1.ReasonReplicaFailure, "%d replicas answer, and more cannot be made: %s", o.deployment.Status.AvailableReplicas, failure.Message).butServes(true)
		}
		return isFalse(v1alpha1.ReasonReplicaFailure, "pods cannot be made: %s", failure.Message)
	}
	if answers {
		if elsewhere != "" {
			return isTrue(v1alpha1.ReasonScaledElsewhere, "%d of %d replicas answer; %s", o.deployment.Status.AvailableReplicas, o.deployment.Status.Replicas, elsewhere)
		}
		return isTrue(v1alpha1.ReasonMinimumAvailable, "%d of %d replicas answer", o.deployment.Status.AvailableReplicas, o.deployment.Status.Replicas)
	}
	return isFalse(v1alpha1.ReasonRollingOut, "%s", podTrouble(o, rolloutMessage(o.deployment)))
}

// rollingOut says whether the Deployment has not caught up with its spec.
func rollingOut(o *observed) bool {
	if o.deployment == nil {
		return true
	}
	return rolling(o.deployment)
}

func rolling(live *appsv1.Deployment) bool {
	want := int32(1)
	if live.Spec.Replicas != nil {
		want = *live.Spec.Replicas
	}
	return live.Status.ObservedGeneration < live.Generation || live.Status.UpdatedReplicas < want ||
		live.Status.Replicas > live.Status.UpdatedReplicas || live.Status.AvailableReplicas < want
}

func rolloutMessage(live *appsv1.Deployment) string {
	return fmt.Sprintf("%d of %d replicas are up to date, %d answer", live.Status.UpdatedReplicas, live.Status.Replicas, live.Status.AvailableReplicas)
}

// podTrouble adds what keeps a pod from starting, if one says so.
func podTrouble(o *observed, message string) string {
	for _, pod := range o.pods {
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Message != "" {
				return fmt.Sprintf("%s; pod %s cannot be scheduled: %s", message, pod.Name, clip(c.Message))
			}
		}
		for _, c := range pod.Status.ContainerStatuses {
			switch {
			case c.State.Waiting != nil && c.State.Waiting.Message != "":
				text := c.State.Waiting.Message
				if last := c.LastTerminationState.Terminated; last != nil && last.Message != "" {
					text = last.Message
				}
				return fmt.Sprintf("%s; pod %s: %s: %s", message, pod.Name, clip(c.State.Waiting.Reason), clip(text))
			case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
				return fmt.Sprintf("%s; pod %s ended: %s", message, pod.Name, clip(c.State.Terminated.Message))
			case !c.Ready && c.LastTerminationState.Terminated != nil && c.LastTerminationState.Terminated.Message != "":
				return fmt.Sprintf("%s; pod %s tries again, and ended before: %s", message, pod.Name, clip(c.LastTerminationState.Terminated.Message))
			}
		}
	}
	return message
}

// withoutAddresses are an error's words without the addresses of a connection that failed: its port is another each time, and
// the status would be written each time.
func withoutAddresses(err error) string {
	if op := (*net.OpError)(nil); errors.As(err, &op) && op.Err != nil {
		return op.Op + ": " + op.Err.Error()
	}
	return err.Error()
}

// url is an address that clients can use now, or "".
func url(o *observed) string {
	r := o.registry
	switch {
	case r.Spec.Gateway != nil:
		if routed(o).status != metav1.ConditionTrue {
			return ""
		}
		return routeURL(o)
	case r.Spec.Ingress != nil:
		if o.ingress == nil || len(o.ingress.Status.LoadBalancer.Ingress) == 0 {
			return ""
		}
		return "https://" + canonicalHost(r)
	case o.service == nil:
		return ""
	}
	scheme, port := "https", children.ServicePort(r)
	if !children.ServesTLS(r) {
		scheme = "http"
	}
	host := canonicalHost(r)
	switch o.service.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		ingress := o.service.Status.LoadBalancer.Ingress
		if len(ingress) == 0 {
			return ""
		}
		// Some have both; a name survives a change of the address.
		if host = cmp.Or(host, ingress[0].Hostname, ingress[0].IP); host == "" {
			return ""
		}
	case corev1.ServiceTypeNodePort:
		if host == "" || len(o.service.Spec.Ports) == 0 || o.service.Spec.Ports[0].NodePort == 0 {
			return ""
		}
		port = o.service.Spec.Ports[0].NodePort
	default:
		host = fmt.Sprintf("%s.%s.svc", o.service.Name, o.service.Namespace)
	}
	return address(scheme, host, port)
}

// maxAddresses bounds what the status lists: a load balancer may have very many.
const maxAddresses = 16

// addresses are those of the Ingress, or of the Service's load balancer. A Gateway reports its own.
func addresses(o *observed) []v1alpha1.Address {
	var list []v1alpha1.Address
	add := func(hostname, ip string) {
		if hostname != "" {
			list = append(list, v1alpha1.Address{Type: v1alpha1.AddressHostname, Value: hostname})
		}
		if ip != "" {
			list = append(list, v1alpha1.Address{Type: v1alpha1.AddressIP, Value: ip})
		}
	}
	switch {
	case o.registry.Spec.Gateway != nil:
	case o.registry.Spec.Ingress != nil:
		if o.ingress != nil {
			for _, at := range o.ingress.Status.LoadBalancer.Ingress {
				add(at.Hostname, at.IP)
			}
		}
	case o.service != nil && o.service.Spec.Type == corev1.ServiceTypeLoadBalancer:
		for _, at := range o.service.Status.LoadBalancer.Ingress {
			add(at.Hostname, at.IP)
		}
	}
	return list[:min(len(list), maxAddresses)]
}

// canonicalHost is the first of the hosts, or "".
func canonicalHost(r *v1alpha1.PackRegistry) string {
	if len(r.Spec.Hosts) == 0 {
		return ""
	}
	return r.Spec.Hosts[0]
}

// address is a URL; the port is left out where it is the usual one.
func address(scheme, host string, port int32) string {
	usual := int32(443)
	if scheme == "http" {
		usual = 80
	}
	switch {
	case port != 0 && port != usual:
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	case strings.Contains(host, ":"): // IPv6
		host = "[" + host + "]"
	}
	return scheme + "://" + host
}

// exposed says whether clients can reach the registry. That nobody scrapes it does them no harm, and is reported beside.
func exposed(o *observed, url string) condition {
	f := reachable(o, url)
	if err := o.unknown[children.ServiceMonitorKind]; err != nil && children.Optional(o.registry)[children.ServiceMonitorKind] != nil {
		if f.status == metav1.ConditionTrue {
			f = isTrue(v1alpha1.ReasonReconcileFailed, "%s", f.message).butServes(true)
		}
		f.message += fmt.Sprintf("; the ServiceMonitor cannot be read: %s; trying again", clip(withoutAddresses(err)))
	}
	if lacks(o, children.ServiceMonitorKind) {
		if f.status == metav1.ConditionTrue {
			f = isTrue(v1alpha1.ReasonServiceMonitorNotInstalled, "%s", f.message).butServes(true)
		}
		f.message += fmt.Sprintf("; the cluster does not have ServiceMonitor (%s), which spec.monitoring.serviceMonitor asks for: one is made when it is installed", children.ServiceMonitorKind.Group)
	}
	return f
}

func reachable(o *observed, url string) condition {
	switch {
	case o.registry.Spec.Gateway != nil:
		return routed(o)
	case url != "":
		return isTrue(v1alpha1.ReasonAddressAssigned, "clients reach the registry at %s", url)
	case o.service == nil:
		return isUnknown(v1alpha1.ReasonProgressing, "the Service is being made")
	case o.ingressClassMissing:
		return isFalse(v1alpha1.ReasonIngressClassMissing, "IngressClass %s, which spec.ingress.className names, does not exist: create it with its controller, or name one that there is", *o.registry.Spec.Ingress.ClassName)
	case o.registry.Spec.Ingress != nil:
		return isFalse(v1alpha1.ReasonAddressPending, "Ingress %s waits for the address of a controller%s", children.IngressName(o.registry), ofClass(o.registry.Spec.Ingress.ClassName))
	case o.service.Spec.Type == corev1.ServiceTypeNodePort:
		return isTrue(v1alpha1.ReasonAddressAssigned, "every node serves the Service's port; name one in spec.hosts for a URL")
	}
	return isFalse(v1alpha1.ReasonAddressPending, "Service %s waits for the address of a load balancer", o.service.Name)
}

func ofClass(name *string) string {
	if name == nil {
		return ", of the default class"
	}
	return " of class " + *name
}
