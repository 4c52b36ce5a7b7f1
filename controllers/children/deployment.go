package children

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1apply "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	metav1apply "k8s.io/client-go/applyconfigurations/meta/v1"

	"packregistry.dev/api/v1alpha1"
)

// DeploymentInput is what the Deployment depends on besides the spec.
type DeploymentInput struct {
	// Image of the registry where the spec names none.
	Image string
	// Defaults of the pods where the spec is silent.
	Defaults PodDefaults
	// Config that the pods run with.
	Config RenderedConfig
	// Shared says whether several pods can mount the claim at once.
	Shared bool
	// Version is that of the operator that renders it. It is no part of the pods' template: another version is no reason to
	// restart them.
	Version string
	// UpgradedFrom is the version before, where pods were rolled because of this one.
	UpgradedFrom string
	// LeaveReplicas leaves the number of replicas to somebody else, who has set it.
	LeaveReplicas bool
	// NotedReplicas is the spec.replicas that was in effect last.
	NotedReplicas string
}

// Defaults of a pod.
const (
	nonRoot           = 65532
	preStopSeconds    = 5
	revisionsKept     = 3
	progressDeadline  = 300
	graceAfterDrain   = 15 * time.Second
	containerName     = "registry"
	registryProgram   = "serve"
	servePortName     = "serve"
	debugPortName     = "debug"
	acmePortName      = "acme"
	probeSeconds      = 5
	startupTryouts    = 120
	livenessFailures  = 6
	readinessFailures = 2
)

// Volumes of the pods.
const (
	configVolume      = "config"
	tmpVolume         = "tmp"
	usersVolume       = "users"
	certificateVolume = "certificate"
	clientCAVolume    = "client-ca"
	dataVolume        = "data"
)

// Deployment runs the registry.
func Deployment(r *v1alpha1.PackRegistry, in DeploymentInput) (*appsv1apply.DeploymentApplyConfiguration, error) {
	template, err := podTemplate(r, in)
	if err != nil {
		return nil, err
	}
	spec := appsv1apply.DeploymentSpec().
		WithSelector(metav1apply.LabelSelector().WithMatchLabels(Selector(r))).
		WithRevisionHistoryLimit(revisionsKept).
		WithProgressDeadlineSeconds(progressDeadline).
		WithStrategy(strategy(r, in)).
		WithTemplate(template)
	if !in.LeaveReplicas {
		spec.WithReplicas(Replicas(r))
	}
	deployment := appsv1apply.Deployment(DeploymentName(r), r.Namespace).
		WithLabels(objectLabels(r, Labels(r))).WithAnnotations(objectAnnotations(r)).WithOwnerReferences(owner(r)).WithSpec(spec)
	for key, value := range map[string]string{AnnotationVersion: in.Version, AnnotationUpgradedFrom: in.UpgradedFrom, AnnotationReplicas: in.NotedReplicas} {
		if value != "" {
			deployment.WithAnnotations(map[string]string{key: value})
		}
	}
	return deployment, nil
}

// Replicas is how many pods the spec asks for.
func Replicas(r *v1alpha1.PackRegistry) int32 {
	if r.Spec.Replicas == nil {
		return 1
	}
	return *r.Spec.Replicas
}

// strategy: a volume that only one node can mount must be let go of before the next pod can have it.
func strategy(r *v1alpha1.PackRegistry, in DeploymentInput) *appsv1apply.DeploymentStrategyApplyConfiguration {
	if r.Spec.Storage.PersistentVolumeClaim != nil && !in.Shared {
		return appsv1apply.DeploymentStrategy().WithType(appsv1.RecreateDeploymentStrategyType)
	}
	return appsv1apply.DeploymentStrategy().WithType(appsv1.RollingUpdateDeploymentStrategyType).
		WithRollingUpdate(appsv1apply.RollingUpdateDeployment().
			WithMaxUnavailable(intstr.FromInt32(0)).WithMaxSurge(intstr.FromInt32(1)))
}

// Image is the image that the pods run.
func Image(r *v1alpha1.PackRegistry, fallback string) string {
	if r.Spec.Image != "" {
		return r.Spec.Image
	}
	return fallback
}

