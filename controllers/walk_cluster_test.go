package controllers

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"packregistry.dev/internal/testserver"
)

// walkCluster is an API server of the walks' own, with the real kube-controller-manager: Deployments roll, what has lost
// its owner is collected, quotas are counted. Nodes, volumes and load balancers are played by play.
type walkCluster struct {
	admin *rest.Config
	// operator acts with the role that the operator is installed with.
	operator *rest.Config
	api      client.Client
	// asOperator writes as the operator does, to try whether it may.
	asOperator client.Client
	// loaded is what the processes of a walk's pods have read of their Secrets, by pod and name of the Secret.
	loaded map[types.UID]loadedSecrets
}

// loadedSecrets is what a pod's volumes hold. The kubelet looks at the Secrets again when the pod is changed.
type loadedSecrets struct {
	// of is the state of the pod that the volumes were filled for.
	of string
	// tries says that something was missing, so that the kubelet tries again.
	tries bool
	// contents are what was read, by the name of the Secret.
	contents map[string]map[string][]byte
}

const (
	walkOperatorNamespace = "packregistry-system"
	walkOperatorUser      = "system:serviceaccount:" + walkOperatorNamespace + ":packregistry-operator"
)

// controllersOfWalk are those of kube-controller-manager that the operator's objects need.
const controllersOfWalk = "deployment-controller,replicaset-controller,garbage-collector-controller,resourcequota-controller," +
	"disruption-controller,persistentvolumeclaim-protection-controller"

func startWalkCluster(t *testing.T) *walkCluster {
	t.Helper()
	program := filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubernetes")
	if _, err := os.Stat(program); err != nil {
		testserver.Missing(t, "needs kube-controller-manager, which `hack/tool.sh cluster` builds: %v", err)
	}
	env := &envtest.Environment{CRDDirectoryPaths: []string{filepath.Join("..", "config", "crd")}, ErrorIfCRDPathMissing: true}
	admin, err := env.Start()
	must(t, err)
	t.Cleanup(func() {
		if err := env.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	admin.QPS = -1
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, env.KubeConfig, 0o600))
	manager := testserver.Exec(t, nil, program, "kube-controller-manager", "--kubeconfig="+kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--controllers="+controllersOfWalk, "--kube-api-qps=1000", "--kube-api-burst=2000", "--concurrent-gc-syncs=4")
	t.Cleanup(func() {
		if t.Failed() && testing.Verbose() {
			t.Logf("kube-controller-manager:\n%s", tail(manager.Output.String(), 4000))
		}
	})
	c := &walkCluster{admin: admin, operator: rest.CopyConfig(admin)}
	c.operator.Impersonate = rest.ImpersonationConfig{UserName: walkOperatorUser}
	c.api, err = client.New(admin, client.Options{Scheme: scheme})
	must(t, err)
	c.asOperator, err = client.New(c.operator, client.Options{Scheme: scheme})
	must(t, err)
	c.prepare(t)
	return c
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// prepare makes what a cluster has before the first PackRegistry: the operator's role, storage classes.
func (c *walkCluster) prepare(t *testing.T) {
	t.Helper()
	role := &rbacv1.ClusterRole{}
	text, err := os.ReadFile(filepath.Join("..", "config", "rbac", "role.yaml"))
	must(t, err)
	must(t, yaml.Unmarshal(text, role))
	must(t, c.api.Create(t.Context(), role))
	// Who installs it gives it rights to Leases where it needs them.
	leases := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "leases"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"},
		Resources: []string{"leases"}, Verbs: []string{"get", "create", "update", "patch"}}}}
	must(t, c.api.Create(t.Context(), leases))
	must(t, c.api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: walkOperatorNamespace}}))
	for _, role := range []string{role.Name, leases.Name} {
		must(t, c.api.Create(t.Context(), &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: role},
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: walkOperatorUser}}}))
	}
	for name, annotations := range map[string]map[string]string{"standard": {"storageclass.kubernetes.io/is-default-class": "true"}, "fast": nil} {
		must(t, c.api.Create(t.Context(), &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
			Provisioner: "example.com/none", AllowVolumeExpansion: ptr.To(true)}))
	}
}

