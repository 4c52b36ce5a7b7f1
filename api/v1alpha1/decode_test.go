package v1alpha1_test

import (
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"packregistry.dev/api/v1alpha1"
)

const decodable = `{"apiVersion":"packregistry.dev/v1alpha1","kind":"PackRegistry",
 "metadata":{"name":"good","namespace":"team","uid":"1"},
 "spec":{"hosts":["good.example.com"],"garbageCollection":{"interval":"24h"},"storage":{"inMemory":{}},"auth":{"anonymous":{}},"tls":{"disabled":{}}},
 "status":{"observedGeneration":3}}`

// One object that cannot be decoded takes no other with it, and what can be decoded of it is there.
func TestAnUndecodableObjectIsDecodedAroundWhatIsWrong(t *testing.T) {
	for name, tt := range map[string]struct{ from, to, want string }{
		"a duration in days":         {`"24h"`, `"1d"`, "spec.garbageCollection.interval: "},
		"an empty duration":          {`"24h"`, `""`, "spec.garbageCollection.interval: "},
		"a number for a list":        {`["good.example.com"]`, `7`, "spec.hosts: "},
		"one element of a list":      {`["good.example.com"]`, `["other.example.com",7]`, "spec.hosts[1]: "},
		"a size that is none":        {`{"inMemory":{}}`, `{"persistentVolumeClaim":{"size":"1e1.5"}}`, "spec.storage.persistentVolumeClaim.size: "},
		"a limit that is none":       {`"storage"`, `"pod":{"resources":{"limits":{"cpu":"1","memory":"x"}}},"storage"`, "spec.pod.resources.limits.memory: "},
		"too large a number":         {`"storage"`, `"pod":{"tolerations":[{"tolerationSeconds":1e30}]},"storage"`, "spec.pod.tolerations[0].tolerationSeconds: "},
		"two at once":                {`"storage"`, `"replicas":"x","pod":{"tolerations":[{"tolerationSeconds":1e30}]},"storage"`, "spec.pod.tolerations[0].tolerationSeconds: "},
		"a status that nobody knows": {`{"observedGeneration":3}`, `{"certificate":{"notAfter":"yesterday"}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bad := strings.Replace(strings.Replace(decodable, tt.from, tt.to, 1), `"uid":"1"`, `"uid":"2"`, 1)
			if bad == decodable {
				t.Fatal("nothing was replaced")
			}
			scheme := runtime.NewScheme()
			if err := v1alpha1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			list := `{"apiVersion":"packregistry.dev/v1alpha1","kind":"PackRegistryList","items":[` + bad + "," + decodable + `]}`
			decoded, err := runtime.Decode(serializer.NewCodecFactory(scheme).UniversalDeserializer(), []byte(list))
			if err != nil {
				t.Fatal(err)
			}
			items := decoded.(*v1alpha1.PackRegistryList).Items
			if good := items[1]; good.DecodeError != "" || good.Spec.GarbageCollection.Interval.Hours() != 24 || good.Status.ObservedGeneration != 3 {
				t.Errorf("the other object is %+v", good)
			}
			got := items[0]
			if !strings.HasPrefix(got.DecodeError, tt.want) || (got.DecodeError == "") != (tt.want == "") {
				t.Errorf("the error is %q", got.DecodeError)
			}
			if got.Name != "good" || got.Spec.Auth.Anonymous == nil || got.Spec.TLS.Disabled == nil {
				t.Errorf("more is missing than is wrong: %+v", got)
			}
			if copied := got.DeepCopy(); copied.DecodeError != got.DecodeError {
				t.Error("a copy does not know")
			}
			// In a file, or wherever no API server has seen it, it is an error that says where.
			err = json.Unmarshal([]byte(strings.Replace(bad, `,"uid":"2"`, "", 1)), &v1alpha1.PackRegistry{})
			if err == nil || tt.want != "" && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("outside of a cluster: %v", err)
			}
		})
	}
}

func TestWhatIsNoObjectIsAnError(t *testing.T) {
	for _, text := range []string{`7`, `{"metadata":7}`, `{"metadata":{"uid":"1","generation":"x"}}`, `{"metadata":{"uid":"1"},"kind":7}`} {
		if err := json.Unmarshal([]byte(text), &v1alpha1.PackRegistry{}); err == nil {
			t.Errorf("%s is decoded", text)
		}
	}
}