func podTemplate(r *v1alpha1.PackRegistry, in DeploymentInput) (*corev1apply.PodTemplateSpecApplyConfiguration, error) {
	labels := r.Spec.Pod.Labels.Strings()
	maps.Copy(labels, Labels(r))
	labels[LabelConfig] = in.Config.Hash
	grace := int64((drainTimeout + graceAfterDrain).Seconds())
	if g := r.Spec.Pod.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	additions, err := decodeAdditions(r.Spec.Pod)
	if err != nil {
		return nil, err
	}
	c, err := container(r, in)
	if err != nil {
		return nil, err
	}
	c.WithVolumeMounts(additions.mounts...)
	spec := corev1apply.PodSpec().
		WithAutomountServiceAccountToken(false).
		WithEnableServiceLinks(false).
		WithTerminationGracePeriodSeconds(grace).
		WithSecurityContext(securityContext(r, in.Defaults)).
		WithContainers(c).WithContainers(additions.containers...).WithInitContainers(additions.initContainers...).
		WithVolumes(volumes(r, in)...).WithVolumes(additions.volumes...)
	if err := schedule(spec, r); err != nil {
		return nil, err
	}
	if err := resolve(spec, r.Spec.Pod); err != nil {
		return nil, err
	}
	template := corev1apply.PodTemplateSpec().WithLabels(labels).WithSpec(spec)
	if len(r.Spec.Pod.Annotations) > 0 {
		template.WithAnnotations(r.Spec.Pod.Annotations)
	}
	return template, nil
}

func container(r *v1alpha1.PackRegistry, in DeploymentInput) (*corev1apply.ContainerApplyConfiguration, error) {
	pull := r.Spec.Pod.ImagePullPolicy
	if pull == "" {
		pull = corev1.PullIfNotPresent
	}
	probes := r.Spec.Pod.Probes
	c := corev1apply.Container().
		WithName(containerName).WithImage(Image(r, in.Image)).WithImagePullPolicy(pull).
		WithArgs(registryProgram, configDir+"/"+configKey).
		WithPorts(
			corev1apply.ContainerPort().WithName(servePortName).WithContainerPort(PortServe).WithProtocol(corev1.ProtocolTCP),
			corev1apply.ContainerPort().WithName(debugPortName).WithContainerPort(PortDebug).WithProtocol(corev1.ProtocolTCP)).
		WithStartupProbe(probe("/readyz", 1, startupTryouts, probes.Startup)).
		WithReadinessProbe(probe("/readyz", probeSeconds, readinessFailures, probes.Readiness)).
		WithLivenessProbe(probe("/livez", probeSeconds, livenessFailures, probes.Liveness)).
		// The endpoint is taken out of load balancers while the server still accepts.
		WithLifecycle(corev1apply.Lifecycle().WithPreStop(corev1apply.LifecycleHandler().
			WithSleep(corev1apply.SleepAction().WithSeconds(preStopSeconds)))).
		WithTerminationMessagePolicy(corev1.TerminationMessageFallbackToLogsOnError).
		WithSecurityContext(corev1apply.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).WithRunAsNonRoot(true).
			WithCapabilities(corev1apply.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(mounts(r)...)
	if answersHTTP01(r) {
		c.WithPorts(corev1apply.ContainerPort().WithName(acmePortName).WithContainerPort(PortACME).WithProtocol(corev1.ProtocolTCP))
	}
	if _, ok := in.Config.Files[credentialsKey]; ok {
		c.WithEnv(corev1apply.EnvVar().WithName("AWS_SHARED_CREDENTIALS_FILE").WithValue(configDir + "/" + credentialsKey))
	}
	for i := range r.Spec.Pod.Env {
		env, err := convert[corev1apply.EnvVarApplyConfiguration](r.Spec.Pod.Env[i])
		if err != nil {
			return nil, err
		}
		if env.ValueFrom != nil && env.ValueFrom.FieldRef != nil && env.ValueFrom.FieldRef.APIVersion == nil {
			env.ValueFrom.FieldRef.WithAPIVersion("v1") // the API server's default, within an object that has one owner
		}
		c.WithEnv(env)
	}
	resources := r.Spec.Pod.Resources
	if len(resources.Limits)+len(resources.Requests) == 0 {
		resources = in.Defaults.Resources
	}
	if len(resources.Limits)+len(resources.Requests) > 0 {
		converted, err := convert[corev1apply.ResourceRequirementsApplyConfiguration](resources)
		if err != nil {
			return nil, err
		}
		c.WithResources(converted)
	}
	return c, nil
}

func securityContext(r *v1alpha1.PackRegistry, defaults PodDefaults) *corev1apply.PodSecurityContextApplyConfiguration {
	s := corev1apply.PodSecurityContext().WithRunAsNonRoot(true).
		WithSeccompProfile(corev1apply.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault)).
		WithFSGroupChangePolicy(corev1.FSGroupChangeOnRootMismatch)
	fallback := defaults.SecurityContext
	if fallback == nil {
		fallback = builtinSecurityContext()
	}
	own := r.Spec.Pod.SecurityContext
	if own == nil {
		own = &v1alpha1.PodSecurityContext{}
	} else if own.IsEmpty() {
		return s // the platform's to choose
	}
	// What is given does not take the defaults of the others away; null does.
	id := func(name string, given, byDefault *int64) *int64 {
		if given == nil && !slices.Contains(own.Nulls, name) {
			return byDefault
		}
		return given
	}
	s.RunAsUser = id("runAsUser", own.RunAsUser, fallback.RunAsUser)
	s.RunAsGroup = id("runAsGroup", own.RunAsGroup, fallback.RunAsGroup)
	s.FSGroup = id("fsGroup", own.FSGroup, fallback.FSGroup)
	if own.SupplementalGroups == nil {
		return s.WithSupplementalGroups(fallback.SupplementalGroups...)
	}
	return s.WithSupplementalGroups(own.SupplementalGroups...)
}

