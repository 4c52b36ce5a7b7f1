// Package limits says what those who may create PackRegistries may ask for with them. A PackRegistry becomes pods, Services and
// Ingresses, which the operator makes with rights of its own: what is not limited here, whoever creates a PackRegistry can do with
// these rights. Administrators set the limits by the operator's flags; the defaults are for clusters whose tenants create
// PackRegistries, and may do little else.
//
// All functions are pure. What they refuse is named by its path in the spec, beside what is allowed and who can change that.
package limits

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// Limits are what is allowed.
type Limits struct {
	// Images are repositories, of which any tag and digest is allowed, whole references, or beginnings that end in '*'. Images of the
	// default image's repository are always allowed.
	Images []string
	// Annotations are keys, beginnings of keys that end in '*', or key=value.
	Annotations []string
	// Labels are keys, or beginnings of keys that end in '*'.
	Labels []string
	// Env are names of the registry's variables, or beginnings of names that end in '*'.
	Env []string
	// PodFields are fields of spec.pod, as PodFields lists them.
	PodFields []string
	// HostsAnnotation is the annotation of a namespace that lists the hosts of its PackRegistries; any host is allowed if it is
	// empty.
	HostsAnnotation string
}

// DefaultWord stands for the defaults in a list.
const DefaultWord = "default"

// Flags are the limits as text: lists that are separated by commas.
type Flags struct {
	Images, Annotations, Labels, Env, PodFields, HostsAnnotation string
}

// DefaultFlags are those of an operator that is given no flags.
func DefaultFlags() Flags {
	return Flags{Annotations: DefaultWord, Labels: DefaultWord, Env: DefaultWord, PodFields: DefaultWord}
}

// Parse reads the lists, in which DefaultWord stands for the defaults.
func Parse(f Flags) (*Limits, error) {
	l := &Limits{
		Images: list(f.Images, nil), Annotations: list(f.Annotations, DefaultAnnotations), Labels: list(f.Labels, DefaultLabels), Env: list(f.Env, DefaultEnv),
		PodFields: list(f.PodFields, DefaultPodFields), HostsAnnotation: f.HostsAnnotation,
	}
	for _, pattern := range slices.Concat(l.Images, l.Annotations, l.Labels, l.Env) {
		if i := strings.IndexByte(pattern, '*'); i >= 0 && i != len(pattern)-1 {
			return nil, fmt.Errorf("%q: '*' stands for the end of a name only", pattern)
		}
	}
	for _, pattern := range l.Images {
		if start, ok := strings.CutSuffix(pattern, "*"); ok && start != "" && !strings.ContainsAny(start[len(start)-1:], "/:@") {
			return nil, fmt.Errorf("image %q: put '*' after '/', ':' or '@', so that it ends no name of a host or repository that goes on otherwise", pattern)
		}
	}
	known := PodFields()
	for _, field := range l.PodFields {
		if field != "*" && !slices.Contains(known, field) {
			return nil, fmt.Errorf("%q is no field of spec.pod; there are %s", field, strings.Join(known, ", "))
		}
	}
	return l, nil
}

func list(text string, defaults []string) []string {
	var all []string
	for _, word := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\n' }) {
		if word == DefaultWord {
			all = append(all, defaults...)
			continue
		}
		all = append(all, word)
	}
	return all
}

// PodFields are the fields of spec.pod that can be allowed, what can be allowed within them, and relabelings.
func PodFields() []string {
	fields := append([]string{relabelings}, children.AdditionFields()...)
	for _, f := range reflect.VisibleFields(reflect.TypeFor[corev1.EnvVarSource]()) {
		fields = append(fields, "env.valueFrom."+jsonName(f))
	}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[v1alpha1.PodSpec]()) {
		fields = append(fields, jsonName(f))
	}
	slices.Sort(fields)
	return fields
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// Refused lists what a spec asks for and may not have. A nil Limits allows everything.
func (l *Limits) Refused(spec *v1alpha1.PackRegistrySpec, defaultImage string) []string {
	if l == nil {
		return nil
	}
	var refused []string
	if why := l.refusedImage("spec.image", spec.Image, defaultImage); why != "" {
		refused = append(refused, why)
	}
	refused = append(refused, l.refusedPod(&spec.Pod)...)
	refused = append(refused, l.refusedAdditions(&spec.Pod, defaultImage)...)
	refused = append(refused, l.refusedRelabelings(spec)...)
	refused = append(refused, l.refusedMetadata(spec)...)
	return refused
}

