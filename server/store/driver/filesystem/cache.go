package filesystem

import (
	"os"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sys/unix"

	"packregistry.dev/server/store/driver"
)

// Bounds of the cache: it holds at most so many objects of so many bytes, and one open file for each; it takes at most a
// share of all the files that the process may have open.
const (
	maxCached     = 512
	minCached     = 16
	cachedShare   = 4
	maxCachedSize = 8 << 10
	// pressure is for how long nothing is remembered after files ran out.
	pressure = 5 * time.Second
)

// cache remembers the content of small objects, each with its file open. Whether an object is still the one that was read
// is asked each time, by one fstat: a file never changes once it has its name, and taking that name away, or giving it to
// another file, changes the number of the file's links and the time of its last change. That costs a quarter of what the
// way through the directories would.
type cache struct {
	entries *lru.Cache[string, *cached]
	// yielded is when files ran out last, in nanoseconds since 1970.
	yielded atomic.Int64
}

// cached is a file that was read. It stays open until nobody can find it here any more.
type cached struct {
	mu      sync.RWMutex // held while the file is asked, so that it is not closed meanwhile
	file    *os.File     // nil when closed
	number  int          // the file's descriptor
	changed unix.Timespec
	data    []byte
	version driver.Version
}

// cacheSize is how many objects are remembered by a process that may have so many open files.
func cacheSize(limit uint64) int {
	return max(minCached, int(min(limit/cachedShare, maxCached))) //nolint:gosec // at most maxCached
}

func newCache() *cache {
	limit := unix.Rlimit{Cur: cachedShare * maxCached}
	unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) //nolint:errcheck // then it is as it would be with many
	entries, err := lru.NewWithEvict(cacheSize(limit.Cur), func(_ string, c *cached) { c.close() })
	if err != nil {
		panic(err) // its one reason is a size below one
	}
	return &cache{entries: entries}
}

func (c *cached) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.file.Close() //nolint:errcheck // it was only read
	c.file = nil
}

// current says whether the file still has the name under which it was read, and no other.
func (c *cached) current() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.file == nil {
		return false
	}
	stat, err := fstat(c.number)
	return err == nil && stat.Nlink == 1 && stat.Ctim == c.changed
}

func fstat(number int) (stat unix.Stat_t, err error) {
	err = unix.EINTR
	for err == unix.EINTR { //nolint:errorlint // a system call's own number
		err = unix.Fstat(number, &stat)
	}
	return stat, err
}

// get returns the object if it is remembered and still is what its path stands for.
func (c *cache) get(key string) *cached {
	entry, ok := c.entries.Get(key)
	if !ok {
		return nil
	}
	if !entry.current() {
		c.forget(key) // or the file of what was deleted would stay open, and its room taken
		return nil
	}
	return entry
}

// forget closes the file of an object that is deleted or replaced.
func (c *cache) forget(key string) { c.entries.Remove(key) }

// yield closes all files because there are none left, and says whether it had any.
func (c *cache) yield() bool {
	c.yielded.Store(time.Now().UnixNano())
	some := c.entries.Len() > 0
	c.entries.Purge()
	return some
}

// put remembers an object, and takes its open file over. It says whether it did.
func (c *cache) put(key, path string, file *os.File, data []byte, version driver.Version) bool {
	if len(data) > maxCachedSize || time.Now().UnixNano()-c.yielded.Load() < int64(pressure) {
		return false
	}
	// One link, and after that found under the path: so that link is the path, which the file never gets a second time.
	number := int(file.Fd()) //nolint:gosec // descriptors are small
	stat, err := fstat(number)
	if err != nil || stat.Nlink != 1 {
		return false
	}
	var named unix.Stat_t
	if err := unix.Stat(path, &named); err != nil || named.Ino != stat.Ino || named.Dev != stat.Dev || named.Ctim != stat.Ctim {
		return false
	}
	c.forget(key) // closes what was there under that name
	// What another process deleted is noticed when it is the next to be dropped.
	if oldest, entry, ok := c.entries.GetOldest(); ok && !entry.current() {
		c.forget(oldest)
	}
	entry := &cached{file: file, number: number, changed: stat.Ctim, data: data, version: version}
	if _, there, _ := c.entries.PeekOrAdd(key, entry); there {
		return false // another reader's, whose file Add would neither keep nor close
	}
	if !entry.current() {
		c.forget(key) // whoever took its name away may have done so before it was in here
	}
	return true
}
