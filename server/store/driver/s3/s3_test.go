package s3

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"packregistry.dev/internal/testserver"
	"packregistry.dev/server/store/driver"
	"packregistry.dev/server/store/driver/drivertest"
)

func options(s *testserver.S3, bucket string) Options {
	return Options{Bucket: bucket, Region: s.Region, Endpoint: s.Endpoint, PathStyle: true, AccessKey: s.AccessKey, SecretKey: s.SecretKey,
		Root: "/registry", PartSize: minPart, MaxBackoff: 50 * time.Millisecond}
}

func open(t testing.TB, o Options) *Driver {
	t.Helper()
	d, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDriver(t *testing.T) {
	s := testserver.StartS3(t)
	drivertest.Run(t, func(t *testing.T) driver.Driver { return open(t, options(s, s.Bucket(t))) })
}

// The server's own disk is full.
func TestAFullServer(t *testing.T) {
	volume := testserver.SmallVolume(t, 24)
	s := testserver.StartS3In(t, volume.Dir, testserver.FreeAddr(t))
	o := options(s, s.Bucket(t))
	o.MaxBackoff = time.Millisecond
	drivertest.RunFull(t, open(t, o), volume.Fill, volume.Release)
}

// What a policy forbids is reported as that, never as absent: a caller would write over it.
func TestDenied(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	o := options(s, s.Bucket(t))
	o.Endpoint = p.Endpoint
	d := open(t, o)
	ctx := t.Context()
	must(t, d.Create(ctx, "k", []byte("kept"), driver.Durable))
	_, version, err := d.Read(ctx, "k")
	must(t, err)
	p.Inject(func(*http.Request) testserver.Fault { return testserver.Denied })
	for name, operation := range map[string]func() error{
		"read":    func() error { _, _, err := d.Read(ctx, "k"); return err },
		"stat":    func() error { _, err := d.Stat(ctx, "k"); return err },
		"open":    func() error { _, err := d.Open(ctx, "k"); return err },
		"list":    func() error { _, err := d.List(ctx, "l/", "", 10); return err },
		"create":  func() error { return d.Create(ctx, "new", nil, driver.Durable) },
		"replace": func() error { return d.Replace(ctx, "k", []byte("x"), version) },
		"delete":  func() error { return d.Delete(ctx, "k") },
		"stream": func() error {
			s, err := d.Stream(ctx, "id", nil)
			if err != nil {
				return err
			}
			_, err = s.Write(make([]byte, 12<<20))
			return errors.Join(err, s.Commit(ctx, "b/x"), s.Close())
		},
	} {
		err := operation()
		if err == nil || errors.Is(err, driver.ErrNotExist) || errors.Is(err, driver.ErrExist) || errors.Is(err, driver.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), s.SecretKey) {
			t.Errorf("%s: shows the secret key", name)
		}
	}
	p.Inject(func(*http.Request) testserver.Fault { return testserver.None })
	data, _, err := d.Read(ctx, "k")
	must(t, err)
	if string(data) != "kept" {
		t.Errorf("%q", data)
	}
}

// The same suite, while one call in seven goes wrong in one of the ways in which calls do.
func TestDriverThroughFaults(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	drivertest.Run(t, func(t *testing.T) driver.Driver {
		o := options(s, s.Bucket(t))
		o.Endpoint = p.Endpoint
		o.ResponseTimeout = time.Second
		p.Inject(func(*http.Request) testserver.Fault { return testserver.None })
		d := open(t, o)
		p.Inject(testserver.Randomly(uint64(len(t.Name())), 1.0/7, testserver.Error500, testserver.SlowDown, testserver.Lost, testserver.Hang,
			testserver.HalfRequest, testserver.HalfAnswer, testserver.Twice))
		return d
	})
	for _, f := range []testserver.Fault{testserver.Error500, testserver.SlowDown, testserver.Lost, testserver.Hang, testserver.HalfRequest, testserver.HalfAnswer, testserver.Twice} {
		if p.Happened()[f] == 0 {
			t.Errorf("%q never happened: %v", f, p.Happened())
		}
	}
}

