package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"packregistry.dev/controllers/children"
)

// optionalKinds watches kinds that a cluster may lack, from when they are there until they are taken away. A nil one knows
// of none.
type optionalKinds struct {
	// discovery asks the API server each time; a RESTMapper would go on knowing what has gone.
	discovery  discovery.ServerResourcesInterfaceWithContext
	cache      cache.Cache
	controller controller.Controller
	// age is after how long it is asked again whether a kind is still there.
	age time.Duration

	// mu is held for a moment only, never while the API server is asked.
	mu      sync.Mutex
	watched map[schema.GroupKind]watchedKind
	asking  map[schema.GroupKind]*askedKind
	// first is how the first look for a kind went.
	first map[schema.GroupKind]firstLook
}

type firstLook int

const (
	notLooked firstLook = iota
	lookFailed
	lookedFor
)

// askedKind lets one at a time ask about a kind. Others go on with what is known, or wait for that one.
type askedKind struct {
	sync.Mutex
	// looked is when it was last asked, and absent and err what came of it.
	looked time.Time
	absent bool
	err    error
}

// Bounds of questions to the API server: how long one may take, and how long its answer holds where the kind is not there.
const (
	discoveryTimeout = 5 * time.Second
	absentAge        = time.Second
)

type watchedKind struct {
	schema.GroupVersionKind
	// seen is when the API server last said that it serves this version.
	seen time.Time
}

// discoveryTTL bounds how long a version that is served no more goes unnoticed, while registries use it.
const discoveryTTL = 5 * time.Minute

// find returns a kind with the version to use, and begins to watch it; empty where the cluster lacks the kind.
func (k *optionalKinds) find(ctx context.Context, kind schema.GroupKind) (schema.GroupVersionKind, error) {
	known, ok := k.lookup(kind)
	if ok && time.Since(known.seen) < k.age {
		return known.GroupVersionKind, nil
	}
	asked := k.ask(kind)
	if !asked.TryLock() {
		if ok {
			return known.GroupVersionKind, nil // somebody asks just now
		}
		asked.Lock()
	}
	defer asked.Unlock()
	return k.findAsking(ctx, kind, asked, k.age)
}

// confirm is find for what may just have gone. Many registries may ask at once.
func (k *optionalKinds) confirm(ctx context.Context, kind schema.GroupKind) (schema.GroupVersionKind, error) {
	asked := k.ask(kind)
	asked.Lock()
	defer asked.Unlock()
	return k.findAsking(ctx, kind, asked, time.Second)
}

func (k *optionalKinds) lookup(kind schema.GroupKind) (watchedKind, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.watched[kind]
	return known, ok
}

func (k *optionalKinds) ask(kind schema.GroupKind) *askedKind {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.asking == nil {
		k.asking = map[schema.GroupKind]*askedKind{}
	}
	if k.asking[kind] == nil {
		k.asking[kind] = &askedKind{}
	}
	return k.asking[kind]
}

// findAsking is find for who may ask about the kind.
func (k *optionalKinds) findAsking(ctx context.Context, kind schema.GroupKind, asked *askedKind, age time.Duration) (schema.GroupVersionKind, error) {
	known, ok := k.lookup(kind)
	if ok && time.Since(known.seen) < age {
		return known.GroupVersionKind, nil
	}
	if !ok && asked.absent && time.Since(asked.looked) < absentAge {
		return schema.GroupVersionKind{}, asked.err
	}
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	if ok {
		served, err := k.served(ctx, known.GroupVersionKind)
		if err != nil {
			log.FromContext(ctx).Info("cannot find out whether an optional kind is still there", "kind", known.String(), "error", err.Error())
			served = true // as it was
		}
		if served {
			k.keep(known.GroupVersionKind)
			return known.GroupVersionKind, nil
		}
		k.forget(ctx, known.GroupVersionKind)
	}
	found, err := k.begin(ctx, kind)
	asked.looked, asked.absent, asked.err = time.Now(), found.Empty(), err
	return found, err
}

// begin looks for a kind that is not watched, and watches it.
func (k *optionalKinds) begin(ctx context.Context, kind schema.GroupKind) (schema.GroupVersionKind, error) {
	for _, version := range children.OptionalVersions[kind] {
		gvk := kind.WithVersion(version)
		served, err := k.served(ctx, gvk)
		if err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("find out whether the cluster has %s: %w", kind, err)
		}
		if !served {
			continue
		}
		if err := k.controller.Watch(source.Kind[client.Object](k.cache, emptyOfKind(gvk), debounce(handler.EnqueueRequestsFromMapFunc(byLabel)))); err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("watch %s: %w", kind, err)
		}
		log.FromContext(ctx).Info("the cluster has an optional kind", "kind", gvk.String())
		k.keep(gvk)
		return gvk, nil
	}
	return schema.GroupVersionKind{}, nil
}

// keep records that a kind was seen.
func (k *optionalKinds) keep(gvk schema.GroupVersionKind) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.watched[gvk.GroupKind()] = watchedKind{gvk, time.Now()}
}

// served asks the API server whether it serves a version of a kind.
func (k *optionalKinds) served(ctx context.Context, gvk schema.GroupVersionKind) (bool, error) {
	list, err := k.discovery.ServerResourcesForGroupVersionWithContext(ctx, gvk.GroupVersion().String())
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Kind == gvk.Kind }), nil
}

// forget ends the watch of a kind, which could only fail from now on.
func (k *optionalKinds) forget(ctx context.Context, gvk schema.GroupVersionKind) {
	log.FromContext(ctx).Info("the cluster has an optional kind no more", "kind", gvk.String())
	if err := k.cache.RemoveInformer(ctx, emptyOfKind(gvk)); err != nil {
		log.FromContext(ctx).Info("cannot end a watch", "kind", gvk.String(), "error", err.Error())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.watched, gvk.GroupKind())
}

// known are the kinds that are watched. At first all are looked for: what an earlier operator made must be found, whether or
// not a registry asks for it now. That is done by a controller that runs, so that a kind that cannot be listed keeps nothing
// else from starting.
func (k *optionalKinds) known(ctx context.Context) []schema.GroupKind {
	for kind := range children.OptionalVersions {
		k.mu.Lock()
		first := k.first[kind]
		k.mu.Unlock()
		if first == lookedFor {
			continue
		}
		asked := k.ask(kind)
		if first == notLooked {
			asked.Lock()
		} else if !asked.TryLock() {
			continue // one is enough to try again
		}
		k.lookFirst(ctx, kind, asked)
		asked.Unlock()
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	var kinds []schema.GroupKind
	for kind := range k.watched {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, byKind)
	return kinds
}

// lookFirst looks for a kind that was not looked for yet.
func (k *optionalKinds) lookFirst(ctx context.Context, kind schema.GroupKind, asked *askedKind) {
	result := lookedFor
	if _, err := k.findAsking(ctx, kind, asked, k.age); err != nil {
		log.FromContext(ctx).Info("cannot find out about an optional kind", "kind", kind.String(), "error", err.Error())
		result = lookFailed
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.first == nil {
		k.first = map[schema.GroupKind]firstLook{}
	}
	k.first[kind] = result
}
