package cursor

import (
	"context"
	"strings"
	"sync"
	"testing"

	"packregistry.dev/server/store"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/inmemory"
)

// meetingDriver lets the first reads of the cursors' key go on only when all replicas have begun theirs.
type meetingDriver struct {
	driver.Driver
	mu       sync.Mutex
	expected int
	met      chan struct{}
}

func (d *meetingDriver) Unwrap() driver.Driver { return d.Driver }

func (d *meetingDriver) Read(ctx context.Context, key string) ([]byte, driver.Version, error) {
	data, v, err := d.Driver.Read(ctx, key)
	if strings.HasSuffix(key, keyName) {
		d.mu.Lock()
		if d.expected--; d.expected == 0 {
			close(d.met)
		}
		d.mu.Unlock()
		<-d.met
	}
	return data, v, err
}

// Replicas that make the key at once end up with one key, and read each other's cursors.
func TestReplicasShareTheKeyOfCursors(t *testing.T) {
	d := &meetingDriver{Driver: inmemory.New(), expected: 2, met: make(chan struct{})}
	content, err := store.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	replicas := [2]Cipher{{Store: content}, {Store: content}}
	var sealed [2]string
	var group sync.WaitGroup
	for i := range replicas {
		group.Go(func() {
			var err error
			if sealed[i], err = replicas[i].Seal(t.Context(), "team/x"); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range replicas {
		for j, cursor := range sealed {
			if name, err := replicas[i].Open(t.Context(), cursor); err != nil || name != "team/x" {
				t.Errorf("replica %d reads the cursor of replica %d: %q, %v", i, j, name, err)
			}
		}
	}
}

// A key that is damaged is replaced, or passed over where nothing may be written: lists work, and links of before end.
func TestADamagedKeyOfCursors(t *testing.T) {
	for name, readOnly := range map[string]bool{"writable": false, "read-only": true} {
		t.Run(name, func(t *testing.T) {
			content, err := store.Open(t.Context(), inmemory.New())
			if err != nil {
				t.Fatal(err)
			}
			if err := content.WritePrivate(t.Context(), keyName, []byte("short")); err != nil {
				t.Fatal(err)
			}
			c := Cipher{Store: content, ReadOnly: readOnly}
			cursor, err := c.Seal(t.Context(), "team/x")
			if err != nil {
				t.Fatal(err)
			}
			if name, err := c.Open(t.Context(), cursor); err != nil || name != "team/x" {
				t.Errorf("%q, %v", name, err)
			}
			key, err := content.ReadPrivate(t.Context(), keyName)
			if err != nil || (string(key) == "short") != readOnly {
				t.Errorf("the stored key has %d bytes, %v", len(key), err)
			}
		})
	}
}
