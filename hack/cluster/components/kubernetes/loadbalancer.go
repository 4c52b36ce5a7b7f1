package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1apply "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// newLoadBalancerCommand gives every Service of type LoadBalancer the node's address, as long as no two want the same
// port: what a one-node cluster can offer in place of a cloud's load balancer. kube-proxy does the rest. MetalLB and kube-vip announce
// addresses to a network, which the cluster's namespace does not have; K3s' servicelb needs K3s.
func newLoadBalancerCommand() *cobra.Command {
	var kubeconfig, address string
	cmd := &cobra.Command{
		Use:   "local-loadbalancer",
		Short: "Give Services of type LoadBalancer this node's address",
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
			return balanceLoads(cmd.Context(), client, address)
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "how to reach the API server")
	cmd.Flags().StringVar(&address, "address", "", "the address to give out")
	return cmd
}

func balanceLoads(ctx context.Context, client kubernetes.Interface, address string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	services := factory.Core().V1().Services()
	changed := make(chan struct{}, 1)
	notify := func(any) {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	if _, err := services.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: notify, UpdateFunc: func(_, o any) { notify(o) }, DeleteFunc: notify,
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		all, err := services.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		for service, status := range assign(all, address) {
			intent := corev1apply.Service(service.Name, service.Namespace).WithStatus(status)
			if _, err := client.CoreV1().Services(service.Namespace).ApplyStatus(ctx, intent,
				metav1.ApplyOptions{FieldManager: "local-loadbalancer", Force: true}); err != nil {
				klog.ErrorS(err, "cannot set a Service's address; trying again", "service", klog.KObj(service))
				time.AfterFunc(time.Second, func() { notify(nil) })
			}
		}
	}
}

// assign says which Services' status must change: the oldest Service that wants a port has it.
func assign(all []*corev1.Service, address string) map[*corev1.Service]*corev1apply.ServiceStatusApplyConfiguration {
	slices.SortFunc(all, func(a, b *corev1.Service) int {
		if c := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); c != 0 {
			return c
		}
		return strings.Compare(string(a.UID), string(b.UID))
	})
	taken := map[string]bool{}
	changes := map[*corev1.Service]*corev1apply.ServiceStatusApplyConfiguration{}
	for _, service := range all {
		if service.Spec.Type != corev1.ServiceTypeLoadBalancer || service.DeletionTimestamp != nil {
			continue
		}
		free := true
		for _, port := range service.Spec.Ports {
			free = free && !taken[fmt.Sprint(port.Protocol, port.Port)]
		}
		has := len(service.Status.LoadBalancer.Ingress) > 0 && service.Status.LoadBalancer.Ingress[0].IP == address
		if free {
			for _, port := range service.Spec.Ports {
				taken[fmt.Sprint(port.Protocol, port.Port)] = true
			}
		}
		if free == has {
			continue
		}
		status := corev1apply.ServiceStatus().WithLoadBalancer(corev1apply.LoadBalancerStatus())
		if free {
			status.LoadBalancer.WithIngress(corev1apply.LoadBalancerIngress().WithIP(address).
				WithIPMode(corev1.LoadBalancerIPModeVIP))
		}
		changes[service] = status
	}
	return changes
}
