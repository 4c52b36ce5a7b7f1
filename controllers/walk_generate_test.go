package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
)

// specs are what registries begin as.
var specs = []string{
	`{"hosts":["packs.example.com"],"storage":{"persistentVolumeClaim":{"size":"1Gi"}},"auth":{"secretRefs":[{"name":"users"}]},"tls":{"secretRef":{"name":"certificate"}}}`,
	`{"hosts":["packs.example.com"],"storage":{"persistentVolumeClaim":{"size":"1Gi","storageClassName":"fast","deletionPolicy":"Delete"}},"auth":{"secretRefs":[{"name":"more"},{"name":"users"}]},"tls":{"selfSigned":{}}}`,
	`{"hosts":["packs.example.com"],"replicas":2,"storage":{"s3":{"bucket":"packs","region":"eu-west-1","secretRef":{"name":"keys"}}},"auth":{"secretRefs":[{"name":"users"}]},"tls":{"selfSigned":{}}}`,
	`{"storage":{"inMemory":{}},"auth":{"anonymous":{}},"tls":{"disabled":{}}}`,
	`{"hosts":["packs.example.com"],"replicas":2,"storage":{"persistentVolumeClaim":{"size":"1Gi","accessModes":["ReadWriteMany"]}},"auth":{"secretRefs":[{"name":"users"}]},"tls":{"disabled":{}},"ingress":{"className":"nginx"},"networkPolicy":{"enabled":true}}`,
}

// edits are merge patches of specs: some hold everywhere, some only with some storage, some are refused.
var edits = []string{
	`{"replicas":0}`, `{"replicas":1}`, `{"replicas":2}`, `{"replicas":3}`, `{"replicas":-1}`,
	`{"log":{"level":"debug"}}`, `{"log":{"level":"info"}}`, `{"image":"registry:special"}`, `{"image":null}`,
	`{"config":{"http":{"addr":":1"}}}`, `{"config":{"http":{"addr":":1"}}}`, `{"config":{"log":{"accesslog":{"disabled":true}}}}`, `{"config":null}`, `{"config":null}`,
	`{"suspend":true}`, `{"suspend":true}`, `{"suspend":false}`, `{"suspend":false}`,
	`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`,
	`{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`,
	`{"storage":{"persistentVolumeClaim":{"size":"2Gi"}}}`, `{"storage":{"persistentVolumeClaim":{"size":"1Mi"}}}`,
	`{"tls":{"secretRef":null,"disabled":null,"selfSigned":{}}}`, `{"hosts":["packs.example.com"],"tls":{"secretRef":{"name":"certificate"},"disabled":null,"selfSigned":null}}`,
	`{"tls":{"secretRef":null,"disabled":{},"selfSigned":null}}`, `{"hosts":["packs.example.com"]}`, `{"hosts":["packs.example.com","other.example.com"]}`, `{"hosts":["packs.example.org"]}`,
	`{"auth":{"secretRefs":[{"name":"users"},{"name":"more"}],"anonymous":null}}`, `{"auth":{"secretRefs":[{"name":"users"}],"anonymous":null}}`,
	`{"auth":{"secretRefs":[{"name":"more"}],"anonymous":null}}`, `{"auth":{"secretRefs":null,"anonymous":{}}}`, `{"auth":{"secretRefs":[{"name":"nobody"}],"anonymous":null}}`,
	`{"ingress":{"className":"nginx"}}`, `{"networkPolicy":{"enabled":true,"ingress":[{"ports":[{"port":99999}]}]}}`, `{"networkPolicy":{"enabled":true,"ingress":[{"ports":[{"port":99999}]}]}}`, `{"ingress":null}`,
	`{"networkPolicy":{"enabled":true}}`, `{"networkPolicy":null}`, `{"podDisruptionBudget":{"enabled":false}}`, `{"podDisruptionBudget":null}`,
	`{"service":{"type":"NodePort","nodePort":80}}`, `{"service":{"type":"LoadBalancer"}}`, `{"service":null}`,
	`{"pod":{"resources":{"requests":{"cpu":"2"},"limits":{"cpu":"1"}}}}`, `{"pod":{"labels":{"team":"a"}}}`, `{"pod":null}`,
	`{"garbageCollection":{"interval":"1d"}}`, `{"garbageCollection":{"interval":"24h"}}`, `{"monitoring":{"serviceMonitor":{"enabled":true}}}`, `{"monitoring":null}`, `{"headers":{"X-Test":["1"]}}`, `{"headers":null}`,
}

// undecodable are specs that Go's types cannot hold, whatever the API server says of them.
var undecodable = []string{`{"garbageCollection":{"interval":"1d"}}`, `{"garbageCollection":{"keepUntagged":"soon"}}`, `{"pod":{"resources":{"requests":{"cpu":"many"}}}}`}

