package auth

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"example.com/tidings/internal/filewatch"
	"example.com/tidings/topics"
)

// Options configure an [Authenticator].
type Options struct {
	KeysFile string  // of API keys; "" for none
	Tokens   *Tokens // nil if no tokens are accepted

	// AnonymousPublish and AnonymousSubscribe are what somebody without a credential may do.
	AnonymousPublish, AnonymousSubscribe []topics.Filter

	Logger *slog.Logger
}

// An Authenticator checks credentials. Its methods may be called concurrently.
type Authenticator struct {
	opts     Options
	keys     atomic.Pointer[Keys]
	failures atomic.Uint64
}

// New reads the keys file, if there is one.
func New(opts Options) (*Authenticator, error) {
	a := &Authenticator{opts: opts}
	keys := Keys{}
	if opts.KeysFile != "" {
		var err error
		if keys, err = ReadKeys(opts.KeysFile); err != nil {
			return nil, err
		}
	}
	a.keys.Store(&keys)
	return a, nil
}

// Anonymous returns the identity of somebody without a credential.
func (a *Authenticator) Anonymous() Identity {
	return Identity{Publish: a.opts.AnonymousPublish, Subscribe: a.opts.AnonymousSubscribe}
}

// Check returns whose a credential is. The error wraps [ErrExpired] or [ErrNotAccepted], and
// says for the server's log why.
func (a *Authenticator) Check(credential string, now time.Time) (Identity, error) {
	if strings.HasPrefix(credential, KeyPrefix) {
		return (*a.keys.Load()).Find(credential, now)
	}
	if a.opts.Tokens == nil {
		return Identity{}, fmt.Errorf("%w: there is no key that checks tokens", ErrNotAccepted)
	}
	return a.opts.Tokens.Check(credential, now)
}

// Failures counts the times that the keys file could not be used. It then keeps its old keys.
func (a *Authenticator) Failures() uint64 { return a.failures.Load() }

// Watch reads the keys file again when it has changed, until ctx is done. It calls narrowed with
// the names of keys that are gone or allow less, after the new keys count. It looks at the file at
// each tick, as [filewatch.Watch]. A file that cannot be read is tried again at the next tick: the
// reason may be gone, such as too many open files, and the file the same.
func (a *Authenticator) Watch(ctx context.Context, ticks <-chan time.Time, narrowed func(names []string)) {
	if a.opts.KeysFile == "" {
		return
	}
	filewatch.Watch(ctx, ticks, []string{a.opts.KeysFile}, func() {
		for last := ""; ; {
			err := a.reload(narrowed)
			if err != nil && err.Error() != last {
				last = err.Error()
				a.failures.Add(1)
				a.opts.Logger.Error("the keys file cannot be used; the keys that were read before go on", "error", err)
			}
			if _, unread := errors.AsType[*fs.PathError](err); !unread {
				return
			}
			select {
			case <-ctx.Done():
				return
			case <-ticks:
			}
		}
	})
}

func (a *Authenticator) reload(narrowed func([]string)) error {
	keys, err := ReadKeys(a.opts.KeysFile)
	if err != nil {
		return err
	}
	was := a.keys.Swap(&keys)
	if names := was.Narrowed(keys); len(names) > 0 {
		narrowed(names)
	}
	return nil
}

// HasCredentials reports whether anybody can have a credential.
func (a *Authenticator) HasCredentials() bool { return a.opts.KeysFile != "" || a.opts.Tokens != nil }

// AcceptsTokens reports whether users can sign in with tokens.
func (a *Authenticator) AcceptsTokens() bool { return a.opts.Tokens != nil }

// Identities returns those of the API keys, by name.
func (a *Authenticator) Identities() []Identity {
	keys := *a.keys.Load()
	var all []Identity
	for _, name := range slices.Sorted(maps.Keys(keys)) {
		all = append(all, keys[name].Identity())
	}
	return all
}

// SigningKeys returns the keys that check tokens.
func (a *Authenticator) SigningKeys() []SigningKey {
	if a.opts.Tokens == nil {
		return nil
	}
	return a.opts.Tokens.Keys
}