// play does once what nodes, a provisioner of volumes, a load balancer and an Ingress controller would do now. It returns
// what it did, or "".
func (c *walkCluster) play(ctx context.Context, w *world) (did string, err error) {
	for _, claim := range all[*corev1.PersistentVolumeClaim](w) {
		if what, err := c.playVolumes(ctx, claim); what != "" || err != nil {
			did = what
			if err = ignoreRaces(err); err != nil {
				return did, err
			}
		}
	}
	for _, pod := range all[*corev1.Pod](w) {
		if what, err := c.playNode(ctx, w, pod); what != "" || err != nil {
			did = what
			if err = ignoreRaces(err); err != nil {
				return did, err
			}
		}
	}
	address := []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	for _, service := range all[*corev1.Service](w) {
		if service.Spec.Type == corev1.ServiceTypeLoadBalancer && len(service.Status.LoadBalancer.Ingress) == 0 {
			did, service.Status.LoadBalancer.Ingress = "address of Service "+service.Name, address
			if err := ignoreRaces(c.api.Status().Update(ctx, service)); err != nil {
				return did, err
			}
		}
	}
	for _, ingress := range all[*networkingv1.Ingress](w) {
		if len(ingress.Status.LoadBalancer.Ingress) == 0 {
			did, ingress.Status.LoadBalancer.Ingress = "address of Ingress "+ingress.Name, []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
			if err := ignoreRaces(c.api.Status().Update(ctx, ingress)); err != nil {
				return did, err
			}
		}
	}
	return did, nil
}

// ignoreRaces drops errors of objects that others change or delete at the same time: the next look will show.
func ignoreRaces(err error) error {
	if isConflict(err) {
		return nil
	}
	return client.IgnoreNotFound(err)
}

func (c *walkCluster) playVolumes(ctx context.Context, claim *corev1.PersistentVolumeClaim) (string, error) {
	wanted := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	has := claim.Status.Capacity[corev1.ResourceStorage]
	if claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimBound && has.Cmp(wanted) >= 0 || ptr.Deref(claim.Spec.StorageClassName, "") == "" {
		return "", nil
	}
	claim.Status.Phase, claim.Status.AccessModes = corev1.ClaimBound, claim.Spec.AccessModes
	claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: wanted}
	return "bound claim " + claim.Name, c.api.Status().Update(ctx, claim)
}

// playNode plays scheduler and kubelet for one pod.
func (c *walkCluster) playNode(ctx context.Context, w *world, pod *corev1.Pod) (string, error) {
	switch {
	case pod.DeletionTimestamp != nil:
		delete(c.loaded, pod.UID)
		return "stopped pod " + pod.Name, c.api.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	case pod.Spec.NodeName == "":
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node-1"}}
		return "scheduled pod " + pod.Name, c.api.SubResource("binding").Create(ctx, pod, binding)
	}
	state := fmt.Sprint(pod.Labels, pod.Annotations)
	loaded, running := c.loaded[pod.UID]
	contents, missing := volumesOf(w, pod)
	switch {
	case running && loaded.of == state && (!loaded.tries || missing != ""):
		return "", nil
	case missing != "" && !running:
		return "", nil // it waits, as the kubelet does
	case missing != "": // what was there stays, until it can be read again
		c.loaded[pod.UID] = loadedSecrets{state, true, loaded.contents}
		return "kept volumes of pod " + pod.Name, nil
	}
	c.loaded[pod.UID] = loadedSecrets{state, false, contents}
	if pod.Status.Phase == corev1.PodRunning {
		return "filled volumes of pod " + pod.Name, nil
	}
	now := metav1.Now()
	pod.Status.Phase, pod.Status.PodIP, pod.Status.StartTime = corev1.PodRunning, "192.0.2.2", &now
	pod.Status.PodIPs = []corev1.PodIP{{IP: pod.Status.PodIP}}
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.ContainersReady, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now})
	}
	for _, container := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{Name: container.Name, Image: container.Image, Ready: true,
			Started: ptr.To(true), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}}})
	}
	return "started pod " + pod.Name, c.api.Status().Update(ctx, pod)
}

// volumesOf is what the Secrets of a pod's volumes hold, or what of them is missing.
func volumesOf(w *world, pod *corev1.Pod) (contents map[string]map[string][]byte, missing string) {
	contents = map[string]map[string][]byte{}
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.Secret != nil:
			secret := find[*corev1.Secret](w, pod.Namespace, v.Secret.SecretName)
			if secret == nil {
				return nil, "Secret " + v.Secret.SecretName
			}
			contents[secret.Name] = maps.Clone(secret.Data)
		case v.PersistentVolumeClaim != nil:
			claim := find[*corev1.PersistentVolumeClaim](w, pod.Namespace, v.PersistentVolumeClaim.ClaimName)
			if claim == nil || claim.Status.Phase != corev1.ClaimBound {
				return nil, "claim " + v.PersistentVolumeClaim.ClaimName
			}
		}
	}
	return contents, ""
}

// waitUntil polls until a check returns no error.
func waitUntil(ctx context.Context, limit time.Duration, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s: %s: %w", limit, what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
