package server_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"example.com/tidings/internal/server"
)

// The newest of those who wait for a turn goes first, and every other turn is for one who has had a turn before.
func TestTheNewestTakesTheNextTurn(t *testing.T) {
	for name, tt := range map[string]struct {
		waiting, want []string // the first letter of those who have had a turn is a
	}{
		"first turns":   {[]string{"f1", "f2", "f3"}, []string{"f3", "f2", "f1"}},
		"further turns": {[]string{"a1", "a2"}, []string{"a1", "a2"}},
		"both":          {[]string{"f1", "a1", "f2", "a2", "f3"}, []string{"a1", "f3", "a2", "f2", "f1"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				turns := server.NewTurns(1, t.Context().Done())
				if !turns.Try() || turns.Try() {
					t.Fatal("there is not one turn")
				}
				var got []string
				for _, who := range tt.waiting {
					go func() {
						if turns.Wait(who[0] == 'a') {
							got = append(got, who)
						}
					}()
					synctest.Wait()
				}
				for range tt.waiting {
					turns.Give()
					synctest.Wait()
				}
				if !slices.Equal(got, tt.want) {
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
