package children

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"k8s.io/apimachinery/pkg/runtime"

	"packregistry.dev/server/config"
)

// owned are paths of the configuration that spec.config must leave alone, each with what to use instead. A path stands for
// everything below it too.
var owned = map[string]string{
	"version":                          "the operator sets it",
	"log.level":                        "use spec.log",
	"log.formatter":                    "use spec.log",
	"log.fields":                       "use spec.log",
	"storage.filesystem.rootdirectory": "the operator sets it",
	"storage.inmemory":                 "use spec.storage",
	"storage.s3.accesskey":             "use spec.storage.s3.secretRef",
	"storage.s3.secretkey":             "use spec.storage.s3.secretRef",
	"storage.s3.region":                "use spec.storage.s3",
	"storage.s3.bucket":                "use spec.storage.s3",
	"storage.s3.rootdirectory":         "use spec.storage.s3",
	"storage.s3.encrypt":               "use spec.storage.s3",
	"storage.s3.keyid":                 "use spec.storage.s3",
	"storage.s3.regionendpoint":        "use spec.storage.s3.endpoint",
	"storage.s3.host":                  "use spec.storage.s3.endpoint",
	"storage.s3.port":                  "use spec.storage.s3.endpoint",
	"storage.s3.secure":                "use spec.storage.s3.endpoint",
	"storage.s3.forcepathstyle":        "use spec.storage.s3",
	"storage.s3.storageclass":          "use spec.storage.s3",
	"storage.s3.cafile":                "use spec.storage.s3.caRef",
	"storage.maintenance.garbagecollection.interval":     "use spec.garbageCollection",
	"storage.maintenance.garbagecollection.keepuntagged": "use spec.garbageCollection",
	"packs.basepaths":           "use spec.packs.basePaths",
	"ui.enabled":                "use spec.ui",
	"ui.title":                  "use spec.ui",
	"ui.actions":                "use spec.ui",
	"auth.htpasswd":             "use spec.auth",
	"auth.access.anonymouspull": "use spec.auth",
	"auth.access.readonlyusers": "use spec.auth",
	"http.addr":                 "the operator sets it",
	"http.draintimeout":         "the operator sets it",
	"http.headers":              "use spec.headers",
	"http.debug.addr":           "the operator sets it",
	"http.debug.prometheus":     "the operator sets it",
	"http.tls.certificate":      "use spec.tls",
	"http.tls.key":              "use spec.tls",
	"http.tls.clientcas":        "use spec.tls.clientCARef",
	"http.tls.minimumtls":       "use spec.tls.minimumVersion",
	"http.tls.letsencrypt":      "use spec.tls.letsEncrypt",
}

// overlay renders a configuration with what spec.config adds, which must not touch what is said elsewhere, and checks the
// whole as the server will.
func overlay(base config.Config, extra *runtime.RawExtension) ([]byte, error) {
	text, err := config.Marshal(base)
	if err != nil {
		return nil, fmt.Errorf("render the configuration: %w", err)
	}
	if extra != nil && len(extra.Raw) > 0 {
		if text, err = merged(text, extra.Raw); err != nil {
			return nil, err
		}
	}
	if _, _, err := config.Parse(text, config.Options{}); err != nil {
		return nil, fmt.Errorf("the server refuses this configuration: %w", err)
	}
	return text, nil
}

func merged(text, extra []byte) ([]byte, error) {
	var into, add map[string]any
	if err := yaml.Unmarshal(text, &into); err != nil {
		return nil, fmt.Errorf("render the configuration: %w", err)
	}
	// Read as YAML, which JSON is, so that whole numbers stay whole.
	if err := yaml.Unmarshal(extra, &add); err != nil {
		return nil, fmt.Errorf("spec.config: %w", err)
	}
	var refused []string
	refuse(add, "", &refused)
	if len(refused) > 0 {
		return nil, fmt.Errorf("spec.config: %s", strings.Join(refused, "; "))
	}
	mergeInto(into, add)
	return yaml.Marshal(into)
}

// refuse lists what must be said elsewhere, in order.
func refuse(add map[string]any, at string, refused *[]string) {
	for _, key := range slices.Sorted(maps.Keys(add)) {
		path := strings.TrimPrefix(at+"."+key, ".")
		if instead, ok := owned[path]; ok {
			*refused = append(*refused, path+" is not for here: "+instead)
			continue
		}
		below, isMap := add[key].(map[string]any)
		if isMap {
			refuse(below, path, refused)
			continue
		}
		// A word where others have a section would replace all of it.
		if slices.ContainsFunc(slices.Collect(maps.Keys(owned)), func(o string) bool { return strings.HasPrefix(o, path+".") }) {
			*refused = append(*refused, path+" is a section; name what to set in it")
		}
	}
}

func mergeInto(into, add map[string]any) {
	for key, value := range add {
		below, isMap := value.(map[string]any)
		current, exists := into[key].(map[string]any)
		if isMap && exists {
			mergeInto(current, below)
			continue
		}
		into[key] = value
	}
}
