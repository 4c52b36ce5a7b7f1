package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// configure writes everything that the components read. Keys that exist stay, so that a cluster can be started again
// on its old data.
func (c *cluster) configure() error {
	for _, dir := range []string{"pki", "logs", "etcd", "volumes", "tmp"} {
		if err := os.MkdirAll(c.path(dir), 0o700); err != nil {
			return err
		}
	}
	// Pods' users must be able to reach the volumes below.
	if err := os.Chmod(c.path("volumes"), 0o711); err != nil {
		return err
	}
	if err := c.createFixedPaths(); err != nil {
		return err
	}
	if err := c.createKeys(); err != nil {
		return err
	}
	if err := writeFiles(c.state, c.files()); err != nil {
		return err
	}
	return c.configureNode(c.node1())
}

func writeFiles(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// configureNode writes what is a node's alone.
func (c *cluster) configureNode(n node) error {
	for _, dir := range []string{"cni", "manifests"} {
		if err := os.MkdirAll(n.path(dir), 0o700); err != nil {
			return err
		}
	}
	if err := os.Chmod(n.dir, 0o711); err != nil {
		return err
	}
	if err := writeFiles(n.dir, c.nodeFiles(n)); err != nil {
		return err
	}
	return createCgroups(n.cgroup)
}

// createFixedPaths makes the folders to be covered where the machine lacks them, and notes which to remove again.
func (c *cluster) createFixedPaths() error {
	var made []string
	for _, path := range fixedPaths {
		for dir := path; ; dir = filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				break
			}
			made = append(made, dir)
		}
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(c.path("made"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, dir := range made {
		fmt.Fprintln(f, dir)
	}
	return f.Close()
}

// removeFixedPaths removes what createFixedPaths made, as far as it is empty.
func (c *cluster) removeFixedPaths() {
	text, err := os.ReadFile(c.path("made"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(text)) {
		os.Remove(strings.TrimSpace(line)) //nolint:errcheck // in use by somebody else then
	}
}

// files are the components' configuration files, by name below the state folder.
func (c *cluster) files() map[string]string {
	replace := strings.NewReplacer("$STATE", c.state, "$NODE_IP", nodeIP, "$PODS", podSubnet, "$NODE", nodeName)
	texts := map[string]string{
		// Every write, without its content: tests count what the operator does.
		"audit.yaml": `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- {level: None, verbs: [get, list, watch]}
- {level: Metadata}
`,
		"resolv.conf": "# no name outside of the cluster can be resolved\n",
		"kube-proxy.yaml": `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clusterCIDR: $PODS
hostnameOverride: $NODE
clientConnection: {kubeconfig: "$STATE/kube-proxy.kubeconfig"}
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
# The machine's limits are not ours to change.
conntrack: {maxPerCore: 0, min: 0}
`,
		"Corefile": `.:53 {
  bind $NODE_IP
  errors
  ready 127.0.0.1:8181
  kubernetes cluster.local in-addr.arpa ip6.arpa {
    kubeconfig $STATE/coredns.kubeconfig
    pods insecure
  }
  cache 10
  loadbalance
}
`,
	}
	for name, text := range texts {
		texts[name] = replace.Replace(text)
	}
	return texts
}

// nodeFiles are the configuration files of a node's programs, by name below its folder.
func (c *cluster) nodeFiles(n node) map[string]string { //nolint:funlen // a table of files
	replace := strings.NewReplacer("$STATE", c.state, "$DIR", n.dir, "$COMPONENTS", c.components, "$NODE_IP", n.ip, "$DNS", dnsService, "$PODS", podSubnet,
		"$FIRST", n.firstPod, "$LAST", n.lastPod, "$PAUSE", pauseImage, "$CGROUP", "/"+n.cgroup, "$RUNC", lookPath("runc"), "$SERVING", n.serving)
	texts := map[string]string{
		"containerd.toml": `version = 3
root = "$DIR/containerd"
state = "$DIR/run/containerd"
[grpc]
address = "$DIR/run/containerd.sock"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "$PAUSE"
[plugins.'io.containerd.cri.v1.images'.registry]
# A folder for each registry that the node pulls from, with a hosts.toml that says which CA to trust.
config_path = "$STATE/certs.d"
[plugins.'io.containerd.cri.v1.runtime']
# Without CAP_SYS_RESOURCE a container cannot be given a lower score than our own.
restrict_oom_score_adj = true
netns_mounts_under_state_dir = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
SystemdCgroup = false
BinaryName = "$RUNC"
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["$COMPONENTS"]
conf_dir = "$DIR/cni"
[plugins.'io.containerd.nri.v1.nri']
disable = true
[plugins.'io.containerd.internal.v1.opt']
path = "$DIR/opt"
`,
		"cni/10-bridge.conflist": `{
  "cniVersion": "1.0.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "pods0", "isGateway": true, "isDefaultGateway": true, "hairpinMode": true,
    "ipam": {"type": "host-local", "dataDir": "$DIR/run/ipam", "ranges": [[{"subnet": "$PODS", "rangeStart": "$FIRST", "rangeEnd": "$LAST"}]]}
  }]
}
`,
		"kubelet.yaml": `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: "$STATE/pki/ca.crt"}
authorization: {mode: AlwaysAllow}
tlsCertFile: "$STATE/pki/$SERVING.crt"
tlsPrivateKeyFile: "$STATE/pki/$SERVING.key"
address: $NODE_IP
healthzBindAddress: $NODE_IP
containerRuntimeEndpoint: "unix://$DIR/run/containerd.sock"
cgroupDriver: cgroupfs
cgroupRoot: $CGROUP
failCgroupV1: false
failSwapOn: false
clusterDNS: [$DNS]
clusterDomain: cluster.local
resolvConf: "$STATE/resolv.conf"
staticPodPath: "$DIR/manifests"
volumePluginDir: "$STATE/volume-plugins"
podLogsDir: "$DIR/pod-logs"
# This machine's disk may be nearly full for reasons that are none of the cluster's.
evictionHard: {memory.available: "50Mi", nodefs.available: "0%", imagefs.available: "0%", nodefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
maxPods: 200
`,
	}
	for name, text := range texts {
		texts[name] = replace.Replace(text)
	}
	return texts
}

// createCgroups makes a group that pods lie in, in each hierarchy of version 1, or in the one of version 2.
func createCgroups(group string) error {
	for _, dir := range cgroupDirs(group) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// A new group of the cpuset hierarchy is empty, and nothing can run in it.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
			if err == nil && len(strings.TrimSpace(string(parent))) > 0 {
				if err := os.WriteFile(filepath.Join(dir, file), parent, 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// cgroupDirs lists a group in every hierarchy of this machine.
func cgroupDirs(group string) []string {
	const mount = "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(mount, "cgroup.controllers")); err == nil {
		return []string{filepath.Join(mount, group)}
	}
	var dirs []string
	entries, _ := os.ReadDir(mount) //nolint:errcheck // none then
	for _, e := range entries {
		if e.IsDir() {
			dirs = append(dirs, filepath.Join(mount, e.Name(), group))
		}
	}
	return dirs
}
