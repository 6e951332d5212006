package bench_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/bench"
	"example.com/tidings/internal/problem"
)

// counts are the faults in a report.
type counts struct {
	failed, closed, missing, repeated, outOfOrder, foreign, garbled, gaps int64
}

func countsOf(r *bench.Report) counts {
	return counts{r.Failed, r.Closed, r.Missing, r.Repeated, r.OutOfOrder, r.Foreign, r.Garbled, r.Gaps}
}

// The bench finds each fault of a hub, and counts it exactly as often as it happens. Ten
// messages go to four subscribers.
func TestFaultsAreFound(t *testing.T) {
	// once calls f for one message of one subscriber.
	once := func(f func(s *stream, data string)) func(*stream, int, string) {
		return func(s *stream, n int, data string) {
			if s.index == 2 && n == 5 {
				f(s, data)
			} else {
				s.send(data)
			}
		}
	}
	flip := func(s string, i int) string { return s[:i] + string(s[i]^1) + s[i+1:] }
	for _, tt := range []struct {
		name    string
		deliver func(s *stream, n int, data string)
		want    counts
		says    string // part of the problems
	}{
		{"nothing", nil, counts{}, ""},
		{"a message is lost", once(func(*stream, string) {}), counts{missing: 1}, ""},
		{"a message is repeated", once(func(s *stream, data string) { s.send(data); s.send(data) }), counts{repeated: 1}, ""},
		{"the first is repeated after the last", func(s *stream, n int, data string) {
			if s.send(data); s.index == 0 && n == 0 {
				s.held = data
			}
			if s.index == 0 && n == 9 {
				s.send(s.held)
			}
		}, counts{repeated: 1}, ""},
		{"two change places", func(s *stream, n int, data string) {
			switch {
			case s.index == 1 && n == 3:
				s.held = data
			case s.index == 1 && n == 4:
				s.send(data)
				s.send(s.held)
			default:
				s.send(data)
			}
		}, counts{outOfOrder: 1}, ""},
		{"all lose the same message", func(s *stream, n int, data string) {
			if n != 4 {
				s.send(data)
			}
		}, counts{missing: 4}, ""},
		{"a byte of the filler changes", once(func(s *stream, data string) { s.send(flip(data, len(data)-1)) }), counts{garbled: 1, missing: 1}, "not as it was published"},
		{"a byte of the number changes", once(func(s *stream, data string) { s.send(flip(data, 33)) }), counts{garbled: 1, missing: 1}, "not as it was published"},
		{"the data is cut", once(func(s *stream, data string) { s.send(data[:60]) }), counts{garbled: 1, missing: 1}, ""},
		{"the data is broken into lines", once(func(s *stream, data string) { s.send(data[:60] + "\ndata: " + data[60:]) }), counts{garbled: 1, missing: 1}, ""},
		{"an event with foreign data", once(func(s *stream, data string) { s.send(data); s.send("hello") }), counts{garbled: 1}, "hello"},
		{"a message of another run", once(func(s *stream, data string) {
			other := bench.NewData(100)
			bench.NewMarker(1, 0, 5, 0).Put(other)
			s.send(data)
			s.send(string(other))
		}), counts{foreign: 1}, "not for it"},
		{"a message that was never published", once(func(s *stream, data string) {
			m, _ := bench.ParseMarker([]byte(data))
			other := []byte(data)
			m.WithSeq(60).Put(other)
			s.send(data)
			s.send(string(other))
		}), counts{foreign: 1}, "not for it"},
		{"an event of another type", once(func(s *stream, data string) { s.send(data); s.raw("event: other\ndata: x\n\n") }), counts{foreign: 1}, `"other"`},
		{"a gap", once(func(s *stream, data string) {
			s.raw("event: tidings.gap\ndata: {\"reason\":\"lag\",\"missed\":1}\nid: 2\n\n")
		}), counts{gaps: 1, missing: 1}, `"reason":"lag"`},
		{"a stream is closed", once(func(s *stream, data string) { s.send(data); s.end() }), counts{closed: 1, missing: 4}, "after 6 messages: the server has ended it"},
		{"an endless event", func(s *stream, n int, data string) {
			if s.index > 0 {
				s.send(data)
			} else if n == 0 {
				s.raw("data: " + strings.Repeat("x", 100<<10))
			}
		}, counts{closed: 1, missing: 10}, "larger"},
		{"keep-alives and positions are no fault", func(s *stream, _ int, data string) {
			s.raw(": keep-alive\n")
			s.raw("event: tidings.position\ndata: {}\nid: 3\n\n")
			s.send(data)
			s.raw(":\n")
		}, counts{}, ""},
		{"a message with its type, in CRLF, is no fault", func(s *stream, _ int, data string) {
			s.raw("id: 3\r\nevent: message\r\ndata:" + data + "\r\n\r\n")
		}, counts{}, ""},
		{"streams in single bytes are no fault", func(s *stream, _ int, data string) {
			for _, c := range []byte("data: " + data + "\nid: 1\n\n") {
				s.raw(string(rune(c)))
			}
		}, counts{}, ""},
	} {
		for _, w := range ways {
			t.Run(tt.name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				f := &faulty{deliver: tt.deliver}
				cfg := serve(t, w, f)
				// With fewer messages in flight, a lost message would end the run.
				cfg.Subscribers, cfg.Messages, cfg.InFlight = 4, 10, 10
				rep := run(t, cfg)
				if got := countsOf(rep); got != tt.want {
					t.Errorf("got %+v, want %+v; %q", got, tt.want, rep.Problems)
				}
				bad := tt.want != counts{}
				if rep.OK == bad || (rep.Verdict() != nil) != bad || rep.Deliveries != 40-rep.Missing || rep.Published != 10 || rep.Stalled {
					t.Errorf("verdict %v on %+v", rep.Verdict(), rep)
				}
				if all := strings.Join(rep.Problems, "\n"); !strings.Contains(all, tt.says) || tt.says == "" && !bad && all != "" {
					t.Errorf("the problems are %q, want %q", all, tt.says)
				}
			})
		}
	}
}

