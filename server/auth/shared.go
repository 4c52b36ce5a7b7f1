package auth

import (
	"context"
	"sync"
)

// shared lets requests that bring the same pair from the same source at once share one computation. It is given up when all of them
// have: who does not wait for the answer holds no place of those who do.
type shared struct {
	mu    sync.Mutex
	calls map[string]*call
}

type call struct {
	waiting int
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
}

// do returns what compute returns, which is called if that is not going on already. compute's context ends when nobody waits.
func (s *shared) do(ctx context.Context, key string, compute func(context.Context) error) error {
	s.mu.Lock()
	c := s.calls[key]
	if c == nil {
		c = &call{done: make(chan struct{})}
		var wanted context.Context
		wanted, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
		if s.calls == nil {
			s.calls = map[string]*call{}
		}
		s.calls[key] = c
		go func() {
			c.err = compute(wanted)
			close(c.done)
			s.forget(key, c)
		}()
	}
	c.waiting++
	s.mu.Unlock()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
	}
	s.mu.Lock()
	c.waiting--
	alone := c.waiting == 0
	s.mu.Unlock()
	if alone {
		s.forget(key, c)
	}
	return ctx.Err()
}

// forget ends a call that is over, or that nobody waits for.
func (s *shared) forget(key string, c *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls[key] == c {
		delete(s.calls, key)
	}
	c.cancel()
}