func (l *Limits) refusedImage(path, image, defaultImage string) string {
	if image == "" || matches(l.Images, image) || slices.Contains(l.Images, repository(image)) || repository(image) == repository(defaultImage) {
		return ""
	}
	allowed := append([]string{repository(defaultImage)}, l.Images...)
	return fmt.Sprintf("%s is not allowed: there may be images of %s; who runs the operator can allow others (--allowed-images, in its chart limits.images)",
		path, strings.Join(slices.DeleteFunc(allowed, func(s string) bool { return s == "" }), ", "))
}

// repository is a reference without its tag and digest.
func repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		image = image[:i]
	}
	return image
}

func (l *Limits) refusedPod(pod *v1alpha1.PodSpec) []string {
	var refused []string
	need := func(field, path string) {
		if why := l.refusedField(field, path); why != "" {
			refused = append(refused, why)
		}
	}
	value := reflect.ValueOf(*pod)
	for _, f := range reflect.VisibleFields(value.Type()) {
		if !value.FieldByIndex(f.Index).IsZero() {
			need(jsonName(f), jsonName(f))
		}
	}
	for i, env := range pod.Env {
		if !matches(l.Env, env.Name) {
			refused = append(refused, fmt.Sprintf("spec.pod.env[%d]: the variable %s is not allowed: who runs the operator can allow it (--allowed-env, in its chart limits.env)", i, env.Name))
		}
		if env.ValueFrom == nil {
			continue
		}
		from := reflect.ValueOf(*env.ValueFrom)
		for _, f := range reflect.VisibleFields(from.Type()) {
			if !from.FieldByIndex(f.Index).IsZero() {
				need("env.valueFrom."+jsonName(f), fmt.Sprintf("env[%d].valueFrom.%s", i, jsonName(f)))
			}
		}
	}
	return refused
}

func (l *Limits) refusedField(field, path string) string {
	if matches(l.PodFields, field) {
		return ""
	}
	return fmt.Sprintf("spec.pod.%s is not allowed: who runs the operator can allow it (--allowed-pod-fields with %s, in its chart limits.podFields)", path, field)
}

// refusedAdditions looks into containers and volumes, where these are allowed: their images are images like the registry's, and
// what reaches the node, Secrets by variables, or an identity needs a permission of its own. What does not decode becomes no pod, and is reported where pods are made.
func (l *Limits) refusedAdditions(pod *v1alpha1.PodSpec, defaultImage string) []string {
	additions, err := children.Additions(*pod)
	if err != nil {
		return nil
	}
	var refused []string
	for _, a := range additions {
		why := ""
		if a.Image != "" {
			why = l.refusedImage("spec.pod."+a.Path, a.Image, defaultImage)
		} else {
			why = l.refusedField(a.Field, a.Path)
		}
		if why != "" {
			refused = append(refused, why)
		}
	}
	return refused
}

// RefusedHosts lists the hosts that a namespace's PackRegistries may not have, by the value of the namespace's annotation.
func (l *Limits) RefusedHosts(hosts []string, namespace, allowed string) []string {
	if l == nil || l.HostsAnnotation == "" {
		return nil
	}
	var refused []string
	for i, host := range hosts {
		if slices.ContainsFunc(list(allowed, nil), func(pattern string) bool { return hostMatches(pattern, host) }) {
			continue
		}
		may := "there may be " + allowed
		if allowed == "" {
			may = "there may be none"
		}
		refused = append(refused, fmt.Sprintf("spec.hosts[%d]: %s is not allowed in namespace %s: %s; who may edit the namespace can allow it (annotation %s)", i, host, namespace, may, l.HostsAnnotation))
	}
	return refused
}

// hostMatches: *.example.com are all names below example.com, and not itself; * is any host.
func hostMatches(pattern, host string) bool {
	if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
		return strings.HasSuffix(host, "."+suffix)
	}
	return pattern == "*" || pattern == host
}

// matches says whether a name is among patterns, of which those that end in '*' are beginnings.
func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if start, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(name, start)
		}
		return pattern == name
	})
}
