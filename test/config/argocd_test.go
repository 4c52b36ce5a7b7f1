// Package config tests what config/ offers to other tools.
package config

import (
	"os"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// healthScript is what config/argocd gives Argo CD.
func healthScript(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../config/argocd/argocd-cm.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cm struct {
		Data map[string]string `json:"data"`
	}
	if err := yaml.Unmarshal(text, &cm); err != nil {
		t.Fatal(err)
	}
	script := cm.Data["resource.customizations.health.packregistry.dev_PackRegistry"]
	if script == "" {
		t.Fatal("no script for PackRegistry")
	}
	return script
}

// health runs a script as Argo CD does: the object is the global obj, and a table with status and message is returned.
func health(t *testing.T, script string, object map[string]any) (status, message string) {
	t.Helper()
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	lua.OpenBase(state)
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		t.Fatal(err)
	}
	result, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		t.Fatalf("the script returned %s", state.Get(-1).Type())
	}
	return lua.LVAsString(result.RawGetString("status")), lua.LVAsString(result.RawGetString("message"))
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, v := range value {
			table.RawSetString(key, toLua(state, v))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, v := range value {
			table.Append(toLua(state, v))
		}
		return table
	case string:
		return lua.LString(value)
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	}
	return lua.LNil
}

// Argo CD and kstatus (which Flux and Helm use) come to the same result.
func TestArgoCDHealth(t *testing.T) {
	script := healthScript(t)
	asKstatus := map[status.Status]string{status.CurrentStatus: "Healthy", status.InProgressStatus: "Progressing", status.FailedStatus: "Degraded"}
	for _, tt := range []struct{ name, rest, want, message string }{
		{"never looked at", "", "Progressing", "the operator has not looked at this generation yet"},
		{"new", "status: {observedGeneration: -1, conditions: [{type: Ready, status: Unknown, reason: Progressing, message: waiting}]}", "Progressing", "the operator has not looked at this generation yet"},
		{"an earlier generation", "status: {observedGeneration: 1, conditions: [{type: Ready, status: 'True', message: serves}]}", "Progressing", "the operator has not looked at this generation yet"},
		{"serves", "status: {observedGeneration: 2, conditions: [{type: StorageReady, status: 'True', message: bound}, {type: Ready, status: 'True', message: serves}]}", "Healthy", "serves"},
		{"degraded", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True', message: serves}, {type: Degraded, status: 'True', message: nearly full}]}", "Healthy", "nearly full"},
		{"waits", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', message: no Secret}, {type: Reconciling, status: 'True', message: no Secret}]}", "Progressing", "no Secret"},
		{"stalled", "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'False', message: bad}, {type: Stalled, status: 'True', message: bad config}]}", "Degraded", "bad config"},
		{"no condition", "status: {observedGeneration: 2}", "Progressing", "not ready yet"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &unstructured.Unstructured{}
			text := "apiVersion: packregistry.dev/v1alpha1\nkind: PackRegistry\nmetadata: {name: packs, namespace: team, generation: 2}\nspec: {}\n" + tt.rest
			if err := yaml.Unmarshal([]byte(text), u); err != nil {
				t.Fatal(err)
			}
			got, message := health(t, script, u.Object)
			if got != tt.want || message != tt.message {
				t.Errorf("%s: %s", got, message)
			}
			if tt.rest == "" || tt.name == "no condition" {
				return // kstatus takes an object without conditions for one of a kind that has none
			}
			computed, err := status.Compute(u)
			if err != nil {
				t.Fatal(err)
			}
			if asKstatus[computed.Status] != got {
				t.Errorf("kstatus says %s, and Argo CD %s", computed.Status, got)
			}
		})
	}
}

func TestArgoCDHealthOfWhatIsSuspendedOrGoes(t *testing.T) {
	script := healthScript(t)
	object := map[string]any{
		"metadata": map[string]any{"generation": int64(2)},
		"spec":     map[string]any{"suspend": true},
		"status":   map[string]any{"observedGeneration": int64(2)},
	}
	if got, _ := health(t, script, object); got != "Suspended" {
		t.Errorf("suspended: %s", got)
	}
	object["metadata"] = map[string]any{"generation": int64(2), "deletionTimestamp": "2030-01-01T00:00:00Z"}
	if got, _ := health(t, script, object); got != "Progressing" {
		t.Errorf("being deleted: %s", got)
	}
}
