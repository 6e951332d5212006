package auth

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"example.com/tidings/topics"
)

// What keygen makes and token signs is accepted.
func TestSign(t *testing.T) {
	dir := t.TempDir()
	private, secret := filepath.Join(dir, "key"), filepath.Join(dir, "secret")
	if err := GenerateKeys(private); err != nil {
		t.Fatal(err)
	}
	if err := GenerateSecret(secret); err != nil {
		t.Fatal(err)
	}
	for checks, signs := range map[string]string{private + ".pub": private, secret: secret} {
		k, err := ReadSigningKey("a", checks)
		if err != nil {
			t.Fatal(err)
		}
		ts := &Tokens{Keys: []SigningKey{k}, MaxAge: time.Hour, Issuer: "i", Audience: "b"}
		token, err := Sign(Claims{"i", "ada", "b", now, now.Add(time.Hour), Grant{Subscribe: []string{"{sub}.*"}, Administer: true}}, signs, "a")
		if err != nil {
			t.Fatal(err)
		}
		id, err := ts.Check(token, now)
		if err != nil || id.Subject != "jwt:ada" || id.Key != "a" || !id.Administer || !slices.Equal(id.Subscribe, topics.MustFilters("ada.*")) || len(id.Publish) > 0 {
			t.Errorf("%+v, %v", id, err)
		}
		if info, err := os.Stat(signs); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
	// No key is overwritten.
	if err := GenerateKeys(private); err == nil {
		t.Error("a key was made over another one")
	}
	if err := GenerateSecret(secret); err == nil {
		t.Error("a secret was made over another one")
	}
	if _, err := Sign(Claims{}, private+".pub", ""); err == nil {
		t.Error("a public key signs")
	}
}
