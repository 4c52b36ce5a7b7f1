package config

import (
	"reflect"
	"strings"

	"go.yaml.in/yaml/v3"
)

// blot stands for what is not shown.
const blot = "***"

// Masked returns the configuration as YAML, with secrets blotted out. Headers and fields of the log may hold whatever somebody
// thought of, so only those are shown whose names say that they hold none.
func Masked(c Config) ([]byte, error) {
	text, err := Marshal(c)
	if err != nil {
		return nil, err
	}
	var copied Config
	if err := yaml.Unmarshal(text, &copied); err != nil {
		return nil, err
	}
	mask(reflect.ValueOf(&copied).Elem())
	for name, values := range copied.HTTP.Headers {
		if !publicHeader(name) {
			for i := range values {
				values[i] = blot
			}
		}
	}
	for name := range copied.Log.Fields {
		if !publicFields[strings.ToLower(name)] {
			copied.Log.Fields[name] = blot
		}
	}
	return Marshal(copied)
}

func mask(v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		mask(v.Elem())
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			f := v.Field(i)
			if v.Type().Field(i).Tag.Get("secret") != "" && f.Kind() == reflect.String && f.String() != "" {
				f.SetString(blot)
				continue
			}
			mask(f)
		}
	}
}

// publicHeader says whether a header of answers is one of those that tell browsers and caches what to do.
func publicHeader(name string) bool {
	name = strings.ToLower(name)
	for _, prefix := range []string{"access-control-", "cross-origin-", "content-security-policy"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return publicHeaders[name]
}

var publicHeaders = map[string]bool{
	"x-content-type-options": true, "strict-transport-security": true, "x-frame-options": true, "x-xss-protection": true, "referrer-policy": true,
	"permissions-policy": true, "cache-control": true, "vary": true, "server": true, "alt-svc": true, "x-robots-tag": true, "x-permitted-cross-domain-policies": true,
	"timing-allow-origin": true, "expect-ct": true, "origin-agent-cluster": true, "x-dns-prefetch-control": true, "x-download-options": true,
}

// publicFields are fields that say where a registry runs.
var publicFields = map[string]bool{
	"environment": true, "env": true, "stage": true, "service": true, "app": true, "application": true, "component": true, "version": true, "team": true,
	"region": true, "zone": true, "datacenter": true, "cluster": true, "namespace": true, "node": true, "pod": true, "host": true, "hostname": true, "instance": true,
	"registry": true, "name": true,
}
