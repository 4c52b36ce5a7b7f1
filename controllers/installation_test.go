package controllers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"packregistry.dev/api/v1alpha1"
)

func TestLeaderLease(t *testing.T) {
	seen := map[string]string{}
	for _, i := range []Installation{
		{Namespace: "a", Name: "one"}, {Namespace: "a", Name: "two"},
		{Namespace: "a", Name: "one", Namespaces: []string{"x"}}, {Namespace: "a", Name: "one", Namespaces: []string{"x", "y"}},
	} {
		name := i.LeaderLease()
		if before, ok := seen[name]; ok {
			t.Errorf("%+v and %s share the Lease %s", i, before, name)
		}
		seen[name] = fmt.Sprintf("%+v", i)
	}
	a, b := Installation{Name: "n", Namespaces: []string{"x", "y"}}, Installation{Name: "n", Namespaces: []string{"y", "x", "y"}}
	if a.LeaderLease() != b.LeaderLease() {
		t.Error("the order of the namespaces makes another Lease")
	}
}

// twoOperators brings a registry to Ready under one operator and begins a second one.
func twoOperators(t *testing.T, first, second Installation) (one, two *operator, r *v1alpha1.PackRegistry) {
	t.Helper()
	needAPI(t)
	namespace := newNamespace(t)
	for _, i := range []*Installation{&first, &second} {
		i.Namespace = namespace // its Leases of all namespaces go there
		if len(i.Namespaces) > 0 {
			i.Namespaces = []string{namespace}
		}
	}
	must(t, api.Create(t.Context(), usersSecret(namespace, htpasswdLine(t, "ann", "secret"))))
	must(t, api.Create(t.Context(), certificateSecret(t, namespace, "packs.example.com", time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0))))
	one = startInstallation(t, first, "1.0.0", "registry:one", namespace, interceptor.Funcs{})
	r = newRegistry(namespace)
	must(t, api.Create(t.Context(), r))
	bind(t, namespace, "packs-data")
	rollOut(t, namespace, "packs")
	wantOperator(t, r, first.Name)
	one.settle(t)
	two = startInstallation(t, second, "2.0.0", "registry:two", namespace, interceptor.Funcs{})
	return one, two, r
}

func wantOperator(t *testing.T, r *v1alpha1.PackRegistry, name string) {
	t.Helper()
	eventually(t, "operator "+name+" looks after it", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if live.Status.Operator == nil || live.Status.Operator.Name != name {
			return fmt.Errorf("%+v", live.Status.Operator)
		}
		return nil
	})
}

func wantImage(t *testing.T, r *v1alpha1.PackRegistry, image string) {
	t.Helper()
	eventually(t, "the pods run "+image, func() error {
		if got := get(t, r.Namespace, r.Name, &appsv1.Deployment{}).Spec.Template.Spec.Containers[0].Image; got != image {
			return errors.New(got)
		}
		return nil
	})
}

// wantLeftAlone waits for the event by which an operator says that it leaves a registry to another.
func wantLeftAlone(t *testing.T, r *v1alpha1.PackRegistry, by, to string) {
	t.Helper()
	eventually(t, by+" says that it leaves it alone", func() error {
		list := &eventsv1.EventList{}
		if err := api.List(t.Context(), list, client.InNamespace(r.Namespace)); err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.Regarding.UID == r.UID && e.Reason == v1alpha1.ReasonOtherOperator && e.Type == corev1.EventTypeWarning &&
				strings.Contains(e.Note, "/"+by+" leaves") && strings.Contains(e.Note, "/"+to+",") {
				return nil
			}
		}
		return fmt.Errorf("%d other events", len(list.Items))
	})
}

// Of two operators the one that was there goes on, whatever the other would render, and neither writes anything at rest.
func TestAPITwoOperatorsDoNotFight(t *testing.T) {
	t.Parallel()
	one, two, r := twoOperators(t, Installation{Name: "one"}, Installation{Name: "two"})
	wantLeftAlone(t, r, "two", "one")
	one.settle(t)
	before := versions(t, r.Namespace)
	// Each look by one is news for the other: if both were at work, this would never come to rest.
	patchSpec(t, r, `{"log":{"level":"debug"}}`)
	eventually(t, "the Deployment follows", func() error {
		if now := versions(t, r.Namespace); now["*v1.Deployment/packs"] == before["*v1.Deployment/packs"] {
			return errors.New("not yet")
		}
		return nil
	})
	one.settle(t)
	if got := two.writes.Load(); got != 0 {
		t.Errorf("the second one wrote %d times", got)
	}
	wantImage(t, r, "registry:one")
	// The first one ends without a word, and is followed when that shows.
	one.stop()
	wantOperator(t, r, "two")
	wantImage(t, r, "registry:two")
}

// One that was installed for some namespaces takes over from one for all, and leaves to that again when it goes.
func TestAPIOperatorOfANamespaceGoesBeforeThatOfTheCluster(t *testing.T) {
	t.Parallel()
	one, two, r := twoOperators(t, Installation{Name: "cluster"}, Installation{Name: "namespaced", Namespaces: []string{"its own"}})
	wantOperator(t, r, "namespaced")
	wantImage(t, r, "registry:two")
	wantLeftAlone(t, r, "cluster", "namespaced")
	one.settle(t)
	writes := one.writes.Load()
	patchSpec(t, r, `{"log":{"level":"debug"}}`)
	two.settle(t)
	if got := one.writes.Load() - writes; got != 0 {
		t.Errorf("the one of the cluster wrote %d times", got)
	}
	two.stop()
	wantOperator(t, r, "cluster")
	wantImage(t, r, "registry:one")
}

// A Lease says nothing by itself: who may make one in a namespace cannot keep the operator away from it.
func TestAPILeasesOfUsersKeepNoOperatorAway(t *testing.T) {
	t.Parallel()
	_, r := ready(t)
	now := metav1.NowMicro()
	other := &v1alpha1.OperatorReference{Namespace: "elsewhere", Name: "forged", Scope: v1alpha1.OperatorScopeNamespaces}
	must(t, api.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: r.Namespace, Name: aliveLease(other, r.Namespace).Name},
		Spec: coordinationv1.LeaseSpec{RenewTime: &now}}))
	patchSpec(t, r, `{"headers":{"X-Test":["1"]}}`)
	eventually(t, "the operator goes on", func() error {
		live := get(t, r.Namespace, r.Name, &v1alpha1.PackRegistry{})
		if live.Status.ObservedGeneration != live.Generation {
			return fmt.Errorf("generation %d", live.Status.ObservedGeneration)
		}
		return nil
	})
	wantOperator(t, r, "packregistry")
}
