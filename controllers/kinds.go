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

	mu      sync.Mutex
	looked  bool
	watched map[schema.GroupKind]watchedKind
}

type watchedKind struct {
	schema.GroupVersionKind
	// seen is when the API server last said that it serves this version.
	seen time.Time
}

// kindAge bounds how long a version that is served no more goes unnoticed, while registries use it.
const kindAge = 5 * time.Minute

// find returns a kind with the version to use, and begins to watch it; empty where the cluster lacks the kind.
func (k *optionalKinds) find(ctx context.Context, kind schema.GroupKind) (schema.GroupVersionKind, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.findLocked(ctx, kind, k.age)
}

// confirm is find for what may just have gone. Many registries may ask at once.
func (k *optionalKinds) confirm(ctx context.Context, kind schema.GroupKind) (schema.GroupVersionKind, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.findLocked(ctx, kind, time.Second)
}

func (k *optionalKinds) findLocked(ctx context.Context, kind schema.GroupKind, age time.Duration) (schema.GroupVersionKind, error) {
	if known, ok := k.watched[kind]; ok {
		if time.Since(known.seen) < age {
			return known.GroupVersionKind, nil
		}
		served, err := k.served(ctx, known.GroupVersionKind)
		if err != nil {
			log.FromContext(ctx).Info("cannot find out whether an optional kind is still there", "kind", known.String(), "error", err.Error())
			served = true // as it was
		}
		if served {
			known.seen = time.Now()
			k.watched[kind] = known
			return known.GroupVersionKind, nil
		}
		k.forget(ctx, kind)
	}
	for _, version := range children.OptionalVersions[kind] {
		gvk := kind.WithVersion(version)
		served, err := k.served(ctx, gvk)
		if err != nil {
			return schema.GroupVersionKind{}, fmt.Errorf("find out whether the cluster has %s: %w", kind, err)
		}
		if !served {
			continue
		}
		if err := k.controller.Watch(source.Kind[client.Object](k.cache, emptyOfKind(gvk), calm(handler.EnqueueRequestsFromMapFunc(byLabel)))); err != nil {
			return gvk, err
		}
		log.FromContext(ctx).Info("the cluster has an optional kind", "kind", gvk.String())
		k.watched[kind] = watchedKind{gvk, time.Now()}
		return gvk, nil
	}
	return schema.GroupVersionKind{}, nil
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
func (k *optionalKinds) forget(ctx context.Context, kind schema.GroupKind) {
	gvk := k.watched[kind].GroupVersionKind
	log.FromContext(ctx).Info("the cluster has an optional kind no more", "kind", gvk.String())
	if err := k.cache.RemoveInformer(ctx, emptyOfKind(gvk)); err != nil {
		log.FromContext(ctx).Info("cannot end a watch", "kind", gvk.String(), "error", err.Error())
	}
	delete(k.watched, kind)
}

// known are the kinds that are watched. At first all are looked for: what an earlier operator made must be found, whether or
// not a registry asks for it now. That is done by a controller that runs, so that a kind that cannot be listed keeps nothing
// else from starting.
func (k *optionalKinds) known(ctx context.Context) []schema.GroupKind {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.looked {
		k.looked = true
		for kind := range children.OptionalVersions {
			if _, err := k.findLocked(ctx, kind, k.age); err != nil {
				log.FromContext(ctx).Info("cannot find out about an optional kind", "kind", kind.String(), "error", err.Error())
				k.looked = false
			}
		}
	}
	var kinds []schema.GroupKind
	for kind := range k.watched {
		kinds = append(kinds, kind)
	}
	return kinds
}
