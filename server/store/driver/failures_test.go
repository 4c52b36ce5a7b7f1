package driver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestFailures(t *testing.T) {
	var none, some, down, canceled Failures
	if !none.Note(t.Context(), nil) || none.Err() != nil {
		t.Error(none.Err())
	}
	for i := range 40 {
		err := fmt.Errorf("failure %d", i)
		if i%2 == 0 {
			err = nil
		}
		if !some.Note(t.Context(), err) {
			t.Fatalf("it ends at %d", i)
		}
	}
	if err := some.Err(); !errors.Is(err, ErrPartly) || !strings.Contains(err.Error(), "failure 9") ||
		strings.Contains(err.Error(), "failure 11") || !strings.Contains(err.Error(), "15 more") {
		t.Error(err)
	}
	n := 1
	for down.Note(t.Context(), errors.New("down")) {
		n++
	}
	if err := down.Err(); n != failuresInARow || err == nil || errors.Is(err, ErrPartly) {
		t.Errorf("%d in a row: %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if canceled.Note(ctx, ctx.Err()) || errors.Is(canceled.Err(), ErrPartly) {
		t.Error(canceled.Err())
	}
}
