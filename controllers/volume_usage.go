package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"packregistry.dev/api/v1alpha1"
)

// Space is how full a volume is, in bytes.
type Space struct {
	Free uint64 `json:"free"`
	Size uint64 `json:"size"`
}

// A volume is nearly full from so much of it on, and not any more below a little less, in percent: in between it is what
// it was, so that the condition does not come and go with every push.
const (
	nearlyFullFrom = 95
	nearlyFullTill = 92
	// spacePoll is how often a pod is asked.
	spacePoll = time.Minute
)

// Bounds of an answer. An honest one is a few hundred bytes.
const (
	answerBytes = 64 << 10
	headerBytes = 16 << 10
	// largestVolume is more than any volume has, and little enough to compute with.
	largestVolume = 1 << 60
)

// AskSpace asks a registry's pod, by the address of its debug port, how full its volume is. Whoever may make pods may answer in
// its place, so that the answer is a claim: it is followed nowhere, bounded, and means nothing but what is said of a volume.
func AskSpace(ctx context.Context, addr string) (Space, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/status", nil)
	if err != nil {
		return Space{}, err
	}
	// Asked once a minute: a connection for each question costs less than as many that are kept.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, MaxResponseHeaderBytes: headerBytes},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		return Space{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Space{}, fmt.Errorf("answered with status %d", response.StatusCode)
	}
	var status struct {
		Storage Space `json:"storage"`
	}
	if err = json.NewDecoder(io.LimitReader(response.Body, answerBytes)).Decode(&status); err != nil {
		return Space{}, errors.New("answered with what is no status")
	}
	if s := status.Storage; s.Size > largestVolume || s.Free > s.Size {
		return Space{}, errors.New("says of its volume what cannot be")
	}
	return status.Storage, nil
}

// servingPod is a pod that can be asked, or nil.
func (o *observed) servingPod() *corev1.Pod {
	for i := range o.pods {
		pod := &o.pods[i]
		if pod.DeletionTimestamp == nil && pod.Status.PodIP != "" && pod.Status.Phase == corev1.PodRunning {
			return pod
		}
	}
	return nil
}

// volumeUsage is what the status says of the claim's volume: what it holds, and what of its file system is used, in whole percent
// so that the status does not follow each push.
func volumeUsage(o *observed) (capacity, used *resource.Quantity) {
	if o.claim == nil {
		return nil, nil
	}
	if size, ok := o.claim.Status.Capacity[corev1.ResourceStorage]; ok {
		capacity = &size
	}
	if o.unanswered[probeSpace] {
		used = o.registry.Status.Used
	}
	if o.space != nil {
		const mebibyte = 1 << 20
		bytes := o.space.Size / 100 * percentUsed(*o.space)
		used = resource.NewQuantity(int64(min(bytes/mebibyte*mebibyte, math.MaxInt64)), resource.BinarySI) //nolint:gosec // bounded
	}
	return capacity, used
}

// nearlyFull says whether pushes will soon fail for want of room.
func nearlyFull(o *observed) bool {
	before := meta.FindStatusCondition(o.registry.Status.Conditions, v1alpha1.ConditionStorageReady)
	wasNearlyFull := before != nil && before.Status == metav1.ConditionFalse && before.Reason == v1alpha1.ReasonNearlyFull
	if o.space == nil {
		return o.unanswered[probeSpace] && wasNearlyFull
	}
	limit := float64(nearlyFullFrom)
	if wasNearlyFull {
		limit = nearlyFullTill
	}
	used := o.space.Size - min(o.space.Free, o.space.Size)
	return float64(used) >= float64(o.space.Size)*limit/100
}
