// Package v1alpha1 is the PackRegistry kind of the API group packregistry.dev: what its users write, what the operator
// reports back, and the rules that the API server holds both to.
//
// Rules by which one object can be validated live here, as CEL on the CRD, so that a mistake is refused when it is applied
// and no webhook (and no certificate for one) is needed.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +kubebuilder:ac:output:package="applyconfiguration"
// +groupName=packregistry.dev
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	// GroupVersion is the group and version of this package.
	GroupVersion = schema.GroupVersion{Group: "packregistry.dev", Version: "v1alpha1"}

	// SchemeGroupVersion is GroupVersion, by the name that generated code knows it by.
	SchemeGroupVersion = GroupVersion

	schemeBuilder = runtime.NewSchemeBuilder(func(s *runtime.Scheme) error {
		s.AddKnownTypes(GroupVersion, &PackRegistry{}, &PackRegistryList{})
		metav1.AddToGroupVersion(s, GroupVersion)
		return nil
	})

	// AddToScheme makes a scheme know the kinds of this package.
	AddToScheme = schemeBuilder.AddToScheme
)
