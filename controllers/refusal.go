package controllers

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// This file says what a refusal of one child means: whether waiting helps, when to ask again, and which condition reports it.

// Polls of what can change without an event that the operator would see.
const (
	// quotaPoll is how often to ask again for what a quota did not admit.
	quotaPoll = 10 * time.Second
	// refusedPoll is how often to ask again for what was refused for another reason: a policy may have changed.
	refusedPoll = time.Minute
	// leavingPoll is how often to look whether what is being deleted has gone.
	leavingPoll = 5 * time.Second
)

// refusal is a child that the API server, or another owner, does not let the operator have as the spec asks.
type refusal struct {
	kind, name string
	// part is the condition that speaks of the child.
	part            string
	reason, message string
	// permanent refusals end only when somebody changes the spec, the other object, or the policy.
	permanent bool
	// write says that it was a write that was refused.
	write bool
	// poll is how long to wait before asking again.
	poll time.Duration
}

func (f refusal) id() string { return f.kind + "/" + f.name }

// conflictError is a child that somebody else owns.
type conflictError struct {
	kind, name, because string
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s %s exists already and is not this PackRegistry's (%s): delete or rename one of them", e.kind, e.name, e.because)
}

// errOfEarlier: a child belongs to a PackRegistry of the same name that was deleted.
var errOfEarlier = errors.New("the one of an earlier PackRegistry of this name is still being deleted")

// refusalOf says what an error of the API server means for a child; ok is false where the same call may succeed at once.
func refusalOf(registry *v1alpha1.PackRegistry, kind, name string, err error) (f refusal, ok bool) {
	f = refusal{kind: kind, name: name, part: partOf(registry, kind, name)}
	say := func(format string, args ...any) {
		f.message = fmt.Sprintf("%s %s ", kind, name) + fmt.Sprintf(format, args...)
	}
	var conflict *conflictError
	switch {
	case errors.As(err, &conflict):
		f.reason, f.message, f.permanent, f.poll = v1alpha1.ReasonConflict, conflict.Error(), true, conflictPoll
	case errors.Is(err, errOfEarlier):
		f.reason, f.poll = v1alpha1.ReasonProgressing, leavingPoll
		say("of an earlier PackRegistry of this name is still being deleted")
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		f.reason, f.poll = v1alpha1.ReasonProgressing, refusedPoll
		say("cannot be made: the namespace is being deleted")
	case apierrors.IsForbidden(err) && byQuota(err):
		f.reason, f.write, f.poll = v1alpha1.ReasonQuotaExceeded, true, quotaPoll
		say("waits for a quota: %s", clip(err.Error()))
	case apierrors.IsForbidden(err), duplicates(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err):
		f.reason, f.permanent, f.write, f.poll = v1alpha1.ReasonRefused, true, true, refusedPoll
		say("was refused: %s", clip(err.Error()))
	default:
		return refusal{}, false
	}
	return f, true
}

// duplicates says whether a list has a key twice, or is otherwise of no form that the kind's schema knows. The API server answers
// that as an error of its own, which it makes again each time.
func duplicates(err error) bool {
	return strings.Contains(err.Error(), "failed to create typed patch object")
}

// byQuota says whether it was a quota that refused a child. The error names the child too, whose name may be any.
func byQuota(err error) bool {
	return slices.ContainsFunc([]string{"exceeded quota: ", "failed quota: ", "status unknown for quota: ", "insufficient quota to match"}, func(why string) bool {
		return strings.Contains(err.Error(), " is forbidden: "+why)
	})
}

// ordered brings refusals in one order, the permanent first: children are read in none.
func ordered(refused []refusal) []refusal {
	return slices.SortedStableFunc(slices.Values(refused), func(a, b refusal) int {
		switch {
		case a.permanent && !b.permanent:
			return -1
		case b.permanent && !a.permanent:
			return 1
		}
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
}

// partOf is the condition that speaks of a child.
func partOf(registry *v1alpha1.PackRegistry, kind, name string) string {
	switch kind {
	case "PersistentVolumeClaim":
		return v1alpha1.ConditionStorageReady
	case "Deployment", "PodDisruptionBudget":
		return v1alpha1.ConditionAvailable
	case "Certificate", "ConfigMap":
		return v1alpha1.ConditionTLSReady
	case "Secret":
		switch name {
		case children.UsersName(registry):
			return v1alpha1.ConditionAuthReady
		case children.CAName(registry), children.TLSSecret(registry):
			return v1alpha1.ConditionTLSReady
		}
		return v1alpha1.ConditionAvailable
	}
	return v1alpha1.ConditionExposed
}

// withRefusals puts refusals into the conditions of their parts. What such a condition says for itself stays where it is a
// fault that somebody must mend; and whether replicas answer, or an address is there, no refused change makes untrue.
func withRefusals(found map[string]condition, refused []refusal) {
	for _, f := range ordered(refused) {
		now := found[f.part]
		aboutNow := f.part == v1alpha1.ConditionAvailable || f.part == v1alpha1.ConditionExposed
		switch {
		case aboutNow && now.status == "True", now.status == "False" && !underWay[now.reason]:
		default:
			found[f.part] = isFalse(f.reason, "%s", f.message)
		}
	}
}

// worst joins the messages of all refusals that are permanent, or of those that are not; nil where there are none.
func worst(refused []refusal, permanent bool) *condition {
	var messages []string
	reason := ""
	for _, f := range ordered(refused) {
		if f.permanent != permanent {
			continue
		}
		if reason == "" {
			reason = f.reason
		}
		messages = append(messages, f.message)
	}
	if reason == "" {
		return nil
	}
	return &condition{status: "True", reason: reason, message: strings.Join(messages, "; ")}
}

// refusals remembers what was refused, so that the same is not asked for again at every event: only after its poll, or when
// what is wanted or what is there has changed.
type refusals struct {
	mu         sync.Mutex
	byRegistry map[types.NamespacedName]map[string]remembered
}

type remembered struct {
	refusal
	// intent and live are what was asked for, and beside what.
	intent, live string
	until        time.Time
}

func (m *refusals) recall(registry types.NamespacedName, child string) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.byRegistry[registry][child]
	return known, ok
}

func (m *refusals) remember(registry types.NamespacedName, child string, what remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byRegistry == nil {
		m.byRegistry = map[types.NamespacedName]map[string]remembered{}
	}
	if m.byRegistry[registry] == nil {
		m.byRegistry[registry] = map[string]remembered{}
	}
	m.byRegistry[registry][child] = what
}

func (m *refusals) forget(registry types.NamespacedName, child string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byRegistry[registry], child)
	if len(m.byRegistry[registry]) == 0 {
		delete(m.byRegistry, registry)
	}
}

func (m *refusals) forgetAll(registry types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.byRegistry, registry)
}
