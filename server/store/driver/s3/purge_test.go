package s3

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
)

func TestWhatIsDueOfAStream(t *testing.T) {
	before := time.Date(2026, 1, 8, 0, 0, 0, 0, time.UTC)
	old, young, older := before.Add(-time.Hour), before.Add(time.Hour), before.Add(-30*24*time.Hour)
	for name, tt := range map[string]struct {
		leftover
		want remainder
	}{
		"a step that nobody recorded":               {leftover{segments: 1, newest: old}, discardStream},
		"an upload that goes on":                    {leftover{segments: 2, newest: young}, keepStream},
		"discarded a while ago":                     {leftover{recorded: old, discarded: true}, forgetStream},
		"discarded just now":                        {leftover{recorded: young, discarded: true}, keepStream},
		"written to after it was discarded":         {leftover{segments: 1, newest: young, recorded: young, discarded: true}, discardStream},
		"committed where a blob was, and removed":   {leftover{recorded: old}, forgetStream},
		"the same, just now":                        {leftover{recorded: young}, keepStream},
		"committed":                                 {leftover{segments: 3, newest: older, recorded: older}, keepStream},
		"committed just now":                        {leftover{segments: 3, newest: young, recorded: young}, keepStream},
		"committed when what is old now was begun":  {leftover{segments: 3, newest: old, recorded: old}, discardStream},
		"written to after it was committed":         {leftover{segments: 3, newest: young, recorded: older}, discardStream},
		"written to in the second of its commit":    {leftover{segments: 3, newest: older.Add(time.Second), recorded: older}, keepStream},
		"nothing at all, which cannot be but is ok": {leftover{}, keepStream},
	} {
		if got := tt.due(before.Add(-48*time.Hour), before); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// chunk writes one step of a stream.
func chunk(t *testing.T, d *Driver, id, text string, state []byte) []byte {
	t.Helper()
	s, err := d.Stream(t.Context(), id, state)
	must(t, err)
	_, err = s.Write([]byte(text))
	must(t, err)
	state, err = s.Checkpoint(t.Context())
	must(t, errors.Join(err, s.Close()))
	return state
}

func count(all []string, prefix string) (n int) {
	for _, key := range all {
		if strings.HasPrefix(key, prefix) {
			n++
		}
	}
	return n
}

// Whatever a process left of its streams is gone after two purges, and what was committed stays.
func TestPurgeOfStreams(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	large := strings.Repeat("x", minSegment)

	// Committed, with a step in between whose process died before it was recorded.
	state := chunk(t, d, "committed", large, nil)
	chunk(t, d, "committed", large+"unrecorded", state)
	kept, err := d.Stream(ctx, "committed", state)
	must(t, err)
	_, err = kept.Write([]byte("the end"))
	must(t, errors.Join(err, kept.Commit(ctx, "b/kept"), kept.Discard(ctx), kept.Close()))
	if n := count(keys(t, d, ""), "o/committed/"); n != 2 {
		t.Errorf("%d segments of an object that consists of two", n)
	}
	// The first step of an upload that nobody ever heard of.
	chunk(t, d, "unrecorded", "x", nil)
	// A commit where the blob was already.
	must(t, d.Create(ctx, "b/there", []byte("x"), driver.Durable))
	late, err := d.Stream(ctx, "late", chunk(t, d, "late", "x", nil))
	must(t, err)
	if err := late.Commit(ctx, "b/there"); !errors.Is(err, driver.ErrExist) {
		t.Error(err)
	}
	must(t, errors.Join(late.Discard(ctx), late.Close()))
	// A request that was stopped, and went on after the upload was cancelled.
	must(t, d.Discard(ctx, "stopped"))
	chunk(t, d, "stopped", "x", nil)
	// A process that died between its decision and the object.
	state = chunk(t, d, "died", "content", nil)
	died, err := d.Stream(ctx, "died", state)
	must(t, err)
	_, err = d.decide(ctx, "died", commitRecord{Key: "b/died", Segments: died.(*stream).state.Segments}) //nolint:forcetypeassert // it is one
	must(t, err)
	// Names of others.
	s.Put(t, d.o.Bucket, d.prefix+"o/.DS_Store", nil)
	s.Put(t, d.o.Bucket, d.prefix+"o/@eaDir/x", nil)
	s.Put(t, d.o.Bucket, d.prefix+"v/.DS_Store", nil)

	if n, err := d.Purge(ctx, time.Time{}, time.Now().Add(-time.Hour), false); n != 1 || err != nil { // "stopped"
		t.Errorf("purged %d of what may still go on, %v", n, err)
	}
	for range 3 {
		_, err := d.Purge(ctx, time.Time{}, time.Now().Add(time.Hour), false)
		must(t, err)
	}
	left := keys(t, d, "")
	left = slices.DeleteFunc(left, func(key string) bool {
		return strings.HasPrefix(key, "o/committed/") || strings.HasPrefix(key, "o/died/")
	})
	want := []string{"b/died", "b/kept", "b/there", "o/.DS_Store", "o/@eaDir/x", probeKey, "v/.DS_Store", "v/committed", "v/died"}
	slices.Sort(left)
	if !slices.Equal(left, want) {
		t.Errorf("left: %v, want %v", left, want)
	}
	for key, size := range map[string]int64{"b/kept": minSegment + 7, "b/died": 7} {
		info, err := d.Stat(ctx, key)
		missing, broken := d.Incomplete(ctx, key)
		if err != nil || info.Size != size || missing != "" || broken != nil {
			t.Errorf("%s: %v, %v, %q, %v", key, info, err, missing, broken)
		}
	}
	must(t, d.Reclaim(ctx, "b/kept"))
	must(t, d.Reclaim(ctx, "b/died"))
	_, err = d.Purge(ctx, time.Time{}, time.Now().Add(time.Hour), false)
	must(t, err)
	if all := keys(t, d, ""); count(all, "o/committed")+count(all, "o/died")+count(all, "v/c")+count(all, "v/d") > 0 {
		t.Errorf("left of what was reclaimed: %v", all)
	}
}

// What cannot be removed holds up nothing else.
func TestPurgeGoesOnAfterADamagedRecord(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	for _, id := range []string{"a", "b", "c"} {
		chunk(t, d, id, "x", nil)
	}
	must(t, d.Create(ctx, commitRecordKey("b"), []byte("damaged"), driver.Durable))
	n, err := d.Purge(ctx, time.Time{}, time.Now().Add(time.Hour), false)
	if n != 2 || !errors.Is(err, driver.ErrPartly) || !strings.Contains(err.Error(), "stream b") {
		t.Errorf("purged %d, %v", n, err)
	}
	if all := keys(t, d, ""); count(all, "o/") != 1 || count(all, "o/b/") != 1 {
		t.Errorf("left: %v", all)
	}
}

// Who may not list incomplete uploads can remove what streams left behind all the same, and hears of the other.
func TestPurgeGoesOnWithoutTheRightToListUploads(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	o := options(s, s.Bucket(t))
	o.Endpoint = p.Endpoint
	d := open(t, o)
	chunk(t, d, "a", "x", nil)
	p.Inject(func(r *http.Request) testserver.Fault {
		if r.Method == http.MethodGet && r.URL.Query().Has("uploads") {
			return testserver.Denied
		}
		return testserver.None
	})
	n, err := d.Purge(t.Context(), time.Time{}, time.Now().Add(time.Hour), false)
	if n != 1 || !errors.Is(err, driver.ErrPartly) || !strings.Contains(err.Error(), "list incomplete uploads") {
		t.Errorf("purged %d, %v", n, err)
	}
}

// Whoever goes on with an upload whose bytes are gone is answered so, and nothing points to them.
func TestACommitLooksForItsSegments(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	state := chunk(t, d, "id", strings.Repeat("x", minSegment), nil)
	for i, key := range keys(t, d, "o/id/") {
		must(t, d.Delete(ctx, key))
		resumed, err := d.Stream(ctx, "id", state)
		must(t, err)
		_, err = resumed.Write(fmt.Append(nil, i))
		must(t, err)
		if err := resumed.Commit(ctx, "b/x"); !errors.Is(err, driver.ErrNotExist) {
			t.Errorf("%v", err)
		}
		must(t, resumed.Close())
	}
	if _, err := d.Stat(ctx, "b/x"); !errors.Is(err, driver.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
