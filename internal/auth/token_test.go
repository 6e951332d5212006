package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"example.com/tidings/topics"
)

var (
	now    = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	secret = []byte("0123456789abcdef0123456789abcdef")
)

// good are claims that are accepted.
func good() map[string]any {
	return map[string]any{
		"sub": "ada", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
		"tidings": map[string]any{"publish": []string{"chat.**"}, "subscribe": []string{"users.{sub}.**", "public.**"}},
	}
}

// with returns the good claims with one changed, or without it if value is nil.
func with(name string, value any) map[string]any {
	c := good()
	if c[name] = value; value == nil {
		delete(c, name)
	}
	return c
}

func segment(v any) string {
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		text = string(b)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(text))
}

// signed returns a token with a header and claims, each JSON or a value of which it is made.
func signed(t testing.TB, method jwt.SigningMethod, key, header, claims any) string {
	t.Helper()
	text := segment(header) + "." + segment(claims)
	sig, err := method.Sign(text, key)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

var hs256 = map[string]any{"alg": "HS256", "typ": "JWT"}

func mac(t testing.TB, claims any) string {
	return signed(t, jwt.SigningMethodHS256, secret, hs256, claims)
}

func tokens(t testing.TB, files ...string) *Tokens {
	t.Helper()
	ts := &Tokens{MaxAge: 24 * time.Hour}
	for i, text := range files {
		k, err := parseSigningKey([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		k.ID = []string{"", "second", "third", "fourth"}[i]
		ts.Keys = append(ts.Keys, k)
	}
	return ts
}

func publicPEM(t testing.TB, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestToken(t *testing.T) {
	ts := tokens(t, string(secret)+"\n")
	id, err := ts.Check(mac(t, good()), now)
	if err != nil {
		t.Fatal(err)
	}
	if id.Subject != "jwt:ada" || id.Administer || !id.Until.Equal(now.Add(time.Hour)) || !id.Issued.Equal(now) ||
		!slices.Equal(id.Publish, topics.MustFilters("chat.**")) || !slices.Equal(id.Subscribe, topics.MustFilters("users.ada.**", "public.**")) {
		t.Errorf("%+v", id)
	}
	// A long token is not looked at, although its signature is right: it would cost memory and time.
	for length, want := range map[int]error{5000: nil, 6200: ErrNotAccepted} {
		long := mac(t, with("padding", strings.Repeat("x", length)))
		if _, err := ts.Check(long, now); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("a token of %d bytes: %v", len(long), err)
		}
	}
	// A list that is missing or empty grants nothing.
	id, err = ts.Check(mac(t, with("tidings", map[string]any{"publish": []string{}, "administer": true})), now)
	if err != nil || len(id.Publish) > 0 || len(id.Subscribe) > 0 || !id.Administer {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err = ts.Check(mac(t, with("tidings", nil)), now); err != nil || len(id.Publish)+len(id.Subscribe) > 0 || id.Administer {
		t.Errorf("%+v, %v", id, err)
	}
}

// The end is exact. Clocks that differ are forgiven at the beginning only.
func TestTokenTimes(t *testing.T) {
	ts := tokens(t, string(secret))
	end := now.Add(time.Hour)
	for at, want := range map[time.Time]error{
		now.Add(-30 * time.Second): nil,
		now.Add(-31 * time.Second): ErrNotAccepted,
		end.Add(-time.Millisecond): nil,
		end:                        ErrExpired,
		end.Add(time.Second):       ErrExpired,
	} {
		if _, err := ts.Check(mac(t, good()), at); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("at %v: %v", at.Sub(now), err)
		}
	}
}

func TestTokenClaims(t *testing.T) {
	claims := func(text string) string {
		b, err := json.Marshal(good())
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(string(b), "}") + "," + text + "}"
	}
	many := make([]string, 65)
	for i := range many {
		many[i] = fmt.Sprint("a.", i)
	}
	own := func(name string, value any) any {
		return with("tidings", map[string]any{"subscribe": []string{"a"}, name: value})
	}
	for name, c := range map[string]any{
		"no exp":                  with("exp", nil),
		"exp as text":             with("exp", fmt.Sprint(now.Add(time.Hour).Unix())),
		"exp is null":             `{"sub":"ada","exp":null}`,
		"exp is 0":                with("exp", 0),
		"exp is negative":         with("exp", -5),
		"exp is far ahead":        with("exp", 9223372036854775807),
		"exp is 1e300":            `{"sub":"ada","exp":1e300}`,
		"lives too long":          with("exp", now.Add(25*time.Hour).Unix()),
		"no iat, lives too long":  map[string]any{"sub": "ada", "exp": now.Add(25 * time.Hour).Unix()},
		"iat is old":              with("iat", now.Add(-24*time.Hour).Unix()),
		"iat ahead":               with("iat", now.Add(time.Minute).Unix()),
		"iat as text":             with("iat", "yesterday"),
		"nbf ahead":               with("nbf", now.Add(time.Minute).Unix()),
		"no sub":                  with("sub", nil),
		"sub is empty":            with("sub", ""),
		"sub is a number":         with("sub", 5),
		"sub is too long":         map[string]any{"sub": strings.Repeat("x", 1001), "exp": now.Add(time.Hour).Unix()},
		"sub is half a character": `{"sub":"ada\ud800","exp":` + fmt.Sprint(now.Add(time.Hour).Unix()) + `}`,
		"sub is not UTF-8":        "{\"sub\":\"ada\xff\",\"exp\":" + fmt.Sprint(now.Add(time.Hour).Unix()) + "}",
		"aud without audience":    with("aud", "tidings"),
		"empty aud list":          with("aud", 5),
		"sub twice":               claims(`"sub":"root"`),
		"tidings twice":           claims(`"tidings":{"administer":true}`),
		"exp twice":               claims(`"exp":1`),
		"a second object":         claims(`"x":1`) + "{}",
		"a list":                  `[]`,
		"not JSON":                `{"sub":`,
		"unknown member":          own("subscibe", []string{"b"}),
		"other case":              own("Administer", true),
		"administer is 1":         own("administer", 1),
		"administer is text":      own("administer", "true"),
		"a filter as text":        own("publish", "a"),
		"a number in a list":      own("publish", []int{5}),
		"too many filters":        own("publish", many),
		"a bad filter":            own("publish", []string{"a", "b..c"}),
		"a reserved filter":       own("publish", []string{"tidings.**"}),
		"a star in a word":        own("publish", []string{"a*"}),
		"part of a token":         own("publish", []string{"user-{sub}"}),
		"another variable":        own("publish", []string{"{iss}"}),
		"tidings is a list":       with("tidings", []string{"a"}),
		"twice within":            claims(`"x":1`)[:1] + `"sub":"ada","exp":1795000000,"tidings":{"publish":["a"],"publish":["**"]}}`,
	} {
		if id, err := tokens(t, string(secret)).Check(mac(t, c), now); !errors.Is(err, ErrNotAccepted) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	// Other cases of the names are other names, and a member that others use counts for nothing.
	id, err := tokens(t, string(secret)).Check(mac(t, claims(`"SUB":"root","TIDINGS":{"administer":true},"email":"a@b"`)), now)
	if err != nil || id.Subject != "jwt:ada" || id.Administer {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestTokenAudienceAndIssuer(t *testing.T) {
	ts := tokens(t, string(secret))
	ts.Audience, ts.Issuer = "tidings", "https://id.example"
	for _, c := range []struct {
		aud, iss any
		want     error
	}{
		{"tidings", "https://id.example", nil},
		{[]string{"other", "tidings"}, "https://id.example", nil},
		{[]string{"other"}, "https://id.example", ErrNotAccepted},
		{"Tidings", "https://id.example", ErrNotAccepted},
		{nil, "https://id.example", ErrNotAccepted},
		{[]string{}, "https://id.example", ErrNotAccepted},
		{"tidings", nil, ErrNotAccepted},
		{"tidings", "https://id.example/", ErrNotAccepted},
	} {
		claims := with("aud", c.aud)
		if c.iss != nil {
			claims["iss"] = c.iss
		}
		if _, err := ts.Check(mac(t, claims), now); !errors.Is(err, c.want) || c.want == nil && err != nil {
			t.Errorf("aud %v, iss %v: %v", c.aud, c.iss, err)
		}
	}
}

// Whatever a subject is called, it gets its own token, and nothing of another one.
func TestTokenSubjects(t *testing.T) {
	ts := tokens(t, string(secret))
	seen := map[topics.Filter]string{}
	for _, sub := range []string{"*", "**", "a.b", "tidings", ".", "{sub}", "ada", "Ada", "a*", " ", "\x00", "ä", "a/b", strings.Repeat("x", 300)} {
		id, err := ts.Check(mac(t, with("sub", sub)), now)
		if len(sub) > 200 {
			if !errors.Is(err, ErrNotAccepted) {
				t.Errorf("a subject of %d bytes: %v", len(sub), err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", sub, err)
			continue
		}
		f := id.Subscribe[0]
		if strings.Count(f.String(), "*") != 2 || strings.Count(f.String(), ".") != 2 || seen[f] != "" {
			t.Errorf("%q may read %s, as %q", sub, f, seen[f])
		}
		seen[f] = sub
	}
}

func TestTokenKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPEM := publicPEM(t, &rsaKey.PublicKey)
	ts := tokens(t, string(secret), rsaPEM, publicPEM(t, &ecKey.PublicKey), publicPEM(t, edPublic))
	head := func(alg string, more ...any) map[string]any {
		h := map[string]any{"alg": alg, "typ": "JWT"}
		for i := 0; i < len(more); i += 2 {
			h[more[i].(string)] = more[i+1]
		}
		return h
	}
	type row struct {
		method jwt.SigningMethod
		key    any
		header map[string]any
	}
	for name, r := range map[string]row{
		"HS256":            {jwt.SigningMethodHS256, secret, head("HS256")},
		"RS256":            {jwt.SigningMethodRS256, rsaKey, head("RS256", "kid", "second")},
		"ES256":            {jwt.SigningMethodES256, ecKey, head("ES256", "kid", "third")},
		"EdDSA":            {jwt.SigningMethodEdDSA, edKey, head("EdDSA", "kid", "fourth")},
		"EdDSA, no kid":    {jwt.SigningMethodEdDSA, edKey, head("EdDSA")},
		"an unknown kid":   {jwt.SigningMethodHS256, secret, head("HS256", "kid", "x")},
		"ignored keys":     {jwt.SigningMethodHS256, secret, head("HS256", "jku", "http://127.0.0.1:1/", "jwk", map[string]string{"kty": "oct", "k": ""}, "x5u", "http://127.0.0.1:1/")},
		"a type of itself": {jwt.SigningMethodHS256, secret, map[string]any{"alg": "HS256", "typ": "at+jwt"}},
	} {
		if _, err := ts.Check(signed(t, r.method, r.key, r.header, good()), now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]row{
		"the PEM as a secret":        {jwt.SigningMethodHS256, []byte(rsaPEM), head("HS256", "kid", "second")},
		"the PEM, without a kid":     {jwt.SigningMethodHS256, []byte(rsaPEM), head("HS256")},
		"none":                       {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, head("none")},
		"None":                       {jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, head("None")},
		"an empty secret":            {jwt.SigningMethodHS256, []byte{}, head("HS256")},
		"another secret":             {jwt.SigningMethodHS256, []byte("0123456789abcdef0123456789abcdeF"), head("HS256")},
		"HS384 with the secret":      {jwt.SigningMethodHS384, secret, head("HS384")},
		"HS256, says HS512":          {jwt.SigningMethodHS256, secret, head("HS512")},
		"RS256, says PS256":          {jwt.SigningMethodRS256, rsaKey, head("PS256", "kid", "second")},
		"another key's kid":          {jwt.SigningMethodHS256, secret, head("HS256", "kid", "second")},
		"a kid of 129 bytes":         {jwt.SigningMethodHS256, secret, head("HS256", "kid", strings.Repeat("k", 129))},
		"a kid that is a number":     {jwt.SigningMethodHS256, secret, head("HS256", "kid", 5)},
		"crit":                       {jwt.SigningMethodHS256, secret, head("HS256", "crit", []string{"b64"}, "b64", false)},
		"an unknown kid, other key":  {jwt.SigningMethodEdDSA, edKey, head("EdDSA", "kid", "x")},
		"an algorithm that is a map": {jwt.SigningMethodHS256, secret, map[string]any{"alg": map[string]any{}}},
		"no algorithm":               {jwt.SigningMethodHS256, secret, map[string]any{"typ": "JWT"}},
	} {
		if id, err := ts.Check(signed(t, r.method, r.key, r.header, good()), now); !errors.Is(err, ErrNotAccepted) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
}

// A token has one spelling.
func TestTokenSpellings(t *testing.T) {
	ts := tokens(t, string(secret))
	token := mac(t, good())
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(digits, token[len(token)-1])
	others := []string{token + "=", token + ".", "." + token, token + " ", " " + token, token + "\n", strings.Replace(token, ".", ".\r\n", 1), strings.ToUpper(token), token[:len(token)-1],
		strings.Replace(token, ".", "..", 1), strings.Repeat(".", 5000), strings.Repeat("a", 9000), "", "..", token + strings.Repeat("A", 9000), token + "." + token}
	for i := range 3 {
		others = append(others, token[:len(token)-1]+string(digits[last^(i+1)]))
	}
	for _, other := range others {
		if _, err := ts.Check(other, now); !errors.Is(err, ErrNotAccepted) {
			t.Errorf("%.60q: %v", other, err)
		}
	}
}

func TestSigningKeyFiles(t *testing.T) {
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(edKey)
	if err != nil {
		t.Fatal(err)
	}
	publicDER, err := x509.MarshalPKIXPublicKey(edKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	edPEM := publicPEM(t, edKey.Public())
	for text, want := range map[string]string{
		"":                         "32 at least",
		"short\n":                  "32 at least",
		string(secret[:31]) + "\n": "has a secret of 31 bytes",
		string(publicDER):          "no secret",
		base64.StdEncoding.EncodeToString(publicDER):                                         "no secret",
		`{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`:    "no secret",
		"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGvWpT0uVJHGg0o9nOyWbnXHVfO5Mn0v7l0b0k1a ada\n": "no secret",
		publicPEM(t, &short.PublicKey):                                                       "1024 bits",
		publicPEM(t, &p384.PublicKey):                                                        "another curve",
		edPEM + edPEM:                                                                        "one PEM block",
		"-----BEGIN PUBLIC KEY-----":                                                         "no PEM block",
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})):              "private key",
		string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})):              "of the type PUBLIC KEY",
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})):               "cannot be read",
	} {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSigningKey("", name); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	// A public key need not be hidden, and a secret has to be.
	for text, hidden := range map[string]bool{edPEM: false, string(secret): true} {
		name := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadSigningKey("", name); (err != nil) != hidden {
			t.Errorf("%.40q: %v", text, err)
		}
	}
}

func FuzzToken(f *testing.F) {
	ts := tokens(f, string(secret))
	f.Add(mac(f, good()))
	f.Add("a.b.c")
	f.Fuzz(func(t *testing.T, token string) {
		if id, err := ts.Check(token, now); err == nil && id.Subject == "" {
			t.Errorf("%q is accepted of nobody", token)
		}
	})
}

// Claims that are signed are accepted only with an end and a subject.
func FuzzClaims(f *testing.F) {
	b, err := json.Marshal(good())
	if err != nil {
		f.Fatal(err)
	}
	ts := tokens(f, string(secret))
	f.Add(string(b))
	f.Add(`{"sub":"ada","exp":1796000000.5,"aud":["a"],"tidings":{"publish":["{sub}.*"]}}`)
	f.Fuzz(func(t *testing.T, claims string) {
		id, err := ts.Check(mac(t, claims), now)
		if err == nil && (len(id.Subject) < 5 || !id.Until.After(now) || id.Until.Sub(now) > ts.MaxAge+leeway || len(id.Publish) > maxGrants) {
			t.Errorf("%+v", id)
		}
	})
}
