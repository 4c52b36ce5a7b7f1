package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// cluster is the whole of it. There is one per machine: its control groups have a fixed name.
type cluster struct {
	state      string
	components string
	apiPort    int
	httpsPort  int
}

// Names and addresses inside the namespace. Nobody outside sees them.
const (
	nodeName    = "node-1"
	nodeIP      = "10.89.0.2" // the control plane's too
	podSubnet   = "10.88.0.0/16"
	serviceCIDR = "10.96.0.0/16"
	apiService  = "10.96.0.1"
	dnsService  = "10.96.0.10"
	apiInside   = 6443
	cgroupRoot  = "packregistry-cluster"
	pauseImage  = "packregistry.dev/pause:1"
)

// node is a machine as Kubernetes sees it: a kubelet with a containerd of its own. All nodes are in one network namespace.
type node struct {
	name, ip string
	// dir holds everything of the node alone.
	dir string
	// cgroup is where its pods lie, in each hierarchy.
	cgroup string
	// firstPod and lastPod bound the addresses that it gives to pods.
	firstPod, lastPod string
	// kubeconfig of the kubelet, and its serving certificate, in pki.
	identity, serving string
}

// node1 is what a cluster begins with.
func (c *cluster) node1() node {
	return node{nodeName, nodeIP, c.state, cgroupRoot, "10.88.0.2", "10.88.127.254", "kubelet", "kubelet-server"}
}

// node2 is there while it is asked for: for what happens only where pods can go elsewhere.
func (c *cluster) node2() node {
	return node{secondName, "10.89.0.3", c.path(secondName), cgroupRoot + "/" + secondName, "10.88.128.1", "10.88.255.254", "kubelet-2", "kubelet-2-server"}
}

const secondName = "node-2"

func (n node) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

// path is a path below the state folder.
func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.state}, parts...)...)
}

func (c *cluster) bin(name string) string { return filepath.Join(c.components, name) }

// netns is the file that keeps the network namespace. It is not made by `ip netns`, which would leave a mount of
// /run/netns behind.
func (c *cluster) netns() string { return c.path("netns") }

// fixedPaths are folders that containerd, its shim, CNI and the kubelet write to whatever they are told. The supervisor
// covers each with a folder of the cluster's own, in a mount namespace of its own.
var fixedPaths = []string{"/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers"}

// binaries are what components must hold; the Kubernetes programs are one file under several names.
var binaries = []string{"kubernetes", "etcd", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "pause",
	"bridge", "host-local", "loopback", "kube-apiserver", "kubectl"}

func (c *cluster) checkComponents() error {
	if c.components == "" {
		return fmt.Errorf("no --components and no $CLUSTER_COMPONENTS; `make cluster-up` builds them and passes the folder")
	}
	for _, name := range binaries {
		if _, err := os.Stat(c.bin(name)); err != nil {
			return fmt.Errorf("the components lack %s: %w", name, err)
		}
	}
	for _, name := range []string{"runc", "nft", "ip", "nsenter", "unshare"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%s is not installed; on Debian: apt-get install runc nftables iproute2 util-linux", name)
		}
	}
	return nil
}

// inside is a command in the cluster's network namespace. nsenter and not `ip netns exec`, which would hide the cgroup
// mounts.
func (c *cluster) inside(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + c.netns(), "--", name}, args...)...)
}
