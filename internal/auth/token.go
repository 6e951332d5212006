package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"example.com/tidings/topics"
)

// A SigningKey checks the signatures of tokens. The key decides the algorithm, and not the
// token.
type SigningKey struct {
	ID     string // the token's kid; "" for a key that has none
	method jwt.SigningMethod
	key    any
}

// ReadSigningKey reads a key from a file: a public key in PEM, or else a secret, which is the
// file's text without a line end at its end.
func ReadSigningKey(id, name string) (SigningKey, error) {
	b, err := readKeyFile(name)
	if err != nil {
		return SigningKey{}, err
	}
	k, err := parseSigningKey(b)
	if err != nil {
		return SigningKey{}, fmt.Errorf("the key file %s %w", name, err)
	}
	k.ID = id
	return k, nil
}

// parseSigningKey's error is a predicate.
func parseSigningKey(b []byte) (SigningKey, error) {
	if !bytes.Contains(b, []byte("-----BEGIN ")) {
		secret := bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
		if len(secret) < 32 {
			return SigningKey{}, fmt.Errorf("has a secret of %d bytes, and needs 32 at least", len(secret))
		}
		if public(secret) {
			return SigningKey{}, errors.New("has a public key, a certificate or a set of keys that is not in PEM: it is no secret, and anybody could sign with it")
		}
		return SigningKey{method: jwt.SigningMethodHS256, key: secret}, nil
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return SigningKey{}, errors.New("has no PEM block that can be read")
	case strings.Contains(block.Type, "PRIVATE KEY"):
		return SigningKey{}, errors.New("has a private key: the hub needs the public one only")
	case block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0:
		return SigningKey{}, errors.New("has to have one PEM block, of the type PUBLIC KEY")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return SigningKey{}, errors.New("has a public key that cannot be read")
	}
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < 2048 {
			return SigningKey{}, fmt.Errorf("has an RSA key of %d bits, and needs 2048 at least", key.N.BitLen())
		}
		return SigningKey{method: jwt.SigningMethodRS256, key: key}, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return SigningKey{}, errors.New("has a key of another curve than P-256")
		}
		return SigningKey{method: jwt.SigningMethodES256, key: key}, nil
	case ed25519.PublicKey:
		return SigningKey{method: jwt.SigningMethodEdDSA, key: crypto.PublicKey(key)}, nil
	}
	return SigningKey{}, errors.New("has a key of another kind than RSA, P-256 and Ed25519")
}

// public reports whether a text is what others may know: a key or a certificate in DER, also as
// base64, one of SSH, or one in JSON.
func public(text []byte) bool {
	if json.Valid(text) || bytes.HasPrefix(text, []byte("ssh-")) || bytes.HasPrefix(text, []byte("ecdsa-sha2-")) {
		return true
	}
	der := text
	if b, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
		der = b
	}
	var sequence asn1.RawValue
	rest, err := asn1.Unmarshal(der, &sequence)
	return err == nil && len(rest) == 0 && sequence.Tag == asn1.TagSequence && sequence.IsCompound
}

// Algorithm returns the only algorithm of tokens that the key checks, such as "ES256".
func (k SigningKey) Algorithm() string { return k.method.Alg() }

// Tokens says which tokens are accepted.
type Tokens struct {
	Keys     []SigningKey
	Issuer   string        // if not empty, the only iss
	Audience string        // if not empty, aud must name it; otherwise a token has no aud
	MaxAge   time.Duration // from a token's iat, or from now, to its exp
}

// leeway is for clocks that differ. It does not count for exp: a stream that has ended would
// come back with the same token.
const leeway = 30 * time.Second

// Check returns who a token is for, and what it allows.
func (ts *Tokens) Check(token string, now time.Time) (Identity, error) {
	if len(token) > maxCredential {
		return Identity{}, fmt.Errorf("%w: the token has more than %d bytes", ErrNotAccepted, maxCredential)
	}
	if strings.ContainsAny(token, "\r\n") { // package base64 passes over them
		return Identity{}, fmt.Errorf("%w: the token has a line end", ErrNotAccepted)
	}
	raw, key, err := ts.verify(token)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	c, err := parseClaims(raw)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	if err := ts.checkClaims(c, now); err != nil {
		return Identity{}, err
	}
	id := Identity{Subject: "jwt:" + c.subject, Key: key, Administer: c.administer, Issued: c.issued, Until: c.expires}
	if id.Publish, err = c.grants(c.publish); err == nil {
		id.Subscribe, err = c.grants(c.subscribe)
	}
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotAccepted, err)
	}
	return id, nil
}

