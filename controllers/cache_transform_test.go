package controllers

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"packregistry.dev/controllers/children"
)

// Children of two registries of one name, one after the other: what they share is not mixed up.
func TestReducedChildrenKnowWhoseTheyAre(t *testing.T) {
	secret := func(uid types.UID, name string) *metav1.PartialObjectMetadata {
		m := secretMetadata()
		m.Name, m.Namespace, m.Labels = name, "team", map[string]string{children.LabelManagedBy: children.ManagedBy, children.LabelRegistry: "packs", "more": "labels"}
		if uid != "" {
			m.OwnerReferences = []metav1.OwnerReference{{APIVersion: "packregistry.dev/v1alpha1", Kind: "PackRegistry", Name: "packs", UID: uid, Controller: ptr.To(true)}}
		}
		return m
	}
	for _, uid := range []types.UID{"first", "", "second", "", "first"} {
		transformed, err := transformSecret(secret(uid, "s"))
		must(t, err)
		got := transformed.(*metav1.PartialObjectMetadata)
		controller := metav1.GetControllerOf(got)
		if (uid == "") != (controller == nil) || controller != nil && controller.UID != uid || len(got.Labels) != 2 || got.Labels[children.LabelRegistry] != "packs" {
			t.Errorf("%s: %+v", uid, got.ObjectMeta)
		}
		again, err := transformSecret(got)
		must(t, err)
		if metav1.GetControllerOf(again.(*metav1.PartialObjectMetadata)) == nil != (uid == "") {
			t.Errorf("%s: lost its owner when it was looked at again", uid)
		}
	}
}

// An object whose managed fields cannot be read is in the cache like the others, and applied again.
func TestAnObjectThatCannotBeReducedIsCached(t *testing.T) {
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "packs", Labels: map[string]string{children.LabelManagedBy: children.ManagedBy, children.LabelRegistry: "packs"},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: FieldOwner, Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(`{"x:y":7}`)}}}}
	cached, err := transformService(service)
	if err != nil {
		t.Fatal(err)
	}
	same, err := serviceChild(cached.(*corev1.Service), children.Service(newRegistry("n"))).upToDate()
	if err != nil || same {
		t.Errorf("up to date: %v, %v", same, err)
	}
}
