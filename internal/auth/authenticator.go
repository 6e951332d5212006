package auth

import (
	"context"
	"fmt"
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

// Allows reports whether an identity of an API key still has what it had when its credential was
// checked. Those of tokens have it until they end.
func (a *Authenticator) Allows(id Identity) bool {
	name, ok := strings.CutPrefix(id.Subject, "key:")
	if !ok {
		return true
	}
	k, ok := (*a.keys.Load())[name]
	return ok && !lacks(k.Subscribe, id.Subscribe) && !lacks(k.Publish, id.Publish)
}

// Failures counts the times that the keys file could not be read. It then keeps its old keys.
func (a *Authenticator) Failures() uint64 { return a.failures.Load() }

// Watch reads the keys file again when it has changed, until ctx is done. It calls narrowed with
// the names of keys that are gone or allow less, after the new keys count. It looks at the file at
// each tick, as [filewatch.Watch].
func (a *Authenticator) Watch(ctx context.Context, ticks <-chan time.Time, narrowed func(names []string)) {
	if a.opts.KeysFile != "" {
		filewatch.Watch(ctx, ticks, []string{a.opts.KeysFile}, func() { a.reload(narrowed) })
	}
}

func (a *Authenticator) reload(narrowed func([]string)) {
	keys, err := ReadKeys(a.opts.KeysFile)
	if err != nil {
		a.failures.Add(1)
		a.opts.Logger.Error("the keys file cannot be used; the keys that were read before go on", "error", err)
		return
	}
	was := a.keys.Swap(&keys)
	if names := was.Narrowed(keys); len(names) > 0 {
		narrowed(names)
	}
}

// HasCredentials reports whether anybody can have a credential.
func (a *Authenticator) HasCredentials() bool { return a.opts.KeysFile != "" || a.opts.Tokens != nil }

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
