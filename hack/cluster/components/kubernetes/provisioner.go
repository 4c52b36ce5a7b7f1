package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// provisionerName is what the StorageClass names as its provisioner.
const provisionerName = "packregistry.dev/local"

// provisioner makes one directory per claim under root and hands it out as a local volume bound to the node.
type provisioner struct {
	root string
	node string
}

var _ controller.Provisioner = provisioner{}

func newProvisionerCommand() *cobra.Command {
	var kubeconfig string
	var p provisioner
	cmd := &cobra.Command{
		Use:   "local-provisioner",
		Short: "Make directories on this node for claims of the default StorageClass",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			ctx := klog.NewContext(cmd.Context(), klog.Background())
			controller.NewProvisionController(ctx, client, provisionerName, p,
				controller.LeaderElection(false)).Run(ctx)
			return nil
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	cmd.Flags().StringVar(&p.root, "root", "", "the folder that volumes are made in")
	cmd.Flags().StringVar(&p.node, "node", "", "the node's name, which volumes are bound to")
	return cmd
}

// Provision makes the directory. 0777 because the pod's user is not known here and local volumes on a plain file
// system are chowned only where the pod asks for an fsGroup.
func (p provisioner) Provision(_ context.Context, o controller.ProvisionOptions) (*corev1.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName != "" && o.SelectedNodeName != p.node {
		return nil, controller.ProvisioningFinished, fmt.Errorf("node %s is not this one (%s)", o.SelectedNodeName, p.node)
	}
	dir := filepath.Join(p.root, o.PVName)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // MkdirAll obeys the umask
		return nil, controller.ProvisioningFinished, err
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: o.PVName},
		Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    o.PVC.Spec.VolumeMode,
			Capacity: corev1.ResourceList{
				corev1.ResourceStorage: o.PVC.Spec.Resources.Requests[corev1.ResourceStorage],
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: dir}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{p.node},
				}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

// Delete removes the directory of a released volume, and nothing that is not directly under root.
func (p provisioner) Delete(_ context.Context, v *corev1.PersistentVolume) error {
	if v.Spec.Local == nil || filepath.Dir(v.Spec.Local.Path) != filepath.Clean(p.root) {
		return errors.New("not a volume of this provisioner")
	}
	return os.RemoveAll(v.Spec.Local.Path)
}
