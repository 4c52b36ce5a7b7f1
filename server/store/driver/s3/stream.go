package s3

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"packregistry.dev/server/store/driver"
)

// minSegment is the size below which a segment is taken into the next one.
const minSegment = 5 << 20

func segmentsPrefix(id string) string { return "o/" + id + "/" }

// segmentOf returns the stream that a segment's key belongs to.
func segmentOf(key string) (id string, ok bool) {
	rest, ok := strings.CutPrefix(key, "o/")
	if !ok {
		return "", false
	}
	return path.Dir(rest), true
}

func commitRecordKey(id string) string { return "v/" + id }

// streamState is what a stream's owner keeps between two steps.
type streamState struct {
	Segments []segment `json:"segments"`
	// Superseded are segments that were taken into others.
	Superseded []string `json:"spent,omitempty"`
}

// stream is a list of segments and an object in the making: the next segment or, where it is committed directly, the object
// itself.
type stream struct {
	d      *Driver
	id     string
	state  streamState
	direct string
	// earlier are the segments that earlier requests brought, and found is what of them, and besides them, there is.
	earlier []segment
	found   []segment
	// obsolete are segments that an earlier step took into others. That step is recorded, or it would not be gone on from,
	// and so nobody needs them.
	obsolete []string
	// object gathers what was written since the last checkpoint.
	object *upload
	// committed says that the segments belong to an object now.
	committed bool
}

// Stream implements driver.Driver. It makes no call.
func (d *Driver) Stream(_ context.Context, id string, state []byte) (driver.Stream, error) {
	if err := driver.CheckKey(id); err != nil || filepath.Base(id) != id {
		return nil, fmt.Errorf("%w: stream %q", driver.ErrInvalidKey, id)
	}
	s := &stream{d: d, id: id}
	if state != nil {
		if err := json.Unmarshal(state, &s.state); err != nil {
			return nil, fmt.Errorf("stream %s: damaged state: %w", id, err)
		}
		s.earlier = slices.Clone(s.state.Segments)
		s.obsolete, s.state.Superseded = s.state.Superseded, nil
	}
	return s, nil
}

// Exclusive implements driver.Stream: segments have names of their own.
func (s *stream) Exclusive() bool { return false }

// CommitDirectly implements driver.Stream.
func (s *stream) CommitDirectly(key string) { s.direct = key }

func (s *stream) Write(p []byte) (int, error) {
	if s.object == nil {
		if err := s.begin(); err != nil {
			return 0, err
		}
	}
	return s.object.Write(p)
}

// begin begins the next object, with what the last segment holds if that is small.
func (s *stream) begin() error {
	key := s.direct
	if key == "" {
		key = segmentsPrefix(s.id) + newNonce()
	}
	s.object = s.d.newUpload(key)
	if len(s.state.Segments) == 0 {
		return nil
	}
	tail := s.state.Segments[len(s.state.Segments)-1]
	if tail.Size >= minSegment {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), transferTimeout(tail.Size))
	defer cancel()
	content, err := s.d.open(ctx, tail.Key)
	if err == nil {
		_, err = io.Copy(s.object, content)
		content.drop()
	}
	if err != nil {
		s.object.abandon()
		s.object = nil
		return err
	}
	s.state.Segments = slices.Clip(s.state.Segments[:len(s.state.Segments)-1])
	s.state.Superseded = append(s.state.Superseded, tail.Key)
	return nil
}

// flush makes what was written a segment.
func (s *stream) flush(ctx context.Context) error {
	if s.object == nil {
		return nil
	}
	size := s.object.size
	if size > 0 {
		if err := s.object.finish(ctx); err != nil {
			return err
		}
		s.state.Segments = append(s.state.Segments, segment{Key: s.object.key, Size: size})
	}
	s.object.abandon()
	s.object = nil
	return nil
}

func (s *stream) Checkpoint(ctx context.Context) ([]byte, error) {
	if s.direct != "" {
		return nil, errors.New("a stream that is committed directly has no checkpoint")
	}
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	for _, key := range s.obsolete {
		if err := s.d.Delete(ctx, key); err != nil {
			s.state.Superseded = append(s.state.Superseded, key) // the next step tries again
		}
	}
	s.obsolete = nil
	return json.Marshal(s.state)
}

func (s *stream) Commit(ctx context.Context, key string) error {
	if s.direct != "" {
		if key != s.direct {
			return fmt.Errorf("stream %s is committed directly to %s, not to %s", s.id, s.direct, key)
		}
		if s.object == nil {
			s.object = s.d.newUpload(key)
		}
		return s.object.finish(ctx)
	}
	if err := s.flush(ctx); err != nil {
		return err
	}
	if len(s.state.Segments) == 0 {
		return s.d.Create(ctx, key, nil, driver.Durable)
	}
	if err := s.look(ctx); err != nil {
		return err
	}
	v := commitRecord{Key: key, Segments: s.state.Segments}
	decided, err := s.d.decide(ctx, s.id, v)
	if err != nil {
		return err
	}
	if decided.Key != key || !slices.Equal(decided.Segments, v.Segments) {
		return fmt.Errorf("stream %s: discarded, or committed by another: %w", s.id, driver.ErrNotExist)
	}
	err = s.d.point(ctx, decided)
	s.committed = err == nil
	return err
}

