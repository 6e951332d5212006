package hub_test

import (
	"slices"
	"testing"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/sse"
)

// renewed waits until the hub has made its view anew, from a log that was opened anew.
func (s *station) renewed(t *testing.T, era int) {
	t.Helper()
	eventually(t, "the hub reads the log anew", func() bool { return s.Era() == era })
}

// When the log fails and is opened anew, with less than it had, the clients that are
// connected are told that messages were lost, and go on: who is live, who stalls, and
// who comes back.
func TestPathLogThatIsOpenedAnew(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		for _, tt := range openedAnew {
			t.Run(tt.name, func(t *testing.T) {
				log := newFragileLog()
				s := p.station(t, log, &hub.Options{Window: 100}, nil)
				live := s.stream(t, query("a")).opened(t)
				ids := publish(t, s.Hub, numbered("a", "", 9)...)
				live.expect(t, data(numbered("a", "", 9))...)
				stalled := s.stream(t, query("a")).opened(t)
				readOn := s.stall(t, stalled, "a") // the tenth
				ids = append(ids, live.tenth(t))
				log.reopen(t, tt.survives, tt.how)
				if tt.survives < 10 || tt.how != sameEpoch {
					s.renewed(t, 2)
				}
				if head := s.Head(); head != uint64(tt.survives) {
					t.Fatalf("the hub's head is %d, want %d", head, tt.survives)
				}
				want := append(slices.Clone(tt.want), "new", "newer")
				after := publish(t, s.Hub, "a:new", "a:newer")
				live.expect(t, want...)
				readOn()
				stalled.expect(t, want...)
				if live.id != after[1] || stalled.id != after[1] {
					t.Errorf("the last one's id is %s and %s, want %s", live.id, stalled.id, after[1])
				}
				s.stream(t, query("a"), "Last-Event-ID", after[0]).opened(t).expect(t, "newer")
				if tt.how == sameEpoch {
					return // ids of what was lost cannot be told from new ones
				}
				again := s.stream(t, query("a"), "Last-Event-ID", ids[9]).opened(t)
				again.expect(t, want...)
			})
		}
	})
}

// tenth reads the tenth message, which is large.
func (c *client) tenth(t *testing.T) (id string) {
	t.Helper()
	if ev := c.event(t); len(ev.Data) < 1<<20 {
		t.Fatalf("the tenth is %+v", ev)
	}
	return c.id
}

// The position that a silent client is told is named after the log as it is now.
func TestPathPositionsAfterTheLogWasOpenedAnew(t *testing.T) {
	inTurn(t, ownPaths, func(t *testing.T, p path) {
		log := newFragileLog()
		s := p.station(t, log, &hub.Options{KeepAlive: 50 * time.Millisecond}, nil)
		c := s.stream(t, query("quiet")).opened(t)
		position := func() string {
			for {
				switch ev := c.event(t); ev.Type {
				case hub.PositionEventType:
					return ev.ID
				case "tidings.gap":
				default:
					t.Fatalf("then comes %+v", ev)
				}
			}
		}
		before := publish(t, s.Hub, numbered("busy", "", 10)...)
		for position() != before[9] {
		}
		log.reopen(t, 7, newEpoch)
		s.renewed(t, 2)
		after := publish(t, s.Hub, numbered("busy", "new", 3)...)
		for {
			if id := position(); id == after[2] {
				break
			} else if id == before[9] {
				t.Fatalf("it is told the position %s, which was lost", id)
			}
		}
		publish(t, s.Hub, "quiet:x")
		c.expect(t, "x")
	})
}

// A log that is opened anew again and again, with who reads from it far behind.
func TestPathLogThatIsOpenedAnewWhileStreamsCatchUp(t *testing.T) {
	on(t, everyPath, func(t *testing.T, p path) {
		log := newFragileLog()
		s := p.station(t, log, &hub.Options{Window: 4}, nil)
		all := large("a", "", 600)
		s.publishSeen(t, all...)
		c := s.stream(t, query("a", "from", "start")).opened(t)
		c.expect(t, data(all)[:10]...)
		log.reopen(t, 400, newEpoch)
		s.renewed(t, 2)
		c.expect(t, data(all)[10:20]...)
		s.publishSeen(t, "a:once")
		log.reopen(t, 401, newEpoch)
		s.renewed(t, 3)
		s.publishSeen(t, "a:twice")
		// What survived comes, in order; whether it was sent more before, the gap says.
		next, last := 20, 0
		for {
			ev := c.event(t)
			if gap, ok := ev.gap(); ok {
				if gap.Reason != sse.GapLost || last > 0 {
					t.Fatalf("a gap: %+v", gap)
				}
				next, last = 400, 1
				continue
			}
			switch {
			case ev.Data == "twice":
				return
			case ev.Data == "once" && next >= 400:
			case next < len(all) && ev.Data == data(all)[next]:
				next++
			default:
				t.Fatalf("when %d is next comes %.20q", next, ev.Data)
			}
		}
	})
}
