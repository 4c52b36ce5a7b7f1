package v1alpha1

import "k8s.io/apimachinery/pkg/runtime"

// Object is part of another API, whose schema is not repeated here. The operator decodes it, and the API server validates it when
// it is applied.
//
// +kubebuilder:validation:Type=object
// +kubebuilder:pruning:PreserveUnknownFields
type Object struct {
	runtime.RawExtension `json:",inline"`
}

// ObjectMetadata is added to objects.
type ObjectMetadata struct {
	// Labels, which are never part of a selector.
	// +optional
	Labels Labels `json:"labels,omitempty"`
	// Annotations of the objects.
	// +optional
	Annotations Annotations `json:"annotations,omitempty"`
}

// Labels of objects that the operator makes.
//
// +kubebuilder:validation:MaxProperties=64
// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && !k.matches('[.-][.]|[.]-|[-.]/'))",message="a label's key is a name of at most 63 letters, digits, '-', '_' and '.', with a domain and '/' before it if need be"
// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('app.kubernetes.io/') && !k.startsWith('packregistry.dev/'))",message="labels of app.kubernetes.io and packregistry.dev are the operator's"
type Labels map[string]LabelValue

// LabelValue is the value of a label: letters, digits, '-', '_' and '.'.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string

// Strings are the labels as other types have them; never nil.
func (l Labels) Strings() map[string]string {
	strings := make(map[string]string, len(l))
	for key, value := range l {
		strings[key] = string(value)
	}
	return strings
}

// Annotations of objects that the operator makes.
//
// +kubebuilder:validation:MaxProperties=64
// +kubebuilder:validation:XValidation:rule="self.all(k, k.size() <= 317 && k.matches('^([A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$') && !k.matches('[.-][.]|[.]-|[-.]/'))",message="an annotation's key is a name of at most 63 letters, digits, '-', '_' and '.', with a domain and '/' before it if need be"
// +kubebuilder:validation:XValidation:rule="self.all(k, !k.startsWith('packregistry.dev/'))",message="annotations of packregistry.dev are the operator's"
type Annotations map[string]string