// schedule says where pods may run.
func schedule(spec *corev1apply.PodSpecApplyConfiguration, r *v1alpha1.PackRegistry) error {
	pod := r.Spec.Pod
	if len(pod.NodeSelector) > 0 {
		spec.WithNodeSelector(v1alpha1.Labels(pod.NodeSelector).Strings())
	}
	for _, t := range pod.Tolerations {
		toleration, err := convert[corev1apply.TolerationApplyConfiguration](t)
		if err != nil {
			return err
		}
		spec.WithTolerations(toleration)
	}
	affinity, err := podAffinity(r)
	if err != nil {
		return err
	}
	if affinity != nil {
		spec.WithAffinity(affinity)
	}
	constraints, err := spread(r)
	if err != nil {
		return err
	}
	spec.WithTopologySpreadConstraints(constraints...)
	if pod.PriorityClassName != "" {
		spec.WithPriorityClassName(pod.PriorityClassName)
	}
	if pod.RuntimeClassName != "" {
		spec.WithRuntimeClassName(pod.RuntimeClassName)
	}
	if pod.SchedulerName != "" {
		spec.WithSchedulerName(pod.SchedulerName)
	}
	if pod.ServiceAccountName != "" {
		spec.WithServiceAccountName(pod.ServiceAccountName)
	}
	for _, s := range pod.ImagePullSecrets {
		spec.WithImagePullSecrets(corev1apply.LocalObjectReference().WithName(s.Name))
	}
	return nil
}

// podAffinity is that of the spec, which replicas prefer other zones by default beside, or nil. An empty one drops the default.
func podAffinity(r *v1alpha1.PackRegistry) (*corev1apply.AffinityApplyConfiguration, error) {
	given := r.Spec.Pod.Affinity
	if given == nil {
		given = &corev1.Affinity{}
	} else if *given == (corev1.Affinity{}) {
		return nil, nil
	}
	affinity, err := convert[corev1apply.AffinityApplyConfiguration](given)
	if err != nil {
		return nil, err
	}
	if affinity.PodAntiAffinity == nil && Replicas(r) > 1 {
		affinity.PodAntiAffinity = otherZones(r).PodAntiAffinity
	}
	if *affinity == (corev1apply.AffinityApplyConfiguration{}) {
		return nil, nil
	}
	return affinity, nil
}

// otherZones prefers zones without a replica. It is no spread constraint: where nodes have no zones, the scheduler would
// leave all of them out of its reckoning, and the constraint on nodes with it.
func otherZones(r *v1alpha1.PackRegistry) *corev1apply.AffinityApplyConfiguration {
	return corev1apply.Affinity().WithPodAntiAffinity(corev1apply.PodAntiAffinity().
		WithPreferredDuringSchedulingIgnoredDuringExecution(corev1apply.WeightedPodAffinityTerm().WithWeight(100).
			WithPodAffinityTerm(corev1apply.PodAffinityTerm().WithTopologyKey(corev1.LabelTopologyZone).
				WithLabelSelector(metav1apply.LabelSelector().WithMatchLabels(Selector(r))))))
}

// spread keeps replicas on different nodes where that can be had.
func spread(r *v1alpha1.PackRegistry) ([]*corev1apply.TopologySpreadConstraintApplyConfiguration, error) {
	selector := metav1apply.LabelSelector().WithMatchLabels(Selector(r))
	var list []*corev1apply.TopologySpreadConstraintApplyConfiguration
	for i := range r.Spec.Pod.TopologySpreadConstraints {
		c, err := convert[corev1apply.TopologySpreadConstraintApplyConfiguration](r.Spec.Pod.TopologySpreadConstraints[i])
		if err != nil {
			return nil, err
		}
		if c.LabelSelector == nil {
			c.LabelSelector = selector
		}
		list = append(list, c)
	}
	if r.Spec.Pod.TopologySpreadConstraints != nil || Replicas(r) < 2 {
		return list, nil
	}
	return append(list, corev1apply.TopologySpreadConstraint().
		WithMaxSkew(1).WithTopologyKey(corev1.LabelHostname).WithWhenUnsatisfiable(corev1.ScheduleAnyway).WithLabelSelector(selector)), nil
}

// convert turns a value of the API into the apply configuration of the same JSON. What the user left out stays out.
func convert[To, From any](from From) (*To, error) {
	data, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	to := new(To)
	if err := json.Unmarshal(data, to); err != nil {
		return nil, fmt.Errorf("convert %T: %w", from, err)
	}
	return to, nil
}
