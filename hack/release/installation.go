package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

const chartName = "packregistry-operator"

// installation makes what a cluster is given: manifests, the chart, and the schemas for those who check their manifests.
func (b *builder) installation(ctx context.Context, images []Image) error {
	manifests, err := b.run(ctx, nil, b.kubectl, "kustomize", "config/default")
	if err != nil {
		return err
	}
	for _, image := range images {
		old := []byte("packregistry.dev/" + image.Name + ":dev")
		if bytes.Count(manifests, old) != 1 {
			return fmt.Errorf("config/default names %s %d times, want once", old, bytes.Count(manifests, old))
		}
		manifests = bytes.Replace(manifests, old, []byte(image.Repository+"@"+image.Digest), 1)
	}
	if err := os.WriteFile(filepath.Join(b.output, "install.yaml"), manifests, 0o644); err != nil {
		return err
	}
	if err := b.chart(images); err != nil {
		return err
	}
	return b.schemas()
}

// chart packs the Helm chart with its version and its images pinned.
func (b *builder) chart(images []Image) error {
	root := filepath.Join(b.source, "charts", chartName)
	var files []file
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Name() == ".helmignore" {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		f := file{name: chartName + "/" + filepath.ToSlash(name), source: path}
		switch name {
		case "Chart.yaml":
			f.source, err = b.changed(path, func(text string) (string, error) { return pinVersion(text, b.version) })
		case "values.yaml":
			f.source, err = b.changed(path, func(text string) (string, error) { return pinImages(text, images) })
		}
		files = append(files, f)
		return err
	})
	if err != nil {
		return err
	}
	return writeArchive(filepath.Join(b.output, chartName+"-"+b.version+".tgz"), files)
}

// changed writes a changed copy of a file.
func (b *builder) changed(path string, change func(string) (string, error)) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	text, err := change(string(data))
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	target := filepath.Join(b.work, filepath.Base(path))
	return target, os.WriteFile(target, []byte(text), 0o644)
}

var versionLine = regexp.MustCompile(`(?m)^(version|appVersion): .*$`)

func pinVersion(text, version string) (string, error) {
	if n := len(versionLine.FindAllString(text, -1)); n != 2 {
		return "", fmt.Errorf("%d lines of versions, want 2", n)
	}
	return versionLine.ReplaceAllString(text, "${1}: "+version), nil
}

// pinImages sets the repository and the digest of each image in values.yaml, whose comments stay.
func pinImages(text string, images []Image) (string, error) {
	for _, image := range images {
		key := map[string]string{"operator": "image", "registry": "registryImage"}[image.Name]
		section := regexp.MustCompile(`(?m)^` + key + `:\n(?:  .*\n)+`)
		at := section.FindStringIndex(text)
		if at == nil {
			return "", fmt.Errorf("there is no %s", key)
		}
		old := text[at[0]:at[1]]
		pinned := strings.Replace(old, "  repository: packregistry.dev/"+image.Name+"\n", "  repository: "+image.Repository+"\n", 1)
		pinned = strings.Replace(pinned, "  digest: \"\"\n", "  digest: "+image.Digest+"\n", 1)
		if !strings.Contains(pinned, image.Digest) || !strings.Contains(pinned, "repository: "+image.Repository+"\n") {
			return "", fmt.Errorf("%s has no repository and empty digest to set", key)
		}
		text = text[:at[0]] + pinned + text[at[1]:]
	}
	return text, nil
}

// schemas packs the JSON Schemas of the kinds, named as kubeconform looks for them.
func (b *builder) schemas() error {
	crds, err := filepath.Glob(filepath.Join(b.source, "config", "crd", "packregistry.dev_*.yaml"))
	if err != nil {
		return err
	}
	var files []file
	for _, path := range crds {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.UnmarshalStrict(data, &crd); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		group, _, _ := strings.Cut(crd.Spec.Group, ".")
		for _, v := range crd.Spec.Versions {
			name := fmt.Sprintf("%s-%s-%s.json", strings.ToLower(crd.Spec.Names.Kind), group, v.Name)
			schema, err := json.MarshalIndent(v.Schema.OpenAPIV3Schema, "", "  ")
			if err != nil {
				return err
			}
			source := filepath.Join(b.work, name)
			if err := os.WriteFile(source, append(schema, '\n'), 0o644); err != nil {
				return err
			}
			files = append(files, file{name: name, source: source})
		}
	}
	return writeArchive(filepath.Join(b.output, "crd-schemas.tar.gz"), files)
}