// A message is foreign to a subscriber of another topic.
func TestAMessageOfAnotherTopicIsForeign(t *testing.T) {
	f := &faulty{}
	f.deliver = func(s *stream, n int, data string) {
		s.send(data)
		if n == 3 {
			for _, other := range f.streams {
				if other.topic != s.topic {
					other.send(data)
				}
			}
		}
	}
	cfg := serve(t, way{}, f)
	cfg.Subscribers, cfg.Topics, cfg.Messages = 2, 2, 10
	rep := run(t, cfg)
	if got := countsOf(rep); (got != counts{foreign: 1}) {
		t.Errorf("got %+v; %q", got, rep.Problems)
	}
}

// The last messages are missing, and no later message shows that. The run ends when
// nothing has arrived for the timeout.
func TestNothingMoreArrives(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  bench.Config
		want counts
		sent int64
	}{
		{"in a closed loop", bench.Config{InFlight: 2}, counts{missing: 4}, 4},
		{"at a rate", bench.Config{Rate: 1000}, counts{missing: 16}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := serve(t, way{}, &faulty{deliver: func(s *stream, n int, data string) {
				if n < 2 || s.index < 2 {
					s.send(data)
				}
			}})
			cfg.Subscribers, cfg.Messages, cfg.Timeout = 4, 10, 300*time.Millisecond
			cfg.InFlight, cfg.Rate = tt.set.InFlight, tt.set.Rate
			rep := run(t, cfg)
			if got := countsOf(rep); got != tt.want || !rep.Stalled || rep.OK || rep.Published != tt.sent {
				t.Errorf("got %+v of %+v", got, rep)
			}
		})
	}
}

// A pause before a message is due is not a stall.
func TestASlowRateIsNoStall(t *testing.T) {
	cfg := serve(t, way{}, &faulty{})
	cfg.Subscribers, cfg.Messages, cfg.Rate, cfg.Timeout = 1, 3, 3, 150*time.Millisecond
	if rep := run(t, cfg); !rep.OK || rep.Published != 3 || rep.Duration < 0.6 {
		t.Errorf("%+v", rep)
	}
}

// A publish that is refused or not answered ends the run, and the report says so. The
// run still checks the other messages.
func TestPublishingFails(t *testing.T) {
	for _, tt := range []struct {
		name        string
		publish     func(w http.ResponseWriter, n int) bool
		says        []string
		unconfirmed int64
	}{
		{"refused", func(w http.ResponseWriter, n int) bool {
			if n == 5 {
				problem.InsufficientStorage.With("There is no room.").ServeHTTP(w, nil)
			}
			return n == 5
		}, []string{"507", "There is no room."}, 1},
		{"without a problem", func(w http.ResponseWriter, n int) bool {
			if n == 5 {
				http.Error(w, "oops", http.StatusBadGateway)
			}
			return n == 5
		}, []string{"502 Bad Gateway"}, 1},
		{"cut off", func(w http.ResponseWriter, n int) bool {
			if n == 5 {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Close()
				}
			}
			return n == 5
		}, []string{"without an answer"}, 1},
	} {
		for _, w := range ways {
			t.Run(tt.name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				cfg := serve(t, w, &faulty{publish: tt.publish})
				cfg.Subscribers, cfg.Messages = 3, 10
				rep := run(t, cfg)
				if got := countsOf(rep); got != (counts{}) || rep.OK || rep.Published != 5 || rep.Unconfirmed != tt.unconfirmed || rep.Deliveries != 15 || rep.Stalled {
					t.Errorf("got %+v of %+v", got, rep)
				}
				all := strings.Join(rep.Problems, "\n")
				for _, s := range tt.says {
					if !strings.Contains(all, s) {
						t.Errorf("the problems are %q, want %q", all, s)
					}
				}
				if err := rep.Verdict(); err == nil || !strings.Contains(err.Error(), "5 messages were not published") {
					t.Errorf("the verdict is %v", err)
				}
			})
		}
	}
}

