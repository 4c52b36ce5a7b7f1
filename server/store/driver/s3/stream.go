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

func verdictKey(id string) string { return "v/" + id }

// streamState is what a stream's owner keeps between two steps.
type streamState struct {
	Segments []segment `json:"segments"`
	// Spent are segments that were taken into others.
	Spent []string `json:"spent,omitempty"`
}

// stream is a list of segments and an object in the making: the next segment or, where the stream is aimed, the object
// itself.
type stream struct {
	d     *Driver
	id    string
	state streamState
	aim   string
	// earlier are the segments that earlier requests brought, and found is what of them, and besides them, there is.
	earlier []segment
	found   []segment
	// superseded are segments that an earlier step took into others. That step is recorded, or it would not be gone on from,
	// and so nobody needs them.
	superseded []string
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
		s.superseded, s.state.Spent = s.state.Spent, nil
	}
	return s, nil
}

// Exclusive implements driver.Stream: segments have names of their own.
func (s *stream) Exclusive() bool { return false }

// Aim implements driver.Stream.
func (s *stream) Aim(key string) { s.aim = key }

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
	key := s.aim
	if key == "" {
		key = segmentsPrefix(s.id) + word()
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
	s.state.Spent = append(s.state.Spent, tail.Key)
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
	if s.aim != "" {
		return nil, errors.New("a stream that was aimed has no checkpoint")
	}
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	for _, key := range s.superseded {
		if err := s.d.Delete(ctx, key); err != nil {
			s.state.Spent = append(s.state.Spent, key) // the next step tries again
		}
	}
	s.superseded = nil
	return json.Marshal(s.state)
}

func (s *stream) Commit(ctx context.Context, key string) error {
	if s.aim != "" {
		if key != s.aim {
			return fmt.Errorf("stream %s was aimed at %s, not at %s", s.id, s.aim, key)
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
	v := verdict{Key: key, Segments: s.state.Segments}
	settled, err := s.d.settle(ctx, s.id, v)
	if err != nil {
		return err
	}
	if settled.Key != key || !slices.Equal(settled.Segments, v.Segments) {
		return fmt.Errorf("stream %s: discarded, or committed by another: %w", s.id, driver.ErrNotExist)
	}
	err = s.d.point(ctx, settled)
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
	if s.aim != "" {
		return nil, errors.New("a stream that was aimed cannot be read")
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
		if len(s.state.Segments)+len(s.state.Spent)+len(s.superseded) == 0 {
			return nil // nothing ever left this process
		}
		return s.d.Discard(ctx, s.id)
	}
	spent := slices.Concat(s.superseded, s.state.Spent)
	for _, f := range s.found { // among them what a request brought that died before its step was recorded
		if !slices.ContainsFunc(s.state.Segments, func(kept segment) bool { return kept.Key == f.Key }) && !slices.Contains(spent, f.Key) {
			spent = append(spent, f.Key)
		}
	}
	for _, key := range spent {
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

// verdict is what became of a stream: committed under Key, or discarded where Key is empty.
type verdict struct {
	Key      string    `json:"key,omitempty"`
	Segments []segment `json:"segments,omitempty"`
}

// discarded is the verdict that a stream was discarded, as it is written.
const discarded = "{}"

// settle writes a verdict unless there is one, and returns the one that holds.
func (d *Driver) settle(ctx context.Context, id string, v verdict) (verdict, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return v, err
	}
	err = d.Create(ctx, verdictKey(id), text, driver.Durable)
	if !errors.Is(err, driver.ErrExist) {
		return v, err
	}
	if text, _, err = d.Read(ctx, verdictKey(id)); err != nil {
		return v, err
	}
	var settled verdict
	if err := json.Unmarshal(text, &settled); err != nil {
		return v, fmt.Errorf("verdict on stream %s: damaged: %w", id, err)
	}
	return settled, nil
}

// point gives segments a key.
func (d *Driver) point(ctx context.Context, v verdict) error {
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
	settled, err := d.settle(ctx, id, verdict{})
	if err != nil {
		return err
	}
	var keep []segment
	if settled.Key != "" {
		if keep, err = d.keep(ctx, settled); err != nil {
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
func (d *Driver) keep(ctx context.Context, v verdict) ([]segment, error) {
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
