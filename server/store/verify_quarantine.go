package store

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"packregistry.dev/server/store/driver"
)

// This file takes what is corrupt out of use, and keeps a copy of it at q/.

// quarantineData takes blob data out of use: no push will take it for good, no repository has it any more, and then it
// is moved aside.
func (v *verifier) quarantineData(ctx context.Context, key string) error {
	for try := (attempts{}); ; {
		m, version, err := v.s.readMark(ctx, key)
		if err != nil {
			return err
		}
		if m.tombstoned() {
			break
		}
		now := v.s.now().UTC()
		err = v.s.d.Replace(ctx, markKey(key), mustJSON(mark{Nonce: nonce(), Tombstoned: &now}), version)
		if err == nil {
			break
		}
		if !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, v.s, err); err != nil {
			return err
		}
	}
	err := v.s.each(ctx, repositoriesPrefix, func(name string) error {
		return v.unlink(ctx, v.s.Repository(unescape(strings.TrimSuffix(name, "/"))), key)
	})
	if err != nil {
		return err
	}
	if err := v.aside(ctx, key, strings.TrimPrefix(key, dataPrefix)); err != nil {
		return err
	}
	v.done.Quarantined++
	return v.s.reclaim(ctx, key)
}

// unlink takes a blob whose data is at key out of a repository.
func (v *verifier) unlink(ctx context.Context, r *Repository, key string) error {
	d, err := digestOf(key)
	if err != nil {
		return err
	}
	for try := (attempts{}); ; {
		l, version, err := r.readLink(ctx, d)
		if errors.Is(err, ErrNotFound) || err == nil && (l.Tombstone || l.Key != key) {
			return nil
		}
		if err != nil {
			return err
		}
		if err = r.removeLink(ctx, d, version); !isLostRace(err) {
			return err
		}
		if err := try.again(ctx, v.s, err); err != nil {
			return err
		}
	}
}

// aside keeps a copy of an object at q/.
func (v *verifier) aside(ctx context.Context, key, name string) error {
	o, err := v.s.d.Open(ctx, key)
	if errors.Is(err, driver.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.Close() //nolint:errcheck // it is only read
	stream, err := v.s.d.Stream(ctx, nonce(), nil)
	if err != nil {
		return err
	}
	defer stream.Close() //nolint:errcheck // the errors before say more
	target := quarantineKey(name)
	stream.CommitDirectly(target)
	_, err = io.CopyBuffer(onlyWriter{stream}, onlyReader{o}, make([]byte, verifyBuffer))
	if errors.Is(err, driver.ErrNotExist) {
		return stream.Discard(ctx) // some of it is gone, and the rest is of no use
	}
	if err != nil {
		return errors.Join(err, stream.Discard(context.WithoutCancel(ctx)))
	}
	return errors.Join(ignoreExist(stream.Commit(ctx, target)), stream.Discard(ctx))
}

func (v *verifier) corruptManifest(ctx context.Context, r *Repository, d digest.Digest, detail string) error {
	v.found(Problem{Kind: "corrupt-manifest", Repository: r.name, Digest: d, Detail: detail})
	if !v.o.Quarantine {
		return nil
	}
	key := manifestKey(r.name, d)
	if err := v.aside(ctx, key, escape(r.name)+"/"+digestName(d)+"."+strconv.FormatInt(time.Now().Unix(), 10)); err != nil {
		return err
	}
	v.done.Quarantined++
	if err := v.s.d.Delete(ctx, key); err != nil {
		return err
	}
	return r.leaveCatalog(ctx, d)
}
