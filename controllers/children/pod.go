package children

import (
	"errors"
	"fmt"
	"path"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"

	"packregistry.dev/api/v1alpha1"
)

// This file is about what spec.pod adds to the pods: containers, volumes, and how they find names.

// podAdditions is what spec.pod adds, decoded.
type podAdditions struct {
	volumes        []*corev1apply.VolumeApplyConfiguration
	mounts         []*corev1apply.VolumeMountApplyConfiguration
	initContainers []*corev1apply.ContainerApplyConfiguration
	containers     []*corev1apply.ContainerApplyConfiguration
}

// volumeNames are the names of the volumes that pods may have of the operator's.
var volumeNames = []string{configVolume, tmpVolume, usersVolume, certificateVolume, clientCAVolume, dataVolume}

// mountPaths are where pods may have them.
var mountPaths = []string{configDir, tmpDir, usersDir, certificateDir, clientCADir, dataDir}

// decodeAdditions decodes what spec.pod adds. What does not decode, has no name, or has the name or place of what is the operator's, is
// said with its path, all of it at once.
func decodeAdditions(pod v1alpha1.PodSpec) (podAdditions, error) {
	var a podAdditions
	var failed [7]error
	a.volumes, failed[0] = decodeObjects[corev1apply.VolumeApplyConfiguration, corev1.Volume]("spec.pod.volumes", pod.Volumes)
	a.mounts, failed[1] = decodeObjects[corev1apply.VolumeMountApplyConfiguration, corev1.VolumeMount]("spec.pod.volumeMounts", pod.VolumeMounts)
	a.initContainers, failed[2] = decodeObjects[corev1apply.ContainerApplyConfiguration, corev1.Container]("spec.pod.initContainers", pod.InitContainers)
	a.containers, failed[3] = decodeObjects[corev1apply.ContainerApplyConfiguration, corev1.Container]("spec.pod.containers", pod.Containers)
	if err := errors.Join(failed[:]...); err != nil {
		return a, err
	}
	names := map[string][]*string{}
	for _, v := range a.volumes {
		names["volumes"] = append(names["volumes"], v.Name)
	}
	for _, c := range a.initContainers {
		names["initContainers"] = append(names["initContainers"], c.Name)
	}
	for _, c := range a.containers {
		names["containers"] = append(names["containers"], c.Name)
	}
	failed[4] = checkNames("spec.pod.volumes", names["volumes"], volumeNames)
	// All containers of a pod have names of their own.
	failed[5] = errors.Join(checkNames("spec.pod.initContainers", names["initContainers"], []string{containerName}),
		checkNames("spec.pod.containers", names["containers"], append(namesOf(names["initContainers"]), containerName)))
	failed[6] = checkMounts("spec.pod.volumeMounts", a.mounts)
	return a, errors.Join(failed[:]...)
}

func namesOf(list []*string) []string {
	var names []string
	for _, name := range list {
		if name != nil {
			names = append(names, *name)
		}
	}
	return names
}

// checkNames says which elements of a list have no name, or one that is taken.
func checkNames(path string, names []*string, taken []string) error {
	var failed []error
	taken = slices.Clone(taken)
	for i, name := range names {
		switch {
		case name == nil || *name == "":
			failed = append(failed, fmt.Errorf("%s[%d].name: give it a name", path, i))
		case slices.Contains(taken, *name):
			failed = append(failed, fmt.Errorf("%s[%d].name: %s is the operator's, or there twice; use another name", path, i, *name))
		default:
			taken = append(taken, *name)
		}
	}
	return errors.Join(failed...)
}

