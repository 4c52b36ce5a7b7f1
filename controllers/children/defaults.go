package children

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"packregistry.dev/api/v1alpha1"
)

// PodDefaults are what registries' pods have where the spec is silent. Administrators set them by the operator's flags.
type PodDefaults struct {
	// Resources of the registry's container; none if empty.
	Resources corev1.ResourceRequirements
	// SecurityContext of the pods; nil for user and groups 65532. What it lacks is left to the platform.
	SecurityContext *v1alpha1.PodSecurityContext
}

// builtinSecurityContext is what PodDefaults have without one.
func builtinSecurityContext() *v1alpha1.PodSecurityContext {
	return &v1alpha1.PodSecurityContext{RunAsUser: ptr.To[int64](nonRoot), RunAsGroup: ptr.To[int64](nonRoot), FSGroup: ptr.To[int64](nonRoot)}
}

// ParsePodDefaults reads both from JSON; an empty text stands for the built-in default.
func ParsePodDefaults(resources, securityContext string) (PodDefaults, error) {
	var d PodDefaults
	if resources != "" {
		if err := decodeStrict([]byte(resources), &d.Resources); err != nil {
			return PodDefaults{}, fmt.Errorf("resources%w", err)
		}
		if err := checkResources(d.Resources); err != nil {
			return PodDefaults{}, fmt.Errorf("resources: %w", err)
		}
	}
	if securityContext != "" {
		type plain v1alpha1.PodSecurityContext // its UnmarshalJSON takes unknown fields
		var given plain
		if err := decodeStrict([]byte(securityContext), &given); err != nil {
			return PodDefaults{}, fmt.Errorf("pod security context%w", err)
		}
		context := v1alpha1.PodSecurityContext(given)
		if err := checkIDs(context); err != nil {
			return PodDefaults{}, fmt.Errorf("pod security context: %w", err)
		}
		if !reflect.DeepEqual(&context, builtinSecurityContext()) {
			d.SecurityContext = &context
		}
	}
	return d, nil
}

// Fingerprint distinguishes defaults from others; empty for the built-in ones.
func (d PodDefaults) Fingerprint() string {
	if len(d.Resources.Limits)+len(d.Resources.Requests) == 0 && d.SecurityContext == nil {
		return ""
	}
	data, err := json.Marshal(d)
	if err != nil {
		panic(err) // quantities and numbers can be marshalled
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:4])
}

// checkResources refuses what the API server would refuse in each Deployment.
func checkResources(r corev1.ResourceRequirements) error {
	if len(r.Claims) > 0 {
		return errors.New("claims cannot be a default: leave them out")
	}
	for _, list := range []corev1.ResourceList{r.Limits, r.Requests} {
		for name, quantity := range list {
			if quantity.Sign() < 0 {
				return fmt.Errorf("%s is below zero: %s", name, quantity.String())
			}
		}
	}
	for name, request := range r.Requests {
		if limit, ok := r.Limits[name]; ok && request.Cmp(limit) > 0 {
			return fmt.Errorf("the request of %s (%s) is above its limit (%s)", name, request.String(), limit.String())
		}
	}
	return nil
}

// checkIDs holds the defaults to what the schema of PackRegistries admits: nothing runs as root.
func checkIDs(c v1alpha1.PodSecurityContext) error {
	ids := slices.Clone(c.SupplementalGroups)
	for _, id := range []*int64{c.RunAsUser, c.RunAsGroup, c.FSGroup} {
		if id != nil {
			ids = append(ids, *id)
		}
	}
	for _, id := range ids {
		if id < 1 || id > 1<<31-1 {
			return fmt.Errorf("%d is no user or group to run as: there are 1 to %d", id, 1<<31-1)
		}
	}
	return nil
}
