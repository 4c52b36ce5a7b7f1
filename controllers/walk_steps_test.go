package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"packregistry.dev/api/v1alpha1"
	"packregistry.dev/controllers/children"
)

// step is one thing that people, tools or accidents do to a cluster. Steps are data: they are printed, kept and taken again.
type step struct {
	// Do names an action.
	Do string `json:"do"`
	// On is what it is done to: a Secret, a kind of children.
	On string `json:"on,omitempty"`
	// With is how: a JSON merge patch, a number, the name of a variant.
	With string `json:"with,omitempty"`
}

func (s step) String() string {
	text, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// actions do steps. What the API server refuses is an outcome like another.
var actions = map[string]func(k *walk, ctx context.Context, t *testing.T, s step) error{
	"create":   (*walk).doCreate,
	"edit":     (*walk).doEdit,
	"delete":   (*walk).doDelete,
	"recreate": (*walk).doRecreate,
	"secret":   (*walk).doSecret,
	"remove":   (*walk).doRemoveChild,
	"drift":    (*walk).doDrift,
	"scale":    (*walk).doScale,
	"refuse":   (*walk).doRefuse,
	"allow":    (*walk).doAllow,
	"quota":    (*walk).doQuota,
	"restart":  (*walk).doRestart,
	"kill":     (*walk).doKill,
	"second":   (*walk).doSecond,
	"odd":      (*walk).doOdd,
	"wait":     (*walk).doWait,
	"mend":     (*walk).doMend,
}

// do takes one step. The error is of the walk's own; what the API server refused is returned as an outcome.
func (k *walk) do(ctx context.Context, t *testing.T, s step) (outcome string, err error) {
	action, ok := actions[s.Do]
	if !ok {
		return "", fmt.Errorf("no action %q", s.Do)
	}
	k.serial++
	k.deleted, k.before, k.longest = nil, k.now, 0
	k.usersLost = s.Do == "remove" && strings.HasPrefix(s.On, "Secret") || s.Do == "drift" && strings.Contains(s.With, children.LastGoodUsersKey)
	k.quiet = s.Do == "secret" && s.With == "annotated" || s.Do == "restart" && s.With == ""
	err = action(k, ctx, t, s)
	if status := apierrors.APIStatus(nil); errors.As(err, &status) {
		return "refused: " + err.Error(), nil
	}
	return "", err
}

func (k *walk) object(name, spec string) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	var fields map[string]any
	if err := json.Unmarshal([]byte(spec), &fields); err != nil {
		return nil, err
	}
	u.Object["spec"] = fields
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PackRegistry"))
	u.SetNamespace(k.namespace)
	u.SetName(name)
	return u, nil
}

func (k *walk) doCreate(ctx context.Context, _ *testing.T, s step) error {
	u, err := k.object(subject, s.With)
	if err != nil {
		return err
	}
	return k.api.Create(ctx, u)
}

func (k *walk) doEdit(ctx context.Context, _ *testing.T, s step) error {
	u, err := k.object(subject, `{}`)
	if err != nil {
		return err
	}
	patch := []byte(`{"spec":` + s.With + `}`)
	return k.api.Patch(ctx, u, client.RawPatch(types.MergePatchType, patch), client.FieldOwner("kubectl-edit"))
}

// remember notes what the registry asks for before it is deleted.
func (k *walk) remember() {
	u := k.before.registry(k.namespace, subject)
	if u == nil {
		return
	}
	policy, _, _ := unstructured.NestedString(u.Object, "spec", "storage", "persistentVolumeClaim", "deletionPolicy")
	k.deleted = &deletion{uid: string(u.GetUID()), kept: policy != string(v1alpha1.DeletionDelete),
		claim: find[*corev1.PersistentVolumeClaim](k.before, k.namespace, subject+"-data"), certain: len(k.obstacles(k.before)) == 0}
}

func (k *walk) doDelete(ctx context.Context, _ *testing.T, s step) error {
	u, err := k.object(subject, `{}`)
	if err != nil {
		return err
	}
	k.remember()
	if k.deleted != nil {
		k.deleted.orphans = s.With == string(metav1.DeletePropagationOrphan)
		k.orphaned = k.orphaned || k.deleted.orphans
	}
	return k.api.Delete(ctx, u, client.PropagationPolicy(s.With))
}

