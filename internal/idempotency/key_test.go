package idempotency

import (
	"testing"

	"example.com/tidings/eventlog"
)

// Nobody can send a key that is another publisher's.
func TestScope(t *testing.T) {
	seen := map[string][2]string{}
	for _, subject := range []string{"", "jwt:ada", "jwt:ada\x00", "key:ada"} {
		for _, key := range []string{"k", "K", "\x00k", "ada", Scope("jwt:ada", "k"), Scope("", Scope("jwt:ada", "k"))} {
			s := Scope(subject, key)
			if was, twice := seen[s]; twice {
				t.Errorf("%q of %q is also %q", key, subject, was)
			}
			seen[s] = [2]string{subject, key}
			if len(s) > eventlog.MaxKeyBytes || s != Scope(subject, key) {
				t.Errorf("%q", s)
			}
		}
		if Scope(subject, "") != "" {
			t.Error("no key becomes one")
		}
	}
	if Scope("", "k") != "k" {
		t.Error("the key of nobody in particular changes, and with it what was stored before")
	}
}
