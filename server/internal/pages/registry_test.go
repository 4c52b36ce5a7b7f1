package pages

import "testing"

// TestStates holds the choices of the list to what the index calls them.
func TestStates(t *testing.T) {
	for chosen, want := range map[string]string{"": "enabled", "all": "", "current": "current", "deprecated": "deprecated", "disabled": "disabled", "unknown": "unknown"} {
		if got := state(chosen); got != want {
			t.Errorf("%q is %q to the index, want %q", chosen, got, want)
		}
	}
}