// checkMounts says which mounts are where another is: the kubelet would show the files of one of them.
func checkMounts(list string, mounts []*corev1apply.VolumeMountApplyConfiguration) error {
	var failed []error
	var taken []string
	for i, mount := range mounts {
		if mount.MountPath == nil || *mount.MountPath == "" {
			failed = append(failed, fmt.Errorf("%s[%d].mountPath: say where to mount it", list, i))
			continue
		}
		switch at := path.Clean(*mount.MountPath); {
		case slices.Contains(mountPaths, at):
			failed = append(failed, fmt.Errorf("%s[%d].mountPath: %s is the operator's; mount it elsewhere", list, i, at))
		case slices.Contains(taken, at):
			failed = append(failed, fmt.Errorf("%s[%d].mountPath: %s is there twice; mount one of them elsewhere", list, i, at))
		default:
			taken = append(taken, at)
		}
	}
	return errors.Join(failed...)
}

// resolve says how the pods find names.
func resolve(spec *corev1apply.PodSpecApplyConfiguration, pod v1alpha1.PodSpec) error {
	for _, alias := range pod.HostAliases {
		spec.WithHostAliases(corev1apply.HostAlias().WithIP(alias.IP).WithHostnames(alias.Hostnames...))
	}
	if pod.DNSPolicy != "" {
		spec.WithDNSPolicy(pod.DNSPolicy)
	}
	if pod.DNSConfig == nil {
		return nil
	}
	converted, err := convert[corev1apply.PodDNSConfigApplyConfiguration](pod.DNSConfig)
	if err != nil {
		return err
	}
	spec.WithDNSConfig(converted)
	return nil
}

// probe asks the debug port, by timings of the spec where it has them.
func probe(path string, period, failures int32, timing v1alpha1.ProbeTiming) *corev1apply.ProbeApplyConfiguration {
	p := corev1apply.Probe().WithHTTPGet(corev1apply.HTTPGetAction().WithPath(path).WithPort(intstr.FromString(debugPortName))).
		WithPeriodSeconds(period).WithFailureThreshold(failures)
	if timing.PeriodSeconds != nil {
		p.WithPeriodSeconds(*timing.PeriodSeconds)
	}
	if timing.FailureThreshold != nil {
		p.WithFailureThreshold(*timing.FailureThreshold)
	}
	p.InitialDelaySeconds, p.TimeoutSeconds = timing.InitialDelaySeconds, timing.TimeoutSeconds
	return p
}

// NamedByPods are the Secrets and ConfigMaps that volumes and variables of spec.pod name, as kind/name. What cannot be decoded names none.
func NamedByPods(pod v1alpha1.PodSpec) []string {
	additions, err := decodeAdditions(pod)
	if err != nil {
		return nil
	}
	var ids references
	for _, v := range additions.volumes {
		ids.addVolume(v)
	}
	for _, c := range slices.Concat(additions.initContainers, additions.containers) {
		ids.addContainer(c)
	}
	return ids
}

// references are Secrets and ConfigMaps, as kind/name.
type references []string

func (r *references) add(kind string, name *string) {
	if name != nil {
		*r = append(*r, kind+"/"+*name)
	}
}

func (r *references) addVolume(v *corev1apply.VolumeApplyConfiguration) {
	if v.Secret != nil {
		r.add("Secret", v.Secret.SecretName)
	}
	if v.ConfigMap != nil {
		r.add("ConfigMap", v.ConfigMap.Name)
	}
	if v.Projected == nil {
		return
	}
	for _, source := range v.Projected.Sources {
		if source.Secret != nil {
			r.add("Secret", source.Secret.Name)
		}
		if source.ConfigMap != nil {
			r.add("ConfigMap", source.ConfigMap.Name)
		}
	}
}

func (r *references) addContainer(c *corev1apply.ContainerApplyConfiguration) {
	for _, from := range c.EnvFrom {
		if from.SecretRef != nil {
			r.add("Secret", from.SecretRef.Name)
		}
		if from.ConfigMapRef != nil {
			r.add("ConfigMap", from.ConfigMapRef.Name)
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if e.ValueFrom.SecretKeyRef != nil {
			r.add("Secret", e.ValueFrom.SecretKeyRef.Name)
		}
		if e.ValueFrom.ConfigMapKeyRef != nil {
			r.add("ConfigMap", e.ValueFrom.ConfigMapKeyRef.Name)
		}
	}
}
