package store

import (
	"encoding/json"
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// Bounds of what is remembered: so many records of each kind, of so many bytes each.
const (
	maxRecords    = 1024
	maxRecordSize = 8 << 10
)

// records remembers what objects say, by the version they have. The object is asked for its version each time, so that
// what is remembered cannot be out of date: only taking it apart is saved.
type records[T any] struct {
	known *lru.Cache[string, record[T]]
}

type record[T any] struct {
	version driver.Version
	value   T
}

func newRecords[T any]() records[T] {
	return records[T]{newCache[string, record[T]]()}
}

func newCache[K comparable, V any]() *lru.Cache[K, V] {
	cache, err := lru.New[K, V](maxRecords)
	if err != nil {
		panic(err) // its one reason is a size below one
	}
	return cache
}

// read takes an object apart, or remembers how that went before. The value is shared: nobody changes what it points to.
func (r records[T]) read(key string, version driver.Version, data []byte, parse func([]byte) (T, error)) (T, error) {
	if known, ok := r.known.Get(key); ok && known.version == version {
		return known.value, nil
	}
	value, err := parse(data)
	if err == nil && len(data) <= maxRecordSize {
		r.known.Add(key, record[T]{version, value})
	}
	return value, err
}

func parseJSON[T any](data []byte) (value T, err error) {
	err = json.Unmarshal(data, &value)
	return value, err
}

// validDigest returns an error that names the field of a record where that holds no digest.
func validDigest(field string, d digest.Digest) error {
	if err := d.Validate(); err != nil {
		return fmt.Errorf("%s %q: %w", field, d, err)
	}
	return nil
}
