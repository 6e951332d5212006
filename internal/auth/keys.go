package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"example.com/tidings/internal/grant"
	"example.com/tidings/topics"
)

// KeyPrefix begins each API key, so that a scanner for secrets can find one that has leaked.
const KeyPrefix = "tdk_"

// keyName is what a key may be called.
var keyName = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)

// A Key is a line of a keys file. The key itself is not in it.
type Key struct {
	Name       string          `json:"name"`
	SHA256     string          `json:"sha256"` // of the whole key, in hex
	Publish    []topics.Filter `json:"publish,omitempty"`
	Subscribe  []topics.Filter `json:"subscribe,omitempty"`
	Administer bool            `json:"administer,omitempty"`
	Created    time.Time       `json:"created,omitzero"`
	Expires    time.Time       `json:"expires,omitzero"` // zero for no end
}

// NewKey returns a new API key, and its line with the name, the hash, and when it was created.
func NewKey(name string) (secret string, k Key, err error) {
	if !keyName.MatchString(name) {
		return "", Key{}, fmt.Errorf("the name %q of a key has other characters than a-z, 0-9 and -, or not 1 to 64 of them", name)
	}
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	secret = KeyPrefix + name + "_" + base64.RawURLEncoding.EncodeToString(b)
	return secret, Key{Name: name, SHA256: hashOf(secret), Created: time.Now().UTC().Truncate(time.Second)}, nil
}

func hashOf(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Keys are the API keys of one file, by name.
type Keys map[string]Key

// ParseKeys reads the lines of a keys file. Empty lines count for nothing. The error names the
// line, and never has any of a key or its hash.
func ParseKeys(b []byte) (Keys, error) {
	keys := Keys{}
	line := 0
	for text := range bytes.Lines(b) {
		line++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		k, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if _, ok := keys[k.Name]; ok {
			return nil, fmt.Errorf("line %d: a second key is called %s", line, k.Name)
		}
		keys[k.Name] = k
	}
	return keys, nil
}

func parseKey(text []byte) (k Key, err error) {
	m, err := members(text)
	if err == nil {
		err = only(m, "name", "sha256", "publish", "subscribe", "administer", "created", "expires")
	}
	if err != nil {
		return k, err
	}
	if err := json.Unmarshal(text, &k); err != nil {
		if reason, ok := errors.AsType[*topics.Error](err); ok {
			return k, fmt.Errorf("a grant %s", reason.Reason)
		}
		if errors.Is(err, topics.ErrReserved) {
			return k, fmt.Errorf("a grant begins with %s, which is reserved", topics.ReservedPrefix)
		}
		return k, errors.New("it is not a JSON object whose members have the right types")
	}
	sum, err := hex.DecodeString(k.SHA256)
	switch {
	case !keyName.MatchString(k.Name):
		return k, errors.New("the name has other characters than a-z, 0-9 and -, or not 1 to 64 of them")
	case err != nil || len(sum) != sha256.Size:
		return k, fmt.Errorf("sha256 of the key %s is not a hash of 64 hexadecimal digits", k.Name)
	case max(len(k.Publish), len(k.Subscribe)) > maxGrants:
		return k, fmt.Errorf("the key %s has more than %d grants of one kind", k.Name, maxGrants)
	}
	return k, nil
}

// Find returns whose key a secret is.
func (ks Keys) Find(secret string, now time.Time) (Identity, error) {
	rest, ok := strings.CutPrefix(secret, KeyPrefix)
	name, _, ok2 := strings.Cut(rest, "_")
	if !ok || !ok2 || len(secret) > maxCredential {
		return Identity{}, fmt.Errorf("%w: it has not the form of an API key", ErrNotAccepted)
	}
	k, ok := ks[name]
	// A key that is not there takes as long as one whose secret is wrong.
	if same := subtle.ConstantTimeCompare([]byte(hashOf(secret)), []byte(strings.ToLower(k.SHA256))) == 1; !ok || !same {
		return Identity{}, fmt.Errorf("%w: no API key has its name and secret", ErrNotAccepted)
	}
	id := k.Identity()
	if !id.Until.IsZero() && !now.Before(id.Until) {
		return Identity{}, fmt.Errorf("%w: the API key %s", ErrExpired, k.Name)
	}
	return id, nil
}

// Identity returns what whoever has the key may do.
func (k Key) Identity() Identity {
	return Identity{
		Subject: "key:" + k.Name, Key: k.Name, Publish: k.Publish, Subscribe: k.Subscribe,
		Administer: k.Administer, Issued: k.Created, Until: k.Expires,
	}
}

// Narrowed returns the names of the keys that are gone in the newer keys, have another secret,
// or allow less: their streams must end.
func (ks Keys) Narrowed(newer Keys) (names []string) {
	for name, was := range ks {
		now, ok := newer[name]
		if !ok || !strings.EqualFold(now.SHA256, was.SHA256) || narrower(was, now) {
			names = append(names, name)
		}
	}
	return names
}

func narrower(was, now Key) bool {
	earlier := !now.Expires.IsZero() && (was.Expires.IsZero() || now.Expires.Before(was.Expires))
	return earlier || lacks(now.Subscribe, was.Subscribe) || lacks(now.Publish, was.Publish) || was.Administer && !now.Administer
}

// lacks reports whether grants do not cover all of some filters.
func lacks(grants, filters []topics.Filter) bool {
	_, lacks := grant.Uncovered(grants, filters)
	return lacks
}
