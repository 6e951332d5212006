package auth

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/topics"
)

func TestKeys(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys")
	var secrets []string
	for i, n := range []string{"shop", "ops", "old"} {
		s, k, err := NewKey(n)
		if err != nil {
			t.Fatal(err)
		}
		k.Publish, k.Administer = topics.MustFilters("orders.**"), i == 1
		if n == "old" {
			k.Expires = now
		}
		if err := AddKey(name, k); err != nil {
			t.Fatal(err)
		}
		if err := AddKey(name, k); err == nil || !strings.Contains(err.Error(), "has a key "+n+" already") {
			t.Errorf("a second key %s: %v", n, err)
		}
		secrets = append(secrets, s)
	}
	keys, err := ReadKeys(name)
	if err != nil {
		t.Fatal(err)
	}
	id, err := keys.Find(secrets[0], now)
	if err != nil || id.Subject != "key:shop" || id.Administer || !slices.Equal(id.Publish, topics.MustFilters("orders.**")) || len(id.Subscribe) > 0 || !id.Until.IsZero() {
		t.Errorf("%+v, %v", id, err)
	}
	if id, err := keys.Find(secrets[1], now); err != nil || !id.Administer {
		t.Errorf("%+v, %v", id, err)
	}
	if _, err := keys.Find(secrets[2], now.Add(-1)); err != nil {
		t.Errorf("just before its end: %v", err)
	}
	if _, err := keys.Find(secrets[2], now); !errors.Is(err, ErrExpired) {
		t.Errorf("at its end: %v", err)
	}
	_, rest, _ := strings.Cut(secrets[0], "shop")
	for _, other := range []string{"", "tdk_", "tdk_shop", "tdk_shop_", secrets[0] + "x", secrets[0][:len(secrets[0])-1], "tdk_ops" + rest,
		"tdk_none" + rest, "TDK_shop" + rest, "tdk__" + rest, strings.Repeat("x", 9000)} {
		if _, err := keys.Find(other, now); !errors.Is(err, ErrNotAccepted) {
			t.Errorf("%.50q: %v", other, err)
		}
	}
	if b, err := os.ReadFile(name); err != nil || strings.Contains(string(b), rest) {
		t.Errorf("the file has a secret; %v", err)
	}
}

func TestKeyNames(t *testing.T) {
	for _, name := range []string{"", "A", "a_b", "a b", "ä", strings.Repeat("a", 65)} {
		if _, _, err := NewKey(name); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func TestKeysFile(t *testing.T) {
	hash := strings.Repeat("0a", 32)
	line := func(more string) string { return fmt.Sprintf(`{"name":"shop","sha256":"%s"%s}`, hash, more) }
	for text, want := range map[string]string{
		line("") + "\n\n" + line(""):              "line 3: a second key is called shop",
		"x":                                       "line 1: it is not a JSON object",
		line("") + "{}":                           "more than one",
		line(`,"publsh":["a"]`):                   `the member "publsh" is not known`,
		line(`,"Publish":["a"]`):                  `the member "Publish" is not known`,
		line(`,"name":"other"`):                   `the member "name" is there twice`,
		line(`,"publish":"a"`):                    "right types",
		line(`,"publish":["a..b"]`):               "a grant",
		line(`,"subscribe":["tidings.x"]`):        "reserved",
		line(`,"expires":"tomorrow"`):             "right types",
		`{"name":"Shop","sha256":"` + hash + `"}`: "the name has",
		`{"name":"shop","sha256":"12"}`:           "64 hexadecimal digits",
		`{"name":"shop"}`:                         "64 hexadecimal digits",
		line(`,"publish":["a"` + strings.Repeat(`,"a"`, 64) + `]`): "more than 64",
	} {
		_, err := ParseKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), hash) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
	name := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(name, []byte(line("")), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadKeys(name); err == nil || !strings.Contains(err.Error(), "0640") || !strings.Contains(err.Error(), "0600") {
		t.Errorf("a file that others may read: %v", err)
	}
}

func TestNarrowed(t *testing.T) {
	key := func(publish, subscribe string, more ...func(*Key)) Keys {
		k := Key{Name: "k", SHA256: "AA", Publish: topics.MustFilters(strings.Fields(publish)...), Subscribe: topics.MustFilters(strings.Fields(subscribe)...)}
		for _, f := range more {
			f(&k)
		}
		return Keys{"k": k}
	}
	until := func(at time.Time) func(*Key) { return func(k *Key) { k.Expires = at } }
	was := key("a.*", "b.**", func(k *Key) { k.Administer = true }, until(now))
	admin := func(k *Key) { k.Administer = true }
	for i, c := range []struct {
		newer Keys
		want  bool
	}{
		{was, false},
		{key("a.* c", "**", admin, until(now.Add(1))), false},
		{key("a.**", "b.* b.*.**", admin), false},
		{Keys{}, true},
		{key("a.*", "b.**", until(now)), true},
		{key("a.b", "b.**", admin, until(now)), true},
		{key("a.*", "b.*", admin, until(now)), true},
		{key("a.*", "b.**", admin, until(now.Add(-1))), true},
		{key("a.*", "b.**", admin, until(now), func(k *Key) { k.SHA256 = "bb" }), true},
	} {
		if got := was.Narrowed(c.newer); (len(got) == 1) != c.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte(`{"name":"shop","sha256":"` + strings.Repeat("0a", 32) + `","publish":["a.**"]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseKeys(b)
		if err == nil && len(keys.Narrowed(keys)) > 0 {
			t.Errorf("%v is narrower than itself", keys)
		}
	})
}
