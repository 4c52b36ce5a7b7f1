package client

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"packregistry.dev/pack"
)

const valuesSkeleton = `# What consoles and people may change.
pack:
  # The namespace that the manifests are applied in; it is made if it is not there.
  namespace: %q
  content:
    # All images that the pack uses, for places without internet.
    images:
    - image: nginx:stable

# Values of manifests/app.yaml: {{ .Values.replicas }} there is replicas here.
manifests:
  app:
    replicas: 1
`

const manifestSkeleton = `# A Go template; .Values are manifests.app of values.yaml.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: %[1]s
spec:
  replicas: {{ .Values.replicas }}
  selector:
    matchLabels: {app: %[1]s}
  template:
    metadata:
      labels: {app: %[1]s}
    spec:
      containers:
      - name: app
        image: nginx:stable
`

// InitPack makes a folder with a pack of manifests to begin with.
func InitPack(dir, name string) (*pack.Directory, error) {
	if name == "" {
		absolute, err := filepath.Abs(dir)
		if err != nil {
			return nil, err
		}
		name = filepath.Base(absolute)
	}
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s exists already; choose another folder", dir)
	}
	metadata, err := json.MarshalIndent(map[string]any{
		"name": name, "displayName": titleOf(name), "version": "0.1.0", "layer": "addon", "cloudTypes": []string{"all"},
		"annotations": map[string]string{"source": "community"}, "kubeManifests": []string{"manifests/app.yaml"},
	}, "", "  ")
	if err != nil {
		return nil, err
	}
	if _, violations := pack.ParseMetadata(metadata); len(violations) > 0 {
		return nil, pack.AsError(violations)
	}
	err = writeFolder(dir, map[string][]byte{
		pack.MetadataFile: append(metadata, '\n'), pack.ValuesFile: fmt.Appendf(nil, valuesSkeleton, name),
		pack.ReadmeFile: fmt.Appendf(nil, "# %s\n\nWhat it does, and which values matter.\n", titleOf(name)), "manifests/app.yaml": fmt.Appendf(nil, manifestSkeleton, name),
	})
	if err != nil {
		return nil, err
	}
	return pack.OpenDirectory(dir)
}