// Every single call of a large upload and its download loses its answer once, or breaks off.
func TestEachCallMayBreak(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	content := bytes.Repeat([]byte("0123456789abcdef"), 12<<16) // 12 MiB: three parts
	for _, fault := range []testserver.Fault{testserver.Lost, testserver.Error500, testserver.HalfAnswer, testserver.HalfRequest, testserver.Twice} {
		t.Run(string(fault), func(t *testing.T) {
			o := options(s, s.Bucket(t))
			o.Endpoint = p.Endpoint
			p.Inject(func(*http.Request) testserver.Fault { return testserver.None })
			d := open(t, o)
			seen := map[string]bool{}
			p.Inject(func(r *http.Request) testserver.Fault {
				kind := r.Method + " " + r.URL.Query().Get("partNumber") + " " + r.Header.Get("Range")
				if seen[kind] {
					return testserver.None
				}
				seen[kind] = true
				return fault
			})
			stream, err := d.Stream(t.Context(), "id", nil)
			must(t, err)
			stream.CommitDirectly("b/x")
			_, err = stream.Write(content)
			must(t, err)
			must(t, errors.Join(stream.Commit(t.Context(), "b/x"), stream.Discard(t.Context()), stream.Close()))
			object, err := d.Open(t.Context(), "b/x")
			must(t, err)
			defer object.Close()
			got, err := io.ReadAll(object)
			must(t, err)
			if !bytes.Equal(got, content) {
				t.Error("the content differs")
			}
		})
	}
}

// A server that stays overloaded is reported as such, in the end.
func TestPersistentFailureEnds(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	o := options(s, s.Bucket(t))
	o.Endpoint, o.MaxBackoff = p.Endpoint, time.Millisecond
	d := open(t, o)
	p.Inject(func(*http.Request) testserver.Fault { return testserver.SlowDown })
	p.Reset()
	err := d.Create(t.Context(), "x", []byte("x"), driver.Durable)
	if err == nil || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("%v", err)
	}
	if n := len(p.Calls()); n != maxAttempts {
		t.Errorf("%d attempts, want %d", n, maxAttempts)
	}
	// What a server refuses for good is not tried again.
	p.Inject(func(*http.Request) testserver.Fault { return testserver.None })
	p.Reset()
	o.Bucket = "no-such-bucket"
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") || !strings.Contains(err.Error(), "no-such-bucket") {
		t.Errorf("%v", err)
	}
	if n := len(p.Calls()); n != 1 {
		t.Errorf("%d attempts at a bucket that is not there", n)
	}
	o.SecretKey = "wrong/and/secret"
	if _, err := New(t.Context(), o); err == nil || strings.Contains(err.Error(), "wrong/and/secret") {
		t.Errorf("%v", err)
	}
}

func TestWhatIsAskedOfTheServer(t *testing.T) {
	s := testserver.StartS3(t)
	p := testserver.StartProxy(t, s.Endpoint)
	for _, tt := range []struct {
		name   string
		change func(*Options)
		want   map[string]string
	}{
		{"nothing", func(*Options) {}, map[string]string{"X-Amz-Server-Side-Encryption": "", "X-Amz-Storage-Class": ""}},
		{"SSE-S3", func(o *Options) { o.Encrypt = true }, map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}},
		{"KMS", func(o *Options) { o.Encrypt, o.KMSKeyID = true, "alias/packs" },
			map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": "alias/packs"}},
		{"a storage class", func(o *Options) { o.StorageClass = "STANDARD_IA" }, map[string]string{"X-Amz-Storage-Class": "STANDARD_IA"}},
		{"no storage class", func(o *Options) { o.StorageClass = "NONE" }, map[string]string{"X-Amz-Storage-Class": ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(s, s.Bucket(t))
			o.Endpoint = p.Endpoint
			tt.change(&o)
			d := open(t, o)
			p.Reset()
			must(t, d.Create(t.Context(), "small", []byte("x"), driver.Durable))
			u := d.newUpload("large")
			_, err := u.Write(make([]byte, 2*minPart))
			must(t, err)
			must(t, u.finish(t.Context()))
			u.abandon()
			for _, call := range p.Calls() {
				begins := call.Method == http.MethodPut && call.Query == "x-id=PutObject" || call.Method == http.MethodPost && strings.HasPrefix(call.Query, "uploads")
				if !begins {
					continue
				}
				for name, want := range tt.want {
					if got := call.Header.Get(name); got != want {
						t.Errorf("%s %s?%s: %s is %q, want %q", call.Method, call.Path, call.Query, name, got, want)
					}
				}
				if !strings.HasPrefix(call.Path, "/"+o.Bucket+"/registry/") {
					t.Errorf("path %s is not below bucket and root", call.Path)
				}
			}
		})
	}
}

