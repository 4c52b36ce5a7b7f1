// Package health says whether a server can do its work: whether its storage answers and has room. The debug address tells probes.
package health

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"packregistry.dev/server/config"
	"packregistry.dev/server/store"
)

// checkTimeout bounds one check of the storage.
const checkTimeout = 5 * time.Second

// Checker looks at the storage of a server.
type Checker struct {
	Config *config.Config
	Store  *store.Store
	Log    *slog.Logger

	// Draining is true from SIGTERM on: probes fail while requests are still served.
	Draining atomic.Bool
	// failures counts failed checks in a row.
	failures    atomic.Int64
	lastFailure atomic.Pointer[string]
}

// Watch looks at the storage at every interval. Failing makes the server unready; it goes on answering, since
// much may still work.
func (c *Checker) Watch(ctx context.Context) {
	check := c.Config.Health.StorageDriver
	if check.Enabled != nil && !*check.Enabled {
		return
	}
	ticker := time.NewTicker(time.Duration(check.Interval))
	defer ticker.Stop()
	for {
		c.Check(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Check looks once.
func (c *Checker) Check(ctx context.Context) {
	check, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := c.Store.Probe(check)
	if err == nil {
		if c.failures.Swap(0) > 0 {
			c.Log.Info("the storage answers again")
		}
		return
	}
	if ctx.Err() != nil {
		return
	}
	message := err.Error()
	c.lastFailure.Store(&message)
	c.Log.Error("the storage failed a check", "failures", c.failures.Add(1), "error", err)
}

// Wrong returns what keeps the server from being ready, by part. Nothing wrong is an empty map.
func (c *Checker) Wrong() map[string]string {
	wrong := map[string]string{}
	if c.failures.Load() >= int64(c.Config.Health.StorageDriver.Threshold) {
		wrong["storage"] = *c.lastFailure.Load()
	}
	if c.Draining.Load() {
		wrong["server"] = "draining"
	}
	return wrong
}