// rawClaims keeps the claims as they are in the token.
type rawClaims struct {
	jwt.MapClaims // nil: parseClaims reads them
	text          []byte
}

func (c *rawClaims) UnmarshalJSON(text []byte) error {
	c.text = bytes.Clone(text)
	return nil
}

// verify returns the claims of a token whose signature is that of one of the keys, and the ID
// of the key.
func (ts *Tokens) verify(token string) (claims []byte, id string, err error) {
	parser := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding())
	unverified, _, err := parser.ParseUnverified(token, &rawClaims{})
	if err != nil {
		return nil, "", errors.New("it is not a signed token")
	}
	if _, ok := unverified.Header["crit"]; ok {
		return nil, "", errors.New("its header has crit, which is not supported")
	}
	err = errors.New("no key has its kid and its algorithm")
	for _, k := range ts.choose(unverified.Header) {
		one := jwt.NewParser(jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(), jwt.WithValidMethods([]string{k.method.Alg()}))
		c := &rawClaims{}
		if _, e := one.ParseWithClaims(token, c, func(*jwt.Token) (any, error) { return k.key, nil }); e == nil {
			return c.text, k.ID, nil
		}
		err = errors.New("its signature is wrong")
	}
	return nil, "", err
}

// choose returns the keys that may have signed a token with the given header: those of its
// kid, or if there are none those without an ID. A token without a kid may be of any key.
func (ts *Tokens) choose(header map[string]any) (keys []SigningKey) {
	kid, ok := header["kid"].(string)
	if _, there := header["kid"]; there && (!ok || len(kid) > 128) {
		return nil
	}
	known := slices.ContainsFunc(ts.Keys, func(k SigningKey) bool { return ok && k.ID == kid })
	for _, k := range ts.Keys {
		if k.method.Alg() == header["alg"] && (!ok || k.ID == kid || !known && k.ID == "") {
			keys = append(keys, k)
		}
	}
	return keys
}

// claims are those that count.
type claims struct {
	issuer, subject    string
	audience           []string
	issued, begins     time.Time // zero if they are not there
	expires            time.Time
	publish, subscribe []string
	administer         bool
}

// members returns the members of a JSON object. It refuses one that is there twice. Package
// json would take the last one, in any case of its letters.
func members(text []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	m := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		var value json.RawMessage
		if err != nil || !ok || d.Decode(&value) != nil {
			return nil, errors.New("it is not a JSON object")
		}
		if _, twice := m[name]; twice {
			return nil, fmt.Errorf("the member %.64q is there twice", name)
		}
		m[name] = value
	}
	if _, err := d.Token(); err != nil { // the }
		return nil, errors.New("it is not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("it has more than one JSON object")
	}
	return m, nil
}

// only returns an error if an object has other members than those with the given names.
func only(m map[string]json.RawMessage, names ...string) error {
	for name := range m {
		if !slices.Contains(names, name) {
			return fmt.Errorf("the member %.64q is not known: there are %s", name, strings.Join(names, ", "))
		}
	}
	return nil
}

func parseClaims(text []byte) (c claims, err error) {
	m, err := members(text)
	if err != nil {
		return c, fmt.Errorf("its claims: %w", err)
	}
	for _, x := range []struct {
		name string
		into any
	}{{"iss", &c.issuer}, {"sub", &c.subject}} {
		if m[x.name] != nil && json.Unmarshal(m[x.name], x.into) != nil {
			return c, fmt.Errorf("its %s is not a string", x.name)
		}
	}
	if aud := m["aud"]; aud != nil {
		var one string
		if json.Unmarshal(aud, &one) == nil {
			c.audience = []string{one}
		} else if json.Unmarshal(aud, &c.audience) != nil {
			return c, errors.New("its aud is neither a string nor a list of strings")
		}
	}
	for _, x := range []struct {
		name string
		into *time.Time
	}{{"iat", &c.issued}, {"nbf", &c.begins}, {"exp", &c.expires}} {
		if *x.into, err = numericDate(m[x.name]); err != nil {
			return c, fmt.Errorf("its %s %w", x.name, err)
		}
	}
	if own := m["tidings"]; own != nil {
		err = c.parseGrants(own)
	}
	return c, err
}

