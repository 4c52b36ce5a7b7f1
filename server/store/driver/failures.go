package driver

import (
	"context"
	"errors"
	"fmt"
)

// ErrPartly says that the work was done but for some things, whose errors are wrapped beside it.
var ErrPartly = errors.New("the rest was done")

const (
	// failuresNamed bounds how many errors are kept, and failuresInARow after how many it is the storage that fails, and not single things.
	failuresNamed  = 5
	failuresInARow = 10
)

// Failures is the errors of work on many things that goes on where one of them fails: that one would hold up the others for ever.
type Failures struct {
	count, inARow int
	errs          []error
	givenUp       bool
}

// Note takes the outcome for one thing, and says whether to go on with the next one.
func (f *Failures) Note(ctx context.Context, err error) (goOn bool) {
	if err == nil {
		f.inARow = 0
		return true
	}
	f.count++
	f.inARow++
	if len(f.errs) < failuresNamed {
		f.errs = append(f.errs, err)
	}
	f.givenUp = f.inARow == failuresInARow || ctx.Err() != nil
	return !f.givenUp
}

// Err returns what failed: ErrPartly where the rest was done, and nil where nothing failed.
func (f *Failures) Err() error {
	if f.count == 0 {
		return nil
	}
	err := errors.Join(f.errs...)
	if more := f.count - len(f.errs); more > 0 {
		err = fmt.Errorf("%w\nand %d more", err, more)
	}
	if f.givenUp {
		return err
	}
	return fmt.Errorf("%w; %w", err, ErrPartly)
}
