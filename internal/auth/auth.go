// Package auth finds out who asks, and what they may do: by API keys, which a file has, and by
// signed tokens.
package auth

import (
	"errors"
	"time"

	"example.com/tidings/topics"
)

// An Identity is who asks, as a credential says it.
type Identity struct {
	// Subject is unique among all kinds of credentials: "key:NAME", "jwt:SUB", or "" for
	// somebody without a credential.
	Subject string

	// Key names the key that vouches for the credential: the API key, or the one that has
	// signed the token.
	Key string

	// Publish and Subscribe are the topics that the identity may publish to, and read.
	Publish, Subscribe []topics.Filter

	// Administer allows what is the operator's.
	Administer bool

	// Issued is when the credential was made, zero if that is unknown. Until is its end, zero
	// if it has none.
	Issued, Until time.Time
}

// Errors that refuse a credential. Their texts are for the server's log: a client is told
// [ErrExpired], or that the credential is not accepted.
var (
	ErrExpired     = errors.New("auth: the credential has expired")
	ErrNotAccepted = errors.New("auth: the credential is not accepted")
)

// The bounds of a credential.
const (
	maxCredential = 8 << 10 // bytes
	maxGrants     = 64      // filters of one list
	maxSubject    = 1000    // bytes of the sub of a token: the streams of each can be ended by its name
)
