package children

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// This file finds what of the containers and volumes that spec.pod adds is more than the right to have containers and volumes: the
// schema of a PackRegistry does not look into them, and the API server admits from the operator what it would from an administrator.

// Addition is an image or a field that a spec adds to its pods, and that who runs the operator may not want to leave to everybody
// who may write PackRegistries.
type Addition struct {
	// Path of the field below spec.pod.
	Path string
	// Image that would run, or be mounted; or "".
	Image string
	// Field is the permission that it takes, such as volumes.hostPath; "" for images.
	Field string
}

// Prefixes of the permissions.
const (
	volumesPrefix         = "volumes."
	projectedPrefix       = "volumes.projected."
	securityContextPrefix = "containers.securityContext."
	hostPortPermission    = "containers.ports.hostPort"
	envPrefix             = "env.valueFrom."
)

// harmlessVolumes are the kinds of volumes that take no permission of their own: they hold what is the namespace's, or nothing. Images of
// volumes are images like others. Of projected ones the sources are looked at.
var harmlessVolumes = []string{"configMap", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"}

// harmlessSources are those of projected volumes: the others give an identity.
var harmlessSources = []string{"clusterTrustBundle", "configMap", "downwardAPI", "secret"}

// AdditionFields are the permissions that containers and volumes can take.
func AdditionFields() []string {
	fields := []string{hostPortPermission}
	for prefix, of := range map[string]reflect.Type{
		volumesPrefix: reflect.TypeFor[corev1.VolumeSource](), projectedPrefix: reflect.TypeFor[corev1.VolumeProjection](), securityContextPrefix: reflect.TypeFor[corev1.SecurityContext](),
	} {
		for _, f := range reflect.VisibleFields(of) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			harmless := prefix == volumesPrefix && slices.Contains(harmlessVolumes, name) || prefix == projectedPrefix && slices.Contains(harmlessSources, name) ||
				prefix == securityContextPrefix && name == "readOnlyRootFilesystem"
			if !harmless {
				fields = append(fields, prefix+name)
			}
		}
	}
	return fields
}

// Additions lists the images that a spec adds to its pods, and what takes a permission of its own. An error says what cannot be
// decoded, of which no pods are made.
func Additions(pod v1alpha1.PodSpec) ([]Addition, error) {
	decoded, err := decodeAdditions(pod)
	if err != nil {
		return nil, err
	}
	var list []Addition
	for i, c := range decoded.initContainers {
		list = append(list, ofContainer(fmt.Sprintf("initContainers[%d]", i), c)...)
	}
	for i, c := range decoded.containers {
		list = append(list, ofContainer(fmt.Sprintf("containers[%d]", i), c)...)
	}
	for i, v := range decoded.volumes {
		list = append(list, ofVolume(fmt.Sprintf("volumes[%d]", i), v, pod.Volumes[i])...)
	}
	return list, nil
}

func ofContainer(path string, c *corev1apply.ContainerApplyConfiguration) (list []Addition) {
	if c.Image != nil {
		list = append(list, Addition{Path: path + ".image", Image: *c.Image})
	}
	if c.SecurityContext != nil {
		for _, name := range givenFields(*c.SecurityContext) {
			if !harmlessSecurity(name, c.SecurityContext) {
				list = append(list, Addition{Path: path + ".securityContext." + name, Field: securityContextPrefix + name})
			}
		}
	}
	for i, port := range c.Ports {
		if port.HostPort != nil && *port.HostPort != 0 {
			list = append(list, Addition{Path: fmt.Sprintf("%s.ports[%d].hostPort", path, i), Field: hostPortPermission})
		}
	}
	for i, env := range c.Env {
		if env.ValueFrom == nil {
			continue
		}
		for _, name := range givenFields(*env.ValueFrom) {
			list = append(list, Addition{Path: fmt.Sprintf("%s.env[%d].valueFrom.%s", path, i, name), Field: envPrefix + name})
		}
	}
	for i, from := range c.EnvFrom {
		if from.SecretRef != nil {
			list = append(list, Addition{Path: fmt.Sprintf("%s.envFrom[%d].secretRef", path, i), Field: envPrefix + "secretKeyRef"})
		}
		if from.ConfigMapRef != nil {
			list = append(list, Addition{Path: fmt.Sprintf("%s.envFrom[%d].configMapRef", path, i), Field: envPrefix + "configMapKeyRef"})
		}
	}
	return list
}

// harmlessSecurity says whether a field of a container's securityContext, which is given, takes nothing from what pods are held to. One
// that this function does not know does.
func harmlessSecurity(name string, s *corev1apply.SecurityContextApplyConfiguration) bool {
	switch name {
	case "readOnlyRootFilesystem":
		return true
	case "privileged":
		return !*s.Privileged
	case "allowPrivilegeEscalation":
		return !*s.AllowPrivilegeEscalation
	case "runAsNonRoot":
		return *s.RunAsNonRoot
	case "runAsUser":
		return *s.RunAsUser != 0
	case "runAsGroup":
		return *s.RunAsGroup != 0
	case "capabilities":
		return len(s.Capabilities.Add) == 0
	case "procMount":
		return *s.ProcMount == corev1.DefaultProcMount
	case "seccompProfile":
		return s.SeccompProfile.Type != nil && *s.SeccompProfile.Type == corev1.SeccompProfileTypeRuntimeDefault
	case "appArmorProfile":
		return s.AppArmorProfile.Type != nil && *s.AppArmorProfile.Type == corev1.AppArmorProfileTypeRuntimeDefault
	}
	return false
}

func ofVolume(path string, v *corev1apply.VolumeApplyConfiguration, raw v1alpha1.Object) (list []Addition) {
	for _, kind := range volumeKinds(raw) {
		if !slices.Contains(harmlessVolumes, kind) {
			list = append(list, Addition{Path: path + "." + kind, Field: volumesPrefix + kind})
		}
	}
	if v.Image != nil && v.Image.Reference != nil {
		list = append(list, Addition{Path: path + ".image.reference", Image: *v.Image.Reference})
	}
	if v.Projected == nil {
		return list
	}
	for i, source := range v.Projected.Sources {
		for _, name := range givenFields(source) {
			if !slices.Contains(harmlessSources, name) {
				list = append(list, Addition{Path: fmt.Sprintf("%s.projected.sources[%d].%s", path, i, name), Field: projectedPrefix + name})
			}
		}
	}
	return list
}

// volumeKinds are the kinds of a volume: the field beside its name.
func volumeKinds(volume v1alpha1.Object) []string {
	var fields map[string]any
	if err := utiljson.Unmarshal(volume.Raw, &fields); err != nil {
		return nil // decoded before
	}
	delete(fields, "name")
	return slices.Sorted(maps.Keys(fields)) // without any it is an emptyDir
}

// givenFields are the names of the fields of an apply configuration that are given.
func givenFields(configuration any) []string {
	var names []string
	value := reflect.ValueOf(configuration)
	for _, f := range reflect.VisibleFields(value.Type()) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && !value.FieldByIndex(f.Index).IsZero() {
			names = append(names, name)
		}
	}
	return names
}
