package schedule

import "strings"

// shared knows which keys matter to more than one thread. To stop a thread before a call that matters to no other is the
// same as to stop it after: such preemptions are postponed until some run shows that the key matters to another thread
// after all, which mostly is never.
type shared struct{ keys map[string]*users }

// users are the threads that use a key, as bits.
type users struct {
	readers, writers uint64
	// listers list what lies below the key, and changers write there.
	listers, changers uint64
	postponed         []*postponed
}

// conflict says that one thread changes what another sees or changes.
func (u *users) conflict() bool {
	return severalOf(u.writers, u.readers|u.writers) || severalOf(u.changers, u.listers)
}

// severalOf says that there is one of some and another of others.
func severalOf(some, others uint64) bool {
	all := some | others
	return some != 0 && others != 0 && all&(all-1) != 0
}

type postponed struct {
	task
	cost  int
	taken bool
}

func newShared() shared { return shared{map[string]*users{}} }

// timeKey is the key of the clock.
const timeKey = "(time)"

// use is one way in which a call uses a key.
type use struct {
	key                           string
	reads, writes, lists, changes bool
}

// uses are all ways in which a call uses keys: a write changes what every prefix of its key lists.
func (c *call) uses() []use {
	all := []use{{key: c.name, reads: !c.writes, writes: c.writes}}
	if c.method == "List" {
		all[0] = use{key: c.name, lists: true}
	}
	if c.also != "" {
		all = append(all, use{key: c.also, reads: true})
	}
	if c.method == "Stat" || strings.HasPrefix(c.name, "a/") {
		all = append(all, use{key: timeKey, reads: true})
	}
	if c.writes {
		all = append(all, use{changes: true})
		for i, letter := range c.name {
			if letter == '/' {
				all = append(all, use{key: c.name[:i+1], changes: true})
			}
		}
	}
	return all
}

func (s shared) at(key string) *users {
	u := s.keys[key]
	if u == nil {
		u = &users{}
		s.keys[key] = u
	}
	return u
}

// visit notes a call, and returns what need not be postponed any longer.
func (s shared) visit(t *thread, c *call) (ready []*postponed) {
	for _, use := range c.uses() {
		u := s.at(use.key)
		u.add(use, uint64(1)<<t.run.number(t))
		if !u.conflict() {
			continue
		}
		for _, p := range u.postponed {
			if !p.taken {
				p.taken = true
				ready = append(ready, p)
			}
		}
		u.postponed = nil
	}
	return ready
}

func (u *users) add(use use, thread uint64) {
	if use.reads {
		u.readers |= thread
	}
	if use.writes {
		u.writers |= thread
	}
	if use.lists {
		u.listers |= thread
	}
	if use.changes {
		u.changers |= thread
	}
}

// postpone keeps a preemption of a thread for later, and says whether it did. It does not where the call that the thread
// would make matters to others, or is the first of an action: when that begins matters to the check.
func (s shared) postpone(t *thread, cost int, later task) bool {
	if t.action != nil && t.action.Began < 0 || t.late {
		return false
	}
	uses := t.next().uses()
	bit := uint64(1) << t.run.number(t)
	for _, use := range uses {
		after := *s.at(use.key)
		if after.add(use, bit); after.conflict() {
			return false
		}
	}
	p := &postponed{task: later, cost: cost}
	for _, use := range uses {
		u := s.at(use.key)
		u.postponed = append(u.postponed, p)
	}
	return true
}
