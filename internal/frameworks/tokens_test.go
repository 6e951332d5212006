package frameworks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"example.com/tidings/internal/auth"
	"example.com/tidings/topics"
)

// Tokens that another library signs are taken, and those that it signs with another key or
// algorithm are not.
func TestTokensOfGoJose(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys := map[jose.SignatureAlgorithm]any{jose.HS256: secret, jose.RS256: rsaKey, jose.ES256: ecKey, jose.EdDSA: edKey}
	now := time.Now()
	claims := map[string]any{
		"sub": "ada", "aud": []string{"tidings", "other"}, "iss": "https://id.example", "iat": jwt.NewNumericDate(now), "exp": jwt.NewNumericDate(now.Add(time.Hour)),
		"tidings": map[string]any{"subscribe": []string{"users.{sub}.**"}},
	}
	sign := func(alg jose.SignatureAlgorithm, key any, kid string) string {
		t.Helper()
		opts := (&jose.SignerOptions{}).WithType("JWT")
		if kid != "" {
			opts = opts.WithHeader("kid", kid)
		}
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
		if err != nil {
			t.Fatal(err)
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	for alg, key := range keys {
		ts := &auth.Tokens{Keys: []auth.SigningKey{checks(t, key)}, MaxAge: 24 * time.Hour, Audience: "tidings", Issuer: "https://id.example"}
		for _, kid := range []string{"", "2026"} {
			id, err := ts.Check(sign(alg, key, kid), now)
			if err != nil || id.Subject != "jwt:ada" || !slices.Equal(id.Subscribe, topics.MustFilters("users.ada.**")) {
				t.Errorf("%s: %+v, %v", alg, id, err)
			}
		}
		for other, key := range keys {
			if other != alg {
				if id, err := ts.Check(sign(other, key, "2026"), now); err == nil {
					t.Errorf("%s instead of %s: %+v", other, alg, id)
				}
			}
		}
		for _, other := range []jose.SignatureAlgorithm{jose.HS384, jose.HS512} {
			if id, err := ts.Check(sign(other, append(secret, secret...), ""), now); err == nil {
				t.Errorf("%s instead of %s: %+v", other, alg, id)
			}
		}
	}
	for _, other := range []jose.SignatureAlgorithm{jose.PS256, jose.RS512} {
		ts := &auth.Tokens{Keys: []auth.SigningKey{checks(t, rsaKey)}, MaxAge: 24 * time.Hour, Audience: "tidings"}
		if id, err := ts.Check(sign(other, rsaKey, ""), now); err == nil {
			t.Errorf("%s: %+v", other, id)
		}
	}
}

// checks returns what checks the signatures of a key.
func checks(t *testing.T, key any) auth.SigningKey {
	t.Helper()
	text, ok := key.([]byte)
	if !ok {
		der, err := x509.MarshalPKIXPublicKey(key.(crypto.Signer).Public())
		if err != nil {
			t.Fatal(err)
		}
		text = pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := auth.ReadSigningKey("", file)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