// drifts are what people do to children, by kind.
var drifts = map[string][]string{
	"Deployment":                  {`{"spec":{"template":{"spec":{"enableServiceLinks":true}}}}`, `{"metadata":{"annotations":{"packregistry.dev/owned":"x"}}}`, `{"metadata":{"labels":{"app.kubernetes.io/name":"x"}}}`},
	"Service":                     {`{"spec":{"selector":{"app.kubernetes.io/instance":"other"}}}`, `{"metadata":{"annotations":{"packregistry.dev/owned":"x"},"labels":{"app.kubernetes.io/name":"x"}}}`},
	"Secret/packs-registry-users": {`{"data":{"htpasswd":"eA=="}}`, `{"metadata":{"labels":{"app.kubernetes.io/name":"x"}}}`},
	"Secret/packs-registry-tls":   {`{"data":{"tls.crt":"eA=="}}`, `{"data":{"added":"eA=="}}`},
	"ConfigMap":                   {`{"data":{"ca.crt":"x"}}`},
}

// refusable are the kinds that a policy may refuse.
var refusable = []string{"deployments", "services", "secrets", "configmaps", "ingresses", "persistentvolumeclaims", "poddisruptionbudgets", "pods", "networkpolicies"}

// removable are the kinds of children that somebody may delete.
var removable = []string{"Deployment", "Service", "Secret", "Secret/packs-registry-users", "Secret/packs-registry-tls", "Secret/packs-registry-ca",
	"ConfigMap", "Ingress", "NetworkPolicy", "PodDisruptionBudget", "Pod", "ReplicaSet"}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// generate makes a sequence of steps. It begins with a registry, and ends when all is mended.
func generate(seed uint64, length int) []step {
	r := rand.New(rand.NewPCG(seed, 0))
	steps := []step{{Do: "create", With: pick(r, specs)}}
	for len(steps) < length-1 {
		steps = append(steps, generateStep(r, steps))
	}
	return append(steps, step{Do: "mend"})
}

func generateStep(r *rand.Rand, before []step) step {
	if registryGone(before) && r.IntN(2) == 0 {
		return step{Do: "create", With: pick(r, specs)}
	}
	switch n := r.IntN(100); {
	case n < 30:
		return step{Do: "edit", With: pick(r, edits)}
	case n < 38: // several at once
		return step{Do: "edit", With: mergedPatch(pick(r, edits), pick(r, edits))}
	case n < 56:
		return step{Do: "secret", On: pick(r, []string{"users", "users", "more", "certificate", "keys"}), With: pick(r, []string{"good", "good", "good", "broken", "gone", "annotated"})}
	case n < 61:
		return step{Do: "remove", On: pick(r, removable)}
	case n < 65:
		kind := pick(r, slices.Sorted(maps.Keys(drifts)))
		return step{Do: "drift", On: kind, With: pick(r, drifts[kind])}
	case n < 69:
		return step{Do: "scale", On: pick(r, []string{"Deployment", "PackRegistry"}), With: fmt.Sprint(r.IntN(4))}
	case n < 75:
		return liftOr(r, before, "allow", step{Do: "refuse", On: pick(r, refusable)})
	case n < 79:
		return step{Do: "quota", With: pick(r, []string{"on", "off"})}
	case n < 84:
		return step{Do: "delete", With: pick(r, []string{"Background", "Background", "Foreground", "Orphan"})}
	case n < 89:
		return step{Do: "create", With: pick(r, specs)}
	case n < 91:
		return step{Do: "recreate", With: pick(r, specs)}
	case n < 93:
		return step{Do: "restart", With: pick(r, []string{"", "", "1.1.0", "1.2.0"})}
	case n < 96:
		return step{Do: "kill", On: pick(r, []string{"arrives", "lost"}), With: fmt.Sprint(r.IntN(4))}
	case n < 97:
		return step{Do: "second", With: pick(r, []string{"namespace", "cluster", ""})}
	case n < 98:
		return step{Do: "wait", With: "18"}
	case n < 99:
		return step{Do: "odd", With: pick(r, undecodable)}
	}
	return step{Do: "mend"}
}

// registryGone says whether the registry was deleted and not made again.
func registryGone(steps []step) bool {
	is := false
	for _, s := range steps {
		is = is && s.Do != "create" || s.Do == "delete"
	}
	return is
}

// liftOr lifts a refusal that is under way as often as it makes another.
func liftOr(r *rand.Rand, before []step, do string, other step) step {
	for i := len(before) - 1; i >= 0 && r.IntN(2) == 0; i-- {
		if before[i].Do == other.Do {
			return step{Do: do, On: before[i].On}
		}
	}
	return other
}

func mergedPatch(a, b string) string {
	var into, patch map[string]any
	if json.Unmarshal([]byte(a), &into) != nil || json.Unmarshal([]byte(b), &patch) != nil {
		return a
	}
	for key, value := range patch {
		current, isMap := into[key].(map[string]any)
		if below, both := value.(map[string]any); isMap && both {
			for k, v := range below {
				current[k] = v
			}
			continue
		}
		into[key] = value
	}
	text, err := json.Marshal(into)
	if err != nil {
		return a
	}
	return string(text)
}
