package server_test

import (
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"example.com/tidings/internal/server"
)

// The oldest of those who wait for a turn goes first, those who have waited for too long go last, the newest of
// them first, and every other turn is for one who has had a turn before.
func TestOrderOfTurns(t *testing.T) {
	for name, tt := range map[string]struct {
		late, waiting, want string // a letter each; those in upper case have had a turn before
	}{
		"first turns":   {"", "abc", "abc"},
		"late":          {"abc", "", "cba"},
		"some late":     {"ab", "cd", "cdba"},
		"further turns": {"", "AB", "AB"},
		"both":          {"", "aBcDe", "BaDce"},
		"all":           {"ab", "cDEF", "DcEbFa"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := server.NewTurns(1, t.Context().Done())
				if !turns.Try() || turns.Try() {
					t.Fatal("there is not one turn")
				}
				got := ""
				wait := func(who rune) {
					go func() {
						if turns.Wait(unicode.IsUpper(who)) {
							got += string(who)
						}
					}()
					synctest.Wait()
				}
				for _, who := range tt.late {
					wait(who)
				}
				time.Sleep(server.Patience + 1)
				for _, who := range tt.waiting {
					wait(who)
				}
				time.Sleep(server.Patience / 2)
				for range tt.want {
					turns.Give()
					synctest.Wait()
				}
				if got != tt.want {
					t.Errorf("the order is %q, want %q", got, tt.want)
				}
				turns.Give()
				if !turns.Try() || turns.Try() {
					t.Error("there is not one turn in the end")
				}
			})
		})
	}
}

// Whoever stops waiting takes no turn with it.
func TestTurnsAreNotLostWhenWaitingEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		turns := server.NewTurns(1, closed)
		turns.Try()
		for range 10 {
			go func() {
				if turns.Wait(false) {
					turns.Give()
				}
			}()
		}
		synctest.Wait()
		go close(closed)
		turns.Give()
		synctest.Wait()
		if !turns.Try() || turns.Try() {
			t.Error("there is not one turn in the end")
		}
	})
}