func (k *walk) doRecreate(ctx context.Context, t *testing.T, s step) error {
	if err := k.doDelete(ctx, t, step{With: string(metav1.DeletePropagationBackground)}); err != nil {
		return err
	}
	if k.deleted != nil {
		k.deleted.followed = true
	}
	u, err := k.object(subject, s.With)
	if err != nil {
		return err
	}
	// One that waits for somebody before it goes is waited for.
	return waitUntil(ctx, settleLimit, "the earlier one goes", func() error { return client.IgnoreNotFound(k.api.Create(ctx, u.DeepCopy())) })
}

// goodSecrets are the Secrets that specs name, each as it should be, and never twice the same.
func (k *walk) goodSecrets(t *testing.T) map[string]*corev1.Secret {
	t.Helper()
	k.serial++
	secrets := map[string]*corev1.Secret{
		"users":       usersSecret(k.namespace, htpasswdLine(t, "ann", fmt.Sprintf("hush-%d", k.serial))),
		"certificate": certificateSecret(t, k.namespace, "*.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)),
		"keys":        keysSecret(k.namespace, fmt.Sprintf("hush-%d", k.serial)),
		"more": {ObjectMeta: metav1.ObjectMeta{Name: "more", Namespace: k.namespace}, Type: corev1.SecretTypeBasicAuth,
			Data: map[string][]byte{corev1.BasicAuthUsernameKey: []byte("bob"), corev1.BasicAuthPasswordKey: fmt.Appendf(nil, "hush-%d", k.serial)}},
	}
	return secrets
}

// broken are contents that cannot be used, by the name of the Secret.
var broken = map[string]map[string][]byte{
	"users":       {"htpasswd": []byte("ann:hush-plain\n")},
	"more":        {corev1.BasicAuthUsernameKey: []byte("b:ob"), corev1.BasicAuthPasswordKey: []byte("hush")},
	"certificate": {corev1.TLSCertKey: []byte("hush"), corev1.TLSPrivateKeyKey: []byte("hush")},
	"keys":        {accessKeyID: []byte("id")},
}

// doSecret rotates, breaks, deletes or annotates a Secret.
func (k *walk) doSecret(ctx context.Context, t *testing.T, s step) error {
	secret := k.goodSecrets(t)[s.On]
	if secret == nil {
		return fmt.Errorf("no Secret %q", s.On)
	}
	switch s.With {
	case "gone":
		return k.api.Delete(ctx, secret)
	case "annotated":
		patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"refreshed":"%d"}}}`, k.serial)
		return k.api.Patch(ctx, secret, client.RawPatch(types.MergePatchType, patch))
	case "broken":
		secret.Data = broken[s.On]
	}
	err := k.api.Update(ctx, secret)
	if apierrors.IsNotFound(err) {
		err = k.api.Create(ctx, secret)
	}
	return err
}

// child is a copy of the subject's child that a step names by kind, or by kind and name; nil where there is none.
func (k *walk) child(on string) client.Object {
	kind, name, named := strings.Cut(on, "/")
	there := k.before.childrenNamed(k.namespace, subject)
	for _, key := range slices.SortedFunc(maps.Keys(there), func(a, b objectKey) int { return strings.Compare(a.String(), b.String()) }) {
		if strings.HasSuffix(key.kind, "."+kind) && (!named || key.name == name) {
			return there[key].DeepCopyObject().(client.Object) //nolint:forcetypeassert // it is one
		}
	}
	return nil
}

// doRemoveChild deletes a child.
func (k *walk) doRemoveChild(ctx context.Context, _ *testing.T, s step) error {
	if child := k.child(s.On); child != nil {
		return client.IgnoreNotFound(k.api.Delete(ctx, child))
	}
	return nil
}

// doDrift changes a child by a merge patch.
func (k *walk) doDrift(ctx context.Context, _ *testing.T, s step) error {
	if child := k.child(s.On); child != nil {
		return client.IgnoreNotFound(k.api.Patch(ctx, child, client.RawPatch(types.MergePatchType, []byte(s.With)), client.FieldOwner("kubectl-edit")))
	}
	return nil
}

// doScale is `kubectl scale` of the Deployment or of the PackRegistry.
func (k *walk) doScale(ctx context.Context, _ *testing.T, s step) error {
	n, err := strconv.Atoi(s.With)
	if err != nil {
		return err
	}
	var target client.Object = &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: k.namespace, Name: subject}}
	if s.On == "PackRegistry" {
		if target, err = k.object(subject, `{}`); err != nil {
			return err
		}
	}
	scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: int32(n)}} //nolint:gosec // small
	return k.api.SubResource("scale").Update(ctx, target, client.WithSubResourceBody(scale), client.FieldOwner("kubectl"))
}

// doRestart ends the operator and starts it again, as another release if one is named.
func (k *walk) doRestart(_ context.Context, _ *testing.T, s step) (err error) {
	if s.With != "" {
		k.release = release{s.With, "registry:" + s.With}
	}
	if err := k.first.stop(); err != nil {
		return err
	}
	k.first, err = startWalkOperator(k.operator, k.clock, k.release, k.first.installation, k.first.namespaces...)
	return err
}

// doKill lets the operator die at one of its next writes: before it arrives, or after.
func (k *walk) doKill(_ context.Context, _ *testing.T, s step) error {
	n, err := strconv.Atoi(s.With)
	if err != nil {
		return err
	}
	k.first.wire.killAfter(n, s.On == "arrives")
	return nil
}

// doSecond starts a second operator, of another release, for the subject's namespace or for all, or stops it.
func (k *walk) doSecond(_ context.Context, _ *testing.T, s step) (err error) {
	if k.second != nil {
		if err := k.second.stop(); err != nil {
			return err
		}
		k.second, k.followed = nil, true
	}
	switch s.With {
	case "namespace":
		k.second, err = startWalkOperator(k.operator, k.clock, release{"0.9.0", "registry:0"}, k.installation("second", k.namespace), k.namespace)
	case "cluster":
		k.second, err = startWalkOperator(k.operator, k.clock, release{"0.9.0", "registry:0"}, k.installation("second"), k.namespace, k.far)
	}
	return err
}

// doOdd makes, or deletes, another PackRegistry, which the API server may accept and the operator not understand.
func (k *walk) doOdd(ctx context.Context, _ *testing.T, s step) error {
	u, err := k.object("odd", `{"storage":{"inMemory":{}},"auth":{"anonymous":{}},"tls":{"disabled":{}}}`)
	if err != nil {
		return err
	}
	if s.With == "" {
		return client.IgnoreNotFound(k.api.Delete(ctx, u))
	}
	var patch map[string]any
	if err := json.Unmarshal([]byte(s.With), &patch); err != nil {
		return err
	}
	merge(u.Object, map[string]any{"spec": patch})
	return k.api.Create(ctx, u)
}

// doWait lets the time pass, in which the operator tries again and again.
func (k *walk) doWait(ctx context.Context, _ *testing.T, s step) error {
	n, err := strconv.Atoi(s.With)
	if err != nil {
		return err
	}
	for range n {
		if err := k.elapse(ctx, k.now); err != nil {
			return err
		}
		if err := waitUntil(ctx, settleLimit, "everything was tried again", func() error {
			for _, o := range k.operators() {
				if why := o.queue.busy(); why != "" {
					return errors.New(why)
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// mended is what a spec is patched with so that nothing of it is wrong.
const mended = `{"suspend":false,"replicas":1,"config":null,"ingress":null,"service":null,"pod":null,"image":null,"garbageCollection":null}`

// doMend takes all obstacles away, makes all Secrets good, and the spec too.
func (k *walk) doMend(ctx context.Context, t *testing.T, _ step) error {
	if err := k.clearObstacles(ctx); err != nil {
		return err
	}
	for name := range broken {
		if err := k.doSecret(ctx, t, step{On: name, With: "good"}); err != nil {
			return err
		}
	}
	if err := k.doSecond(ctx, t, step{}); err != nil {
		return err
	}
	if err := k.doOdd(ctx, t, step{}); err != nil {
		return err
	}
	return client.IgnoreNotFound(k.doEdit(ctx, t, step{With: mended}))
}
