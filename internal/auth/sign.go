package auth

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A Grant is the claim tidings of a token.
type Grant struct {
	Publish    []string `json:"publish,omitempty"`
	Subscribe  []string `json:"subscribe,omitempty"`
	Administer bool     `json:"administer,omitempty"`
}

// Claims are those of a token.
type Claims struct {
	Issuer, Subject, Audience string
	Issued, Expires           time.Time
	Grant                     Grant
}

// Sign returns a token with some claims, signed with the private key or the secret of a file. If
// kid is not empty, the token names it.
func Sign(c Claims, file, kid string) (string, error) {
	b, err := readSecret(file)
	if err != nil {
		return "", err
	}
	key, err := privateKey(b)
	if err != nil {
		return "", fmt.Errorf("the key file %s %w", file, err)
	}
	own := claims{subject: c.Subject}
	for _, patterns := range [][]string{c.Grant.Publish, c.Grant.Subscribe} {
		if _, err := own.grants(patterns); err != nil {
			return "", fmt.Errorf("the token would be refused: %w", err)
		}
	}
	claims := jwt.MapClaims{"sub": c.Subject, "iat": c.Issued.Unix(), "exp": c.Expires.Unix(), "tidings": c.Grant}
	if c.Issuer != "" {
		claims["iss"] = c.Issuer
	}
	if c.Audience != "" {
		claims["aud"] = c.Audience
	}
	t := jwt.NewWithClaims(key.method, claims)
	if kid != "" {
		t.Header["kid"] = kid
	}
	// Package jwt marshals with HTML escapes, which are JSON, too.
	return t.SignedString(key.key)
}

// privateKey returns the key that signs. Its error is a predicate.
func privateKey(b []byte) (SigningKey, error) {
	if !bytes.Contains(b, []byte("-----BEGIN ")) {
		return parseSigningKey(b)
	}
	block, _ := pem.Decode(b)
	if block == nil || block.Type != "PRIVATE KEY" {
		return SigningKey{}, errors.New("has to have one PEM block, of the type PRIVATE KEY")
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return SigningKey{}, errors.New("has a private key that cannot be read")
	}
	switch key := private.(type) {
	case *rsa.PrivateKey:
		return SigningKey{method: jwt.SigningMethodRS256, key: key}, nil
	case *ecdsa.PrivateKey:
		if key.Curve == elliptic.P256() {
			return SigningKey{method: jwt.SigningMethodES256, key: key}, nil
		}
	case ed25519.PrivateKey:
		return SigningKey{method: jwt.SigningMethodEdDSA, key: crypto.PrivateKey(key)}, nil
	}
	return SigningKey{}, errors.New("has a key of another kind than RSA, P-256 and Ed25519")
}

// GenerateKeys makes an Ed25519 key. The private one is in the file, which only its owner may
// read, and the public one in the same name with .pub. Neither may exist.
func GenerateKeys(file string) error {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	for _, half := range []struct {
		name, kind string
		mode       os.FileMode
		marshal    func() ([]byte, error)
	}{
		{file, "PRIVATE KEY", 0o600, func() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(private) }},
		{file + ".pub", "PUBLIC KEY", 0o644, func() ([]byte, error) { return x509.MarshalPKIXPublicKey(public) }},
	} {
		der, err := half.marshal()
		if err == nil {
			err = create(half.name, pem.EncodeToMemory(&pem.Block{Type: half.kind, Bytes: der}), half.mode)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// GenerateSecret makes a secret for HS256 in a file that does not exist, which only its owner may
// read.
func GenerateSecret(file string) error {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	return create(file, []byte(base64.RawURLEncoding.EncodeToString(b)+"\n"), 0o600)
}

func create(name string, b []byte, mode os.FileMode) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
