package controllers

import (
	"encoding/json"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// unchanged remembers of children what an apply made no difference to: what is owned of them is what the API server, or an
// admission webhook, makes of what is wanted, though it is not the same. It is by what is owned, where the cache has a digest of that, so that
// a status that changes is no reason to apply again; else by the object's version.
type unchanged struct {
	mu         sync.Mutex
	byRegistry map[types.NamespacedName]map[types.UID]madeOf
}

// ownedOf stands for what is owned of a child.
func ownedOf(live client.Object) string {
	if owned := live.GetAnnotations()[annotationOwned]; owned != "" && owned != ownedUnknown {
		return owned
	}
	return "version " + live.GetResourceVersion()
}

// madeOf says, by digests, that what is owned is made of what is wanted.
type madeOf struct{ owned, wanted string }

// remember notes that applying what is wanted left a child as it was.
func (u *unchanged) remember(registry types.NamespacedName, live client.Object, wanted string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.byRegistry == nil {
		u.byRegistry = map[types.NamespacedName]map[types.UID]madeOf{}
	}
	if u.byRegistry[registry] == nil {
		u.byRegistry[registry] = map[types.UID]madeOf{}
	}
	u.byRegistry[registry][live.GetUID()] = madeOf{ownedOf(live), wanted}
}

// isMadeOf says whether applying what is wanted made no difference to a child that is as it was then.
func (u *unchanged) isMadeOf(registry types.NamespacedName, live client.Object, wanted string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	known, ok := u.byRegistry[registry][live.GetUID()]
	return ok && known == madeOf{ownedOf(live), wanted}
}

// recall puts what was wanted in the place of what is owned, where this is made of it. live is a copy of what the cache holds.
func (u *unchanged) recall(registry types.NamespacedName, live client.Object) {
	u.mu.Lock()
	defer u.mu.Unlock()
	known, ok := u.byRegistry[registry][live.GetUID()]
	if annotations := live.GetAnnotations(); ok && annotations[annotationOwned] == known.owned {
		annotations[annotationOwned] = known.wanted
		live.SetAnnotations(annotations)
	}
}

func (u *unchanged) forget(registry types.NamespacedName) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.byRegistry, registry)
}

// leftAsItWas says whether an apply changed nothing, by the answer, which the client writes into what was applied.
func leftAsItWas(live client.Object, answer runtime.ApplyConfiguration) bool {
	data, err := json.Marshal(answer)
	if err != nil {
		return false
	}
	var object struct {
		Metadata struct{ UID, ResourceVersion string }
	}
	if err := json.Unmarshal(data, &object); err != nil {
		return false
	}
	return object.Metadata.UID == string(live.GetUID()) && object.Metadata.ResourceVersion == live.GetResourceVersion()
}
