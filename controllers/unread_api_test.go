package controllers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// unreadable is a client for which reading some kinds fails.
type unreadable struct {
	client.Client
	fails func(o client.Object) bool
}

func (u unreadable) Get(ctx context.Context, key client.ObjectKey, into client.Object, opts ...client.GetOption) error {
	if u.fails(into) {
		return apierrors.NewInternalError(errors.New("cannot be read now"))
	}
	return u.Client.Get(ctx, key, into, opts...)
}

// What cannot be read keeps nobody from protecting packs and following users: what is not known is left as it is, the rest is
// carried out.
func TestAPIPacksAndUsersAreSafeWhateverCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fails           func(client.Object) bool
		claim, accounts bool
	}{
		"a NetworkPolicy": {func(o client.Object) bool { _, ok := o.(*networkingv1.NetworkPolicy); return ok }, true, true},
		"a Deployment":    {func(o client.Object) bool { _, ok := o.(*appsv1.Deployment); return ok }, true, true},
		"a claim":         {func(o client.Object) bool { _, ok := o.(*corev1.PersistentVolumeClaim); return ok }, false, true},
		"Secrets":         {func(o client.Object) bool { _, ok := o.(*corev1.Secret); return ok }, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, r := ready(t)
			patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Delete"}}}`)
			wantOwners(t, r, 1)
			o.settle(t)
			o.stop()
			before := htpasswdOf(t, r)
			var broken atomic.Bool
			broken.Store(true)
			me := Installation{Namespace: "packregistry-system", Name: "packregistry", Namespaces: []string{r.Namespace}}
			startInstallation(t, me, "1.0.0", "registry:test", r.Namespace, interceptor.Funcs{}, func(r *Reconciler) {
				r.Client = unreadable{r.Client, func(o client.Object) bool { return broken.Load() && tt.fails(o) }}
			})
			patchSpec(t, r, `{"storage":{"persistentVolumeClaim":{"deletionPolicy":"Retain"}}}`)
			line := htpasswdLine(t, "ann", "other")
			users := get(t, r.Namespace, "users", &corev1.Secret{})
			users.Data["htpasswd"] = []byte(line)
			must(t, api.Update(t.Context(), users))
			if tt.claim {
				wantOwners(t, r, 0)
			}
			if tt.accounts {
				wantUsers(t, r, line)
			} else if now := htpasswdOf(t, r); now != before {
				t.Error("users were written though they could not be read")
			}
			broken.Store(false)
			wantOwners(t, r, 0)
			wantUsers(t, r, line)
		})
	}
}