// look finds what there is of the stream, and returns ErrNotExist where that lacks what earlier requests brought.
func (s *stream) look(ctx context.Context) error {
	if len(s.earlier) == 0 {
		return nil
	}
	var err error
	if s.found, err = s.d.segments(ctx, s.id); err != nil {
		return err
	}
	var unseen []segment
	for _, e := range s.earlier {
		if !slices.Contains(s.found, e) && slices.Contains(s.state.Segments, e) {
			unseen = append(unseen, e)
		}
	}
	missing, err := s.d.missing(ctx, unseen) // some servers list late
	if err == nil && missing != "" {
		err = fmt.Errorf("stream %s: %s: %w", s.id, missing, driver.ErrNotExist)
	}
	return err
}

// segments lists what there is of a stream.
func (d *Driver) segments(ctx context.Context, id string) ([]segment, error) {
	var found []segment
	for o, err := range d.below(ctx, segmentsPrefix(id)) {
		if err != nil {
			return nil, err
		}
		found = append(found, segment{Key: o.key, Size: o.size})
	}
	return found, nil
}

func (s *stream) Reader(ctx context.Context) (io.ReadCloser, error) {
	if s.direct != "" {
		return nil, errors.New("a stream that is committed directly cannot be read")
	}
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	return &object{d: s.d, ctx: ctx, segments: slices.Clone(s.state.Segments), info: driver.Info{Size: sizeOf(s.state.Segments)}}, nil
}

// Discard removes segments that nothing points to. What another made of the stream stays.
func (s *stream) Discard(ctx context.Context) error {
	if s.object != nil {
		s.object.abandon()
		s.object = nil
	}
	if !s.committed {
		if len(s.state.Segments)+len(s.state.Superseded)+len(s.obsolete) == 0 {
			return nil // nothing ever left this process
		}
		return s.d.Discard(ctx, s.id)
	}
	superseded := slices.Concat(s.obsolete, s.state.Superseded)
	for _, f := range s.found { // among them what a request brought that died before its step was recorded
		if !slices.ContainsFunc(s.state.Segments, func(kept segment) bool { return kept.Key == f.Key }) && !slices.Contains(superseded, f.Key) {
			superseded = append(superseded, f.Key)
		}
	}
	for _, key := range superseded {
		if err := s.d.Delete(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// Close ends what is under way. A segment that was not finished is given up.
func (s *stream) Close() error {
	if s.object != nil {
		s.object.abandon()
		s.object = nil
	}
	return nil
}

// commitRecord is what became of a stream: committed under Key, or discarded where Key is empty.
type commitRecord struct {
	Key      string    `json:"key,omitempty"`
	Segments []segment `json:"segments,omitempty"`
}

// discarded is the record that a stream was discarded, as it is written.
const discarded = "{}"

// decide writes a commit record unless there is one, and returns the one that holds.
func (d *Driver) decide(ctx context.Context, id string, v commitRecord) (commitRecord, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return v, err
	}
	err = d.Create(ctx, commitRecordKey(id), text, driver.Durable)
	if !errors.Is(err, driver.ErrExist) {
		return v, err
	}
	if text, _, err = d.Read(ctx, commitRecordKey(id)); err != nil {
		return v, err
	}
	var decided commitRecord
	if err := json.Unmarshal(text, &decided); err != nil {
		return v, fmt.Errorf("commit record of stream %s: damaged: %w", id, err)
	}
	return decided, nil
}

// point gives segments a key.
func (d *Driver) point(ctx context.Context, v commitRecord) error {
	text, err := json.Marshal(pointer{Segments: v.Segments})
	if err != nil {
		return err
	}
	return d.create(ctx, v.Key, bytes.NewReader(text), int64(len(text)),
		map[string]string{metaSize: strconv.FormatInt(sizeOf(v.Segments), 10)})
}

// Discard implements driver.Driver. A stream that somebody has begun to commit is committed, for it may have been
// acknowledged; then only what the object does not need is removed.
func (d *Driver) Discard(ctx context.Context, id string) error {
	if err := driver.CheckKey(id); err != nil {
		return err
	}
	decided, err := d.decide(ctx, id, commitRecord{})
	if err != nil {
		return err
	}
	var keep []segment
	if decided.Key != "" {
		if keep, err = d.keep(ctx, decided); err != nil {
			return err
		}
	}
	found, err := d.segments(ctx, id)
	if err != nil {
		return err
	}
	for _, f := range found {
		if slices.ContainsFunc(keep, func(s segment) bool { return s.Key == f.Key }) {
			continue
		}
		if err := d.Delete(ctx, f.Key); err != nil {
			return err
		}
	}
	return nil
}

// keep finishes a commit and returns the segments that the object consists of: none where another object has the key.
func (d *Driver) keep(ctx context.Context, v commitRecord) ([]segment, error) {
	if err := d.point(ctx, v); err != nil && !errors.Is(err, driver.ErrExist) {
		return nil, err
	}
	o, err := d.open(ctx, v.Key)
	if err != nil {
		return nil, err
	}
	defer o.drop()
	return o.segments, nil
}

func (d *Driver) tempFile() (*os.File, error) {
	f, err := os.CreateTemp(d.o.TempDir, "packregistry-upload-")
	if err != nil {
		return nil, err
	}
	// Without a name it is gone with the process, however that ends.
	return f, os.Remove(f.Name())
}