// (Only AWS is asked to delete on a condition; the calls are the same.)
func TestDeleteOnACondition(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	if err := d.DeleteUnchanged(ctx, "x", `"1"`); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("another server is believed: %v", err)
	}
	must(t, d.probeDelete(ctx))
	must(t, d.Create(ctx, "x", []byte("one"), driver.Durable))
	_, one, err := d.Read(ctx, "x")
	must(t, err)
	must(t, d.Replace(ctx, "x", []byte("two"), one))
	if err := d.DeleteUnchanged(ctx, "x", one); !errors.Is(err, driver.ErrChanged) {
		t.Errorf("%v", err)
	}
	_, two, err := d.Read(ctx, "x")
	must(t, err)
	must(t, d.DeleteUnchanged(ctx, "x", two))
	must(t, d.DeleteUnchanged(ctx, "x", two))
	if left := keys(t, d, ""); !slices.Equal(left, []string{probeKey}) {
		t.Errorf("left: %v", left)
	}
}

// keys lists everything in the bucket.
func keys(t *testing.T, d *Driver, prefix string) []string {
	t.Helper()
	var all []string
	names, err := d.List(t.Context(), prefix, "", 1000)
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			all = append(all, keys(t, d, prefix+name)...)
		} else {
			all = append(all, prefix+name)
		}
	}
	return all
}

func TestPurgeRemovesWhatADeadProcessLeft(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	abandoned := d.newUpload("b/dead")
	_, err := abandoned.Write(make([]byte, 2*minPart))
	must(t, err)
	must(t, abandoned.send())
	must(t, abandoned.land()) // and then the process is killed
	must(t, d.Discard(ctx, "gone"))
	for _, tt := range []struct {
		before time.Time
		dry    bool
		want   int
	}{
		{time.Now().Add(-time.Hour), false, 0},
		{time.Now().Add(time.Hour), true, 1},
		{time.Now().Add(time.Hour), false, 1},
		{time.Now().Add(time.Hour), false, 0},
	} {
		n, err := d.Purge(ctx, time.Time{}, tt.before, tt.dry)
		must(t, err)
		if n != tt.want {
			t.Errorf("before %s, dry %v: %d, want %d", tt.before, tt.dry, n, tt.want)
		}
	}
	if left := keys(t, d, ""); !slices.Equal(left, []string{probeKey}) {
		t.Errorf("left: %v", left)
	}
}

// A discard that meets a commit in the middle finishes it; a commit that meets a discard comes too late.
func TestCommitAndDiscardAreDecidedOnce(t *testing.T) {
	s := testserver.StartS3(t)
	d := open(t, options(s, s.Bucket(t)))
	ctx := t.Context()
	begin := func(id string) (*stream, []segment) {
		opened, err := d.Stream(ctx, id, nil)
		must(t, err)
		_, err = opened.Write([]byte("content"))
		must(t, err)
		_, err = opened.Checkpoint(ctx)
		must(t, err)
		st := opened.(*stream) //nolint:errcheck,forcetypeassert // it is one
		return st, st.state.Segments
	}
	t.Run("the committer died after its commit record", func(t *testing.T) {
		_, segments := begin("died")
		_, err := d.decide(ctx, "died", commitRecord{Key: "b/died", Segments: segments})
		must(t, err)
		must(t, d.Discard(ctx, "died"))
		data, _, err := d.Read(ctx, "b/died")
		must(t, err)
		if string(data) != "content" {
			t.Errorf("%q", data)
		}
	})
	t.Run("another object has the key", func(t *testing.T) {
		must(t, d.Create(ctx, "b/taken", []byte("content"), driver.Durable))
		st, segments := begin("late")
		if err := st.Commit(ctx, "b/taken"); !errors.Is(err, driver.ErrExist) {
			t.Errorf("%v", err)
		}
		must(t, st.Discard(ctx))
		if _, err := d.Stat(ctx, segments[0].Key); !errors.Is(err, driver.ErrNotExist) {
			t.Errorf("its segment is still there: %v", err)
		}
		data, _, err := d.Read(ctx, "b/taken")
		must(t, err)
		if string(data) != "content" {
			t.Errorf("%q", data)
		}
	})
	t.Run("the discard was first", func(t *testing.T) {
		st, _ := begin("first")
		must(t, d.Discard(ctx, "first"))
		if err := st.Commit(ctx, "b/first"); !errors.Is(err, driver.ErrNotExist) {
			t.Errorf("%v", err)
		}
		if _, err := d.Stat(ctx, "b/first"); !errors.Is(err, driver.ErrNotExist) {
			t.Errorf("%v", err)
		}
	})
}
