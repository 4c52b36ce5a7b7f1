package limits

import (
	"fmt"
	"slices"
	"strings"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// relabelings is what would let a PackRegistry have Prometheus ask any address that it can reach, and file the answer as somebody
// else's. It stands among the fields of spec.pod for want of others of its kind.
const relabelings = "monitoring.relabelings"

// identityLabels are labels by which others find out whose metrics these are.
var identityLabels = []string{"cluster", "container", "endpoint", "instance", "job", "namespace", "node", "pod", "service", "tenant"}

// refusedRelabelings lists those that change what is asked or whose it is. What does not decode becomes no ServiceMonitor, and is reported
// where that is made.
func (l *Limits) refusedRelabelings(spec *v1alpha1.PackRegistrySpec) []string {
	list, err := children.Relabelings(spec)
	if err != nil || matches(l.PodFields, relabelings) {
		return nil
	}
	var refused []string
	for i, relabeling := range list {
		at, what := "targetLabel", relabeling.TargetLabel
		switch action := strings.ToLower(relabeling.Action); {
		case action == "labelmap" || action == "labeldrop" || action == "labelkeep": // of any labels
			at, what = "action", action
		case strings.HasPrefix(what, "__tmp"): // nobody's
			continue
		case !strings.HasPrefix(what, "__") && !strings.Contains(what, "$") && !slices.Contains(identityLabels, what):
			continue
		}
		refused = append(refused, fmt.Sprintf("%s[%d].%s: %q is not allowed, since it changes what Prometheus asks or whose metrics they are: who runs the operator can allow it (--allowed-pod-fields with %s, in its chart limits.podFields)",
			children.RelabelingsPath, i, at, what, relabelings))
	}
	return refused
}