// If a proxy closes its connections every few requests with "Connection: close", no
// message is lost or repeated.
func TestConnectionsThatTheServerCloses(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			closed := 0
			cfg := serve(t, w, &faulty{publish: func(w http.ResponseWriter, n int) bool {
				if n%7 == 6 {
					closed++
					w.Header().Set("Connection", "close")
				}
				return false
			}})
			cfg.Subscribers, cfg.Messages, cfg.InFlight = 3, 100, 16
			if rep := run(t, cfg); !rep.OK || rep.Published != 100 || closed < 10 {
				t.Errorf("after %d connections: %+v", closed, rep)
			}
		})
	}
}

// The report counts streams that do not open, and says why the first one did not.
func TestSomeStreamsDoNotOpen(t *testing.T) {
	for _, tt := range []struct {
		name      string
		subscribe func(w http.ResponseWriter, r *http.Request, index int) bool
		says      string
	}{
		{"refused", func(w http.ResponseWriter, _ *http.Request, index int) bool {
			if index%2 == 1 {
				problem.Unavailable.With("It is full.").ServeHTTP(w, nil)
			}
			return index%2 == 1
		}, "503 Service Unavailable: It is full."},
		{"ended at once", func(w http.ResponseWriter, _ *http.Request, index int) bool {
			if index%2 == 1 {
				w.Header().Set("Content-Type", "text/event-stream")
				w.Write([]byte("retry: 2000\n\n"))
			}
			return index%2 == 1
		}, "before its first event"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request, index int) bool {
			if index%2 == 1 {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err == nil {
					conn.Close()
				}
			}
			return index%2 == 1
		}, "before its first event"},
		{"another type", func(w http.ResponseWriter, _ *http.Request, index int) bool {
			if index%2 == 1 {
				w.Header().Set("Content-Type", "text/html")
				w.Write([]byte("<html>"))
			}
			return index%2 == 1
		}, `"text/html"`},
	} {
		for _, w := range ways {
			t.Run(tt.name+", "+w.name, func(t *testing.T) {
				t.Parallel()
				cfg := serve(t, w, &faulty{subscribe: tt.subscribe})
				cfg.Subscribers, cfg.Messages = 6, 5
				rep := run(t, cfg)
				if got := countsOf(rep); got != (counts{failed: 3}) || rep.OK || rep.Opened != 3 || rep.Deliveries != 15 {
					t.Errorf("got %+v of %+v", got, rep)
				}
				if all := strings.Join(rep.Problems, "\n"); !strings.Contains(all, tt.says) {
					t.Errorf("the problems are %q, want %q", all, tt.says)
				}
			})
		}
	}
}

// A stream that opens too late does not count, and neither do its messages.
func TestStreamsThatOpenTooLate(t *testing.T) {
	for _, w := range ways {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			h := &hanging{release: make(chan struct{})}
			h.faulty = &faulty{publish: func(_ http.ResponseWriter, n int) bool {
				if n == 2 {
					close(h.release)
				}
				return false
			}}
			cfg := serve(t, w, h)
			cfg.Subscribers, cfg.Messages, cfg.Rate, cfg.Timeout = 4, 20, 100, 300*time.Millisecond
			rep := run(t, cfg)
			if got := countsOf(rep); got != (counts{failed: 2}) || rep.OK || rep.Opened != 2 || rep.Deliveries != 40 {
				t.Errorf("got %+v of %+v", got, rep)
			}
		})
	}
}

// A lost message delays a closed loop only until its subscriber gets a later one.
func TestALostMessageHoldsUpNothing(t *testing.T) {
	for _, topics := range []int{1, 2} {
		cfg := serve(t, way{}, &faulty{deliver: func(s *stream, n int, data string) {
			if n != 10 {
				s.send(data)
			}
		}})
		cfg.Subscribers, cfg.Topics, cfg.Messages, cfg.InFlight = 2, topics, 40, 5
		rep := run(t, cfg)
		if got := countsOf(rep); got != (counts{missing: int64(2 / topics)}) || rep.Stalled || rep.Published != 40 {
			t.Errorf("got %+v of %+v", got, rep)
		}
	}
}

// Streams that do not open do not keep others from opening, however many they are.
func TestManyStreamsDoNotOpen(t *testing.T) {
	for _, w := range ways[:2] {
		t.Run(w.name, func(t *testing.T) {
			cfg := serve(t, w, &faulty{subscribe: func(w http.ResponseWriter, _ *http.Request, index int) bool {
				if index < 400 {
					problem.Unavailable.With("It is full.").ServeHTTP(w, nil)
				}
				return index < 400
			}})
			cfg.Subscribers, cfg.Messages = 410, 1
			if rep := run(t, cfg); rep.Failed != 400 || rep.Opened != 10 || rep.Deliveries != 10 {
				t.Errorf("%+v", rep)
			}
		})
	}
}
