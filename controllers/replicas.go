package controllers

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/controllers/children"
)

// This file decides whose number of replicas holds. A HorizontalPodAutoscaler of the Deployment goes before spec.replicas. What
// anybody else has set, a person with kubectl scale for instance, stays until spec.replicas is changed; the PackRegistry says
// so meanwhile.

// scalePoll is how often to look whether an autoscaler is still there.
const scalePoll = time.Minute

// scaledBy is who has set the Deployment's number of replicas instead of the operator, or "".
func scaledBy(live *appsv1.Deployment) string {
	if live == nil {
		return ""
	}
	if live.Annotations[annotationOwned] != "" {
		return live.Annotations[annotationScaled]
	}
	by, ours := "", false
	for _, entry := range live.ManagedFields {
		ours = ours || entry.Manager == FieldOwner
		if entry.FieldsV1 == nil || entry.Subresource == "status" || !strings.Contains(entry.FieldsV1.GetRawString(), `"f:replicas"`) {
			continue
		}
		if entry.Manager == FieldOwner {
			return "" // whoever changes the number takes it from us
		}
		by = entry.Manager
	}
	if by == "" && ours {
		return "somebody" // who scales to 0 is not noted: a Scale of 0 is an empty one
	}
	return by
}

// leavesReplicas says whether the Deployment's number of replicas is somebody else's.
func leavesReplicas(o *observed) bool {
	if scaledBy(o.deployment) == "" || o.deployment.Spec.Replicas == nil {
		return false
	}
	if o.autoscaler != "" {
		return true
	}
	wanted, noted := children.Replicas(o.registry), o.deployment.Annotations[children.AnnotationReplicas]
	return *o.deployment.Spec.Replicas != wanted && (noted == "" || noted == strconv.Itoa(int(wanted)))
}

// notedReplicas is the spec.replicas to note on the Deployment: the one that was in effect last.
func notedReplicas(o *observed) string {
	if leavesReplicas(o) {
		if noted := o.deployment.Annotations[children.AnnotationReplicas]; noted != "" {
			return noted
		}
	}
	return strconv.Itoa(int(children.Replicas(o.registry)))
}

// scaledElsewhere says whose number of replicas holds instead of the spec's, or "".
func scaledElsewhere(o *observed) string {
	if !leavesReplicas(o) || *o.deployment.Spec.Replicas == children.Replicas(o.registry) {
		return ""
	}
	if o.autoscaler != "" {
		return fmt.Sprintf("HorizontalPodAutoscaler %s scales Deployment %s, so that spec.replicas has no effect; let it scale the PackRegistry instead", o.autoscaler, o.deployment.Name)
	}
	return fmt.Sprintf("%s scaled Deployment %s to %d, so that spec.replicas (%d) has no effect until it is changed", scaledBy(o.deployment), o.deployment.Name,
		*o.deployment.Spec.Replicas, children.Replicas(o.registry))
}

// observeAutoscaler looks for a HorizontalPodAutoscaler of the Deployment. They are not watched: this is asked only where
// somebody else has set the number of replicas.
func (r *Reconciler) observeAutoscaler(ctx context.Context, o *observed) error {
	by, me := scaledBy(o.deployment), client.ObjectKeyFromObject(o.registry)
	if by == "" {
		r.autoscalers.Delete(me)
		return nil
	}
	// It is asked again when the spec, or who scales, has changed, which is when a person looks.
	what := fmt.Sprintf("%s %d %s", o.deployment.UID, o.registry.Generation, by)
	if known, ok := r.autoscalers.Load(me); ok {
		last := known.(knownAutoscaler) //nolint:forcetypeassert // nothing else is put there
		if last.what == what && o.now.Sub(last.at) < scalePoll {
			o.autoscaler = last.name
			return nil
		}
	}
	err := r.findAutoscaler(ctx, o, by)
	if err == nil {
		r.autoscalers.Store(me, knownAutoscaler{what, o.autoscaler, o.now})
	}
	return err
}

// knownAutoscaler is which autoscaler was found, if any, for what, and when.
type knownAutoscaler struct {
	what, name string
	at         time.Time
}

// findAutoscaler asks the API server for it.
func (r *Reconciler) findAutoscaler(ctx context.Context, o *observed, by string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "autoscaling", Version: "v2", Kind: "HorizontalPodAutoscalerList"})
	err := r.APIReader.List(ctx, list, client.InNamespace(o.registry.Namespace))
	if apierrors.IsForbidden(err) && by == "kube-controller-manager" {
		o.autoscaler = "of this Deployment" // it is in there that they work
	}
	if err != nil {
		return client.IgnoreNotFound(ignoreForbidden(err))
	}
	for i := range list.Items {
		target, _, err := unstructured.NestedStringMap(list.Items[i].Object, "spec", "scaleTargetRef")
		if err == nil && target["kind"] == "Deployment" && strings.HasPrefix(target["apiVersion"], "apps/") && target["name"] == o.deployment.Name {
			o.autoscaler = list.Items[i].GetName()
			return nil
		}
	}
	return nil
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}