// numericDate returns the time of a claim (RFC 7519, section 2), or zero if it is not there.
func numericDate(text json.RawMessage) (time.Time, error) {
	if text == nil {
		return time.Time{}, nil
	}
	var seconds float64
	if text[0] == 'n' || json.Unmarshal(text, &seconds) != nil {
		return time.Time{}, errors.New("is not a number")
	}
	if seconds <= 0 || seconds > 253402300799 { // the end of the year 9999
		return time.Time{}, errors.New("is not a time")
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC(), nil
}

// parseGrants reads the claim tidings. A member that is not known, as one with a typing error,
// refuses the token: it must not allow less, or more, than was meant.
func (c *claims) parseGrants(text json.RawMessage) error {
	m, err := members(text)
	if err == nil {
		err = only(m, "publish", "subscribe", "administer")
	}
	if err != nil {
		return fmt.Errorf("its claim tidings: %w", err)
	}
	for name, into := range map[string]*[]string{"publish": &c.publish, "subscribe": &c.subscribe} {
		if m[name] == nil {
			continue
		}
		if json.Unmarshal(m[name], into) != nil || len(*into) > maxGrants {
			return fmt.Errorf("%s in its claim tidings is not a list of up to %d strings", name, maxGrants)
		}
	}
	if m["administer"] != nil && json.Unmarshal(m["administer"], &c.administer) != nil {
		return errors.New("administer in its claim tidings is not true or false")
	}
	return nil
}

// checkClaims checks everything but the grants.
func (ts *Tokens) checkClaims(c claims, now time.Time) error {
	refuse := func(reason string) error { return fmt.Errorf("%w: %s", ErrNotAccepted, reason) }
	begins := now
	if !c.issued.IsZero() {
		begins = c.issued
	}
	switch {
	case c.subject == "":
		return refuse("it has no sub")
	case strings.ContainsRune(c.subject, utf8.RuneError): // what package json makes of half a character
		return refuse("its sub is not text in Unicode")
	case len(c.subject) > maxSubject:
		return refuse(fmt.Sprintf("its sub has more than %d bytes", maxSubject))
	case ts.Issuer != "" && c.issuer != ts.Issuer:
		return refuse("its iss is another one")
	case ts.Audience == "" && len(c.audience) > 0:
		return refuse("it has an aud, and no audience is set")
	case ts.Audience != "" && !slices.Contains(c.audience, ts.Audience):
		return refuse("its aud does not name this audience")
	case c.expires.IsZero():
		return refuse("it has no exp")
	case !now.Before(c.expires):
		return fmt.Errorf("%w: the token of %.64q", ErrExpired, c.subject)
	case now.Add(leeway).Before(c.issued):
		return refuse("its iat lies ahead")
	case now.Add(leeway).Before(c.begins):
		return refuse("its nbf lies ahead")
	case c.expires.Sub(begins) > ts.MaxAge:
		return refuse("it lives longer than " + ts.MaxAge.String())
	}
	return nil
}

// grants returns the filters of a list. {sub} stands for the subject, as one token that has
// none of a filter's signs.
func (c *claims) grants(patterns []string) ([]topics.Filter, error) {
	var filters []topics.Filter
	for _, p := range patterns {
		tokens := strings.Split(p, ".")
		for i, token := range tokens {
			if token == "{sub}" {
				tokens[i] = topics.Token(c.subject)
			}
		}
		f, err := topics.ParseFilter(strings.Join(tokens, "."))
		if err != nil {
			return nil, fmt.Errorf("its grant %.64q is not a filter: %w", p, err)
		}
		filters = append(filters, f)
	}
	return filters, nil
}
