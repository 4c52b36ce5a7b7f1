package store

import (
	"context"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"packregistry.dev/server/store/driver"
)

// This file is the steps of an upload: the objects that say how far it came. Each is created only where there is none, so that of
// two requests that write the same step one wins. The first and the last two stay; the others go as the upload goes on, so
// that neither what it leaves nor what a step costs grows with the number of steps.
//
// A request that was stopped while others made several steps creates one that is gone by now. It finds the later ones when it
// looks, after it: a step goes only when two later ones are there. And the first stays, after the end too, so that an upload's first request
// (nearly every upload has but one) need not look.

// maxSteps bounds in how many steps an upload can come: 100 GiB in chunks of 1 MiB.
const maxSteps = 100_000

// readStep reads the last step, whose number is known.
func (u *Upload) readStep(ctx context.Context) error {
	for try := (attempts{}); ; {
		data, _, err := u.r.s.d.Read(ctx, uploadKey(u.id, u.number))
		switch {
		case errors.Is(err, driver.ErrNotExist): // others went on since it was listed
			if err := try.again(ctx, u.r.s, err); err != nil {
				return err
			}
			if u.number, err = u.r.steps(ctx, u.id); err != nil {
				return err
			}
			if u.number == 0 {
				return notFound(driver.ErrNotExist, "upload", u.id)
			}
			continue
		case err != nil:
			return err
		}
		if err := json.Unmarshal(data, &u.step); err != nil {
			return fmt.Errorf("upload %s: damaged: %w", u.id, err)
		}
		if u.step.Offset < 0 {
			return fmt.Errorf("upload %s: damaged: it has %d bytes", u.id, u.step.Offset)
		}
		return nil
	}
}

// steps returns how many steps an upload has finished, or ErrNotFound where it is over.
func (r *Repository) steps(ctx context.Context, id string) (int, error) {
	return r.stepsAfter(ctx, id, "")
}

// stepsAfter is steps that looks at names after the given one only; 0 where there are none.
func (r *Repository) stepsAfter(ctx context.Context, id, last string) (int, error) {
	const page = 1000
	for {
		names, err := r.s.list(ctx, uploadPrefix(id), last, page)
		if err != nil {
			return 0, err
		}
		if len(names) > 0 {
			last = names[len(names)-1]
		}
		if len(names) < page {
			break
		}
	}
	switch last {
	case "":
		return 0, nil
	case uploadOver:
		return 0, fmt.Errorf("upload %s: %w", id, ErrNotFound)
	}
	number, err := strconv.Atoi(last)
	if err != nil {
		err = fmt.Errorf("upload %s: damaged: a step called %q", id, last)
	}
	return number, err
}

// record makes what was written the next step.
func (u *Upload) record(ctx context.Context, w *writer, n int64) error {
	next := u.step
	next.Offset += n
	var err error
	if next.Stream, err = w.Checkpoint(ctx); err != nil {
		return err
	}
	if next.Hash, err = w.hash.(encoding.BinaryMarshaler).MarshalBinary(); err != nil {
		return err
	}
	number := u.number + 1
	err = u.r.s.d.Create(ctx, uploadKey(u.id, number), mustJSON(next), driver.Relaxed)
	if errors.Is(err, driver.ErrExist) {
		return u.overtaken()
	}
	if err != nil {
		return err
	}
	if number > 1 && !w.Exclusive() {
		later, err := u.r.stepsAfter(ctx, u.id, stepName(number))
		if err == nil && later != number {
			err = u.overtaken()
		}
		if err != nil {
			return errors.Join(err, u.r.s.d.Delete(ctx, uploadKey(u.id, number)))
		}
	}
	u.number, u.step = number, next
	if superseded := number - 2; superseded > 1 {
		u.r.s.d.Delete(driver.WithRelaxedDelete(ctx), uploadKey(u.id, superseded)) //nolint:errcheck // the step is made; purging finds what stays
	}
	return nil
}

func (u *Upload) overtaken() error {
	return fmt.Errorf("upload %s: another request wrote to it: %w", u.id, ErrOutOfOrder)
}

// outdated looks why something of the stream was not there: others may have gone on with the upload, or have ended it.
func (u *Upload) outdated(ctx context.Context, err error) error {
	if !errors.Is(err, driver.ErrNotExist) || u.number == 0 {
		return err
	}
	if number, found := u.r.steps(ctx, u.id); found != nil {
		return found
	} else if number != u.number {
		return u.overtaken()
	}
	return notFound(err, "upload", u.id)
}

// removeSteps removes the last two steps of an upload that is over: those before went earlier, but for what a crash left to purging.
// The first stays until then, so that a request that found none is refused where it comes late.
func (u *Upload) removeSteps(ctx context.Context) error {
	for number := max(2, u.number-1); number <= u.number; number++ {
		if err := u.r.s.d.Delete(ctx, uploadKey(u.id, number)); err != nil {
			return err
		}
	}
	return nil
}
