package segmentlog

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/eventlog"
)

// transcript is readAll for the records of a folder that was made by hand.
func transcript(t *testing.T, l *Log) []string {
	t.Helper()
	return readAll(t, l, func(r eventlog.Record) string {
		if r.Time != time.Unix(0, handNanos(r.Seq)).UTC() {
			t.Errorf("the record %d has the time %v", r.Seq, r.Time)
		}
		return fmt.Sprintf("%d %s %q %q", r.Seq, r.Topic, r.Type, r.Data)
	})
}

// The log reads folders that were made by hand from docs/format.md.
func TestFormatRead(t *testing.T) {
	garbage := bytes.Repeat([]byte("garbage \xff\xfeTd\xff"), 50)
	one, two, three := `1 t "" "data 1"`, `2 t "" "data 2"`, `3 t "" "data 3"`
	spoiled := func(h handFrame) []byte {
		b := h.bytes(handSalt, handNanos(h.seq))
		b[len(b)-1] ^= 1
		return b
	}
	for _, tt := range []struct {
		name  string
		rule  string // of the page
		make  func(f folder)
		want  []string
		first uint64 // 0 stands for 1
		next  uint64 // of the next message. 0 stands for one more than the last line
	}{
		{name: "an empty log", make: func(f folder) { f.closed(1, 0) }, next: 1},
		{name: "nothing but the format", make: func(folder) {}, next: 1},
		{
			name: "plain",
			make: func(f folder) { f.segment(1, text(1), text(2), text(3)); f.closed(1, 3) },
			want: []string{one, two, three},
		}, {
			name: "all fields",
			make: func(f folder) {
				f.segment(1, handFrame{seq: 1, topic: "orders.42", typ: "shipped", key: "k1", data: `{"n":1}`},
					handFrame{seq: 2, topic: strings.Repeat("x", 255), typ: strings.Repeat("y", 200), key: strings.Repeat("z", 255)},
					handFrame{seq: 3, topic: "ü", data: "ö\n\x00"})
				f.closed(1, 3)
			},
			want: []string{`1 orders.42 "shipped" "{\"n\":1}"`, fmt.Sprintf("2 %s %q %q", strings.Repeat("x", 255), strings.Repeat("y", 200), ""), `3 ü "" "ö\n\x00"`},
		}, {
			name: "removed", rule: "its number is a hole with the reason removed",
			make: func(f folder) {
				f.segment(1, text(1), handFrame{seq: 2, flags: 1, topic: "t", typ: "\x00\x00", key: "\x00", data: "\x00\x00"}, text(3))
				f.closed(1, 3)
			},
			want: []string{one, "2-2 removed", three},
		}, {
			name: "internal", rule: "readers skip it without a hole",
			make: func(f folder) {
				f.segment(1, text(1), handFrame{seq: 2, flags: 2, topic: "t", data: "x"}, text(3))
				f.closed(1, 3)
			},
			want: []string{one, three},
		}, {
			name: "an unknown flag", rule: "readers also skip a frame with any other flag, removed or not",
			make: func(f folder) {
				f.segment(1, handFrame{seq: 1, flags: 0x80, topic: "t", data: "x"}, text(2), handFrame{seq: 3, flags: 0x05, topic: "t", data: "x"})
				f.closed(1, 3)
			},
			want: []string{two}, next: 4,
		}, {
			name: "garbage between the frames", rule: "go on at the next place where the magic stands",
			make: func(f folder) {
				f.segment(1, garbage, text(1), []byte("\xff"), text(2), make([]byte, 70_000), garbage, text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "a damaged frame", rule: "damage hides only the frames that it hits",
			make: func(f folder) { f.segment(1, text(1), spoiled(text(2)), text(3)); f.closed(1, 3) },
			want: []string{one, "2-2 lost", three},
		}, {
			name: "a damaged length", rule: "one byte or more further on",
			make: func(f folder) {
				b := text(1).bytes(handSalt, 0)
				b[8] = 60 // reaches into the next frame, and behind the last
				f.segment(1, b, text(2), text(3), b)
				f.closed(1, 3)
			},
			want: []string{"1-1 lost", two, three},
		}, {
			name: "a frame of another segment", rule: "the register begins as the salt with all bits inverted",
			make: func(f folder) {
				f.segment(1, text(1), text(2).bytes(handSalt+1, 0), text(3))
				f.closed(1, 3)
			},
			want: []string{one, "2-2 lost", three},
		}, {
			name: "numbers that do not ascend", rule: "skip a frame whose number is less than the segment's first, or not greater than that of the frame before",
			make: func(f folder) {
				x := func(seq uint64) handFrame { return handFrame{seq: seq, topic: "t", data: "x"} }
				f.segment(2, x(1), text(2), x(2), x(1), text(3))
				f.closed(2, 3)
			},
			want: []string{two, three}, first: 2,
		}, {
			name: "a number of the next segment", rule: "stop at a frame that has this number or a greater one",
			make: func(f folder) {
				f.segment(1, text(1), handFrame{seq: 3, topic: "t", data: "x"})
				f.segment(2, text(2), text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "a hole in the numbers", rule: "a number that is retained but has no frame is lost",
			make: func(f folder) { f.segment(1, text(1), text(3)); f.closed(1, 3) },
			want: []string{one, "2-2 lost", three},
		}, {
			name: "the oldest segment is missing", rule: "a number that is retained but has no frame is lost",
			make: func(f folder) { f.segment(3, text(3)); f.closed(1, 3) },
			want: []string{"1-2 lost", three},
		}, {
			name: "a middle segment is missing", rule: "this includes the numbers between two segments",
			make: func(f folder) { f.segment(1, text(1)); f.segment(3, text(3)); f.closed(1, 3) },
			want: []string{one, "2-2 lost", three},
		}, {
			name: "the newest segment is missing", rule: "an acknowledged number without a frame is a hole",
			make: func(f folder) { f.segment(1, text(1)); f.closed(1, 3) },
			want: []string{one, "2-3 lost"},
		}, {
			name: "all segments are missing", rule: "an acknowledged number without a frame is a hole",
			make: func(f folder) { f.closed(1, 3) },
			want: []string{"1-3 lost"},
		}, {
			name: "two segments with one number", rule: "the one that reaches further counts",
			make: func(f folder) {
				f.write("0000000000000001-00000001.seg")
				f.segment(1, text(1))
				f.write("0000000000000001-ffffffff.seg", make([]byte, 100))
				f.segment(2, text(2), text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "two segments with one number and records", rule: "the one that reaches further counts",
			make: func(f folder) {
				f.write("0000000000000001-00000001.seg", text(1).bytes(1, handNanos(1)), text(2).bytes(1, handNanos(2)))
				f.segment(1, text(1))
				f.write("0000000000000001-ffffffff.seg", make([]byte, 100))
				f.segment(3, text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "the newest segments have no frame", rule: "a newest segment without a frame is removed",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.segment(4, make([]byte, 65536))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "expired", rule: "the first number that is retained",
			make: func(f folder) { f.segment(1, text(1), text(2), text(3)); f.closed(3, 3) },
			want: []string{three}, first: 3,
		}, {
			name: "all have expired",
			make: func(f folder) { f.closed(4, 3) },
			want: nil, first: 4, next: 4,
		}, {
			name: "a sidecar that says less", rule: "or if the segment has another size than it says",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 1, int64(len(handSegment(text(1)))), [][3]uint64{{1, 0, uint64(handNanos(1))}}, nil))
				f.segment(3, text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "a sidecar with holes that are none", rule: "it believes neither a hole nor a mark without looking",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3), text(4))
				end := int64(len(handSegment(text(1), text(2), text(3), text(4))))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 4, end, [][3]uint64{{1, 0, uint64(handNanos(1))}}, [][2]uint64{{2, 3}}))
				f.segment(5, text(5))
				f.closed(1, 5)
			},
			want: []string{one, two, three, `4 t "" "data 4"`, `5 t "" "data 5"`},
		}, {
			name: "a sidecar with wrong places", rule: "it believes neither a hole nor a mark without looking",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3), text(4))
				end := int64(len(handSegment(text(1), text(2), text(3), text(4))))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 4, end, [][3]uint64{{1, 20, uint64(handNanos(1))}, {2, 79, uint64(handNanos(2))}}, nil))
				f.segment(5, text(5))
				f.closed(1, 5)
			},
			want: []string{one, two, three, `4 t "" "data 4"`, `5 t "" "data 5"`},
		}, {
			name: "a sidecar of another segment", rule: "a reader ignores it if it is of another segment",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt+1, 1, 1, [][3]uint64{{1, 0, uint64(handNanos(1))}}, nil))
				f.segment(3, text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "a sidecar that says more", rule: "or if the segment has another size than it says",
			make: func(f folder) {
				f.segment(1, text(1))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 2, int64(len(handSegment(text(1), text(2)))), [][3]uint64{{1, 0, uint64(handNanos(1))}}, nil))
				f.segment(3, text(3))
				f.closed(1, 3)
			},
			want: []string{one, "2-2 lost", three},
		}, {
			name: "a damaged sidecar", rule: "a reader ignores it if its checksum is wrong",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				b := handSidecar(1, handSalt, 1, 1, [][3]uint64{{1, 0, uint64(handNanos(1))}}, nil)
				b[30] ^= 1
				f.write("0000000000000001-89abcdef.idx", b)
				f.segment(3, text(3))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "a sidecar without a segment",
			make: func(f folder) {
				f.segment(3, text(3))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 2, 100, nil, nil))
				f.closed(3, 3)
			},
			want: []string{three}, first: 3,
		}, {
			name: "garbage behind the last frame, closed", rule: "in doubt if the log was not closed",
			make: func(f folder) { f.segment(1, text(1), text(2), text(3), garbage); f.closed(1, 3) },
			want: []string{one, two, three},
		}, {
			name: "garbage behind the last frame, the process has died", rule: "the unfinished end is a message that nobody was promised",
			make: func(f folder) {
				if handBoot() == 0 {
					f.t.Skip("the run of the machine is not known")
				}
				f.segment(1, text(1), text(2), text(3), text(4).bytes(handSalt, 0)[:20], make([]byte, 5000))
				f.state(handState{serial: 3, first: 1, acknowledged: 3, nanos: handNanos(3), boot: handBoot(), flags: 2})
			},
			want: []string{one, two, three},
		}, {
			name: "garbage behind the last frame, the machine has died", rule: "the machine has started since and the end is unfinished",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3), text(4).bytes(handSalt, 0)[:20], make([]byte, 5000))
				f.state(handState{serial: 3, first: 1, acknowledged: 3, nanos: handNanos(3), boot: 1, flags: 2})
			},
			want: []string{one, two, three, "4-4 lost"},
		}, {
			name: "the machine has died, everything was synced", rule: "in doubt … and either the end is unfinished or …",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3), make([]byte, 5000))
				f.state(handState{serial: 3, first: 1, acknowledged: 3, nanos: handNanos(3), boot: 1, flags: 2})
			},
			want: []string{one, two, three},
		}, {
			name: "the machine has died, synced later", rule: "… or messages are synced after they are acknowledged",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.state(handState{serial: 3, first: 1, acknowledged: 3, synced: 2, nanos: handNanos(3), boot: 0, flags: 0})
			},
			want: []string{one, two, three, "4-4 lost"},
		}, {
			name: "the machine has died, a sidecar says more than the segment has", rule: "The start removes the sidecars of all segments that may have a number that is not on the disk",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3), make([]byte, 5000))
				f.write("0000000000000001-89abcdef.idx", handSidecar(1, handSalt, 5, 3000, nil, nil))
				f.state(handState{serial: 3, first: 1, acknowledged: 3, synced: 2, nanos: handNanos(3), boot: 0, flags: 0})
			},
			want: []string{one, two, three, "4-4 lost"},
		}, {
			name: "more than was acknowledged", rule: "one more than the greatest of a frame, and of the acknowledged one",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.state(handState{serial: 3, first: 1, acknowledged: 1, nanos: handNanos(1), boot: handBoot(), flags: 2})
			},
			want: []string{one, two, three},
		}, {
			name: "both slots are damaged", rule: "no slot of the state counts although there are segments",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.write("state", make([]byte, 1024))
			},
			want: []string{one, two, three, "4-4 lost"},
		}, {
			name: "no state", rule: "the first number is that of the first segment",
			make: func(f folder) { f.segment(2, text(2), text(3)) },
			want: []string{two, three, "4-4 lost"}, first: 2,
		}, {
			name: "one slot is damaged", rule: "a slot counts if its magic and checksum are right",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				b := make([]byte, 1024)
				copy(b, handState{serial: 4, first: 1, acknowledged: 4, flags: 3}.bytes())
				b[20] ^= 1
				copy(b[512:], handState{serial: 3, first: 1, acknowledged: 3, flags: 3}.bytes())
				f.write("state", b)
			},
			want: []string{one, two, "3-3 lost"},
		}, {
			name: "one slot is damaged, and the end", rule: "in doubt if the end is unfinished and one slot of the state is damaged",
			make: func(f folder) {
				f.segment(1, text(1), text(2), spoiled(text(3)))
				b := make([]byte, 1024)
				copy(b, handState{serial: 4, first: 1, acknowledged: 3, flags: 3}.bytes())
				b[20] ^= 1
				copy(b[512:], handState{serial: 3, first: 1, acknowledged: 2, flags: 3}.bytes())
				f.write("state", b)
			},
			want: []string{one, two, "3-3 lost"},
		}, {
			name: "two slots", rule: "the one with the greater serial does",
			make: func(f folder) {
				f.segment(1, text(1), text(2))
				b := make([]byte, 1024)
				copy(b, handState{serial: 2, first: 1, acknowledged: 4, flags: 3}.bytes())
				copy(b[512:], handState{serial: 3, first: 1, acknowledged: 3, flags: 3}.bytes())
				f.write("state", b)
			},
			want: []string{one, two, "3-3 lost"},
		}, {
			name: "a damaged format file", rule: "it is made anew",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.write("format", []byte("tidings log, format 9, id 0123456789abcdef, check b10ecbb1\n"))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "no format file", rule: "it is made anew",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.remove("format")
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "other files", rule: "a start removes a spare; other files are left alone",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				f.write("1.spare", make([]byte, 1000))
				f.write("format.new", []byte("x"))
				f.write("epochs.json.new", []byte("x"))
				f.write("notes.txt", []byte("x"))
				f.write("1-89abcdef.seg", []byte("x"))
				f.write("lock", []byte("12345\n"))
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		}, {
			name: "an index of junk", rule: "it is made again",
			make: func(f folder) {
				f.segment(1, text(1), text(2), text(3))
				if err := os.Mkdir(filepath.Join(f.dir, "index"), 0o700); err != nil {
					f.t.Fatal(err)
				}
				f.write("index/MANIFEST-000001", []byte("junk"))
				f.write("index/marker.manifest.000001.MANIFEST-000001", nil)
				f.closed(1, 3)
			},
			want: []string{one, two, three},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			tt.make(f)
			l := opened(t, Options{Dir: f.dir, MaxAge: -1, clock: handClock()})
			defer l.Close()
			if got := transcript(t, l); !slices.Equal(got, tt.want) {
				t.Errorf("%s\n got %q\nwant %q", tt.rule, got, tt.want)
			}
			if st, _ := l.State(t.Context()); st.First != max(tt.first, 1) {
				t.Errorf("the first number is %d, want %d", st.First, max(tt.first, 1))
			}
			if tt.next == 0 {
				fmt.Sscanf(regexp.MustCompile(`^(\d+-)?`).ReplaceAllString(tt.want[len(tt.want)-1], ""), "%d", &tt.next)
				tt.next++
			}
			if a := l.Append(t.Context(), []eventlog.Message{{Topic: "t"}}); a[0].Err != nil || a[0].ID.Seq != tt.next {
				t.Errorf("the next message is %+v, want the number %d", a[0], tt.next)
			}
			for name, stays := range map[string]bool{"1.spare": false, "notes.txt": true, "1-89abcdef.seg": true} {
				if _, err := os.Stat(filepath.Join(f.dir, name)); tt.name == "other files" && (err == nil) != stays && name != "1.spare" {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

// The log refuses folders that it cannot read, and leaves them as they are.
func TestFormatRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(f folder)
		says string
	}{
		{"a newer format", func(f folder) { f.write("format", handFormat(2, "0123456789abcdef")) }, "newer version"},
		{"an older log", func(f folder) { f.remove("format"); f.write("jetstream") }, "older format"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFolder(t)
			f.segment(1, text(1), []byte("x"))
			f.closed(1, 1)
			tt.make(f)
			before := listing(t, f.dir)
			if l, err := Open(t.Context(), &Options{Dir: f.dir}); err == nil {
				l.Close()
				t.Error("the folder was opened")
			} else if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v, want %q", err, tt.says)
			}
			f.remove("lock")
			if after := listing(t, f.dir); !slices.Equal(after, before) {
				t.Errorf("the folder is\n%q, and was\n%q", after, before)
			}
			if _, err := Verify(t.Context(), f.dir, nil); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("Verify: %v, want %q", err, tt.says)
			}
		})
	}
}

// An id is that of the epoch of its number. A start adds an epoch.
func TestFormatEpochs(t *testing.T) {
	const known = `[{"id":"0000000aaaaa","first":1},{"id":"0000001bbbbb","first":3}]`
	damaged := handEpochs(known)
	damaged[len(damaged)-5] ^= 1
	for name, tt := range map[string]struct {
		content []byte
		want    []uint64 // where the epochs begin
		ids     string   // of the first ones
	}{
		"two":                                    {handEpochs(known), []uint64{1, 3, 4}, "0000000aaaaa 0000001bbbbb"},
		"spaces in the value":                    {handEpochs(`[ {"first": 1, "id": "0000000aaaaa"} ]`), []uint64{1, 4}, "0000000aaaaa"},
		"those that begin after the last number": {handEpochs(`[{"id":"0000000aaaaa","first":1},{"id":"0000001bbbbb","first":9}]`), []uint64{1, 4, 4}, "0000000aaaaa 0000001bbbbb"},
		"one that is in the future":              {handEpochs(`[{"id":"0000000aaaaa","first":1},{"id":"zzzz000bbbbb","first":2}]`), []uint64{1, 2, 4}, "0000000aaaaa zzzz000bbbbb"},
		"a wrong checksum":                       {damaged, []uint64{1, 4}, ""},
		"an id that is none":                     {handEpochs(`[{"id":"x","first":1}]`), []uint64{1, 4}, ""},
		"numbers that decrease":                  {handEpochs(`[{"id":"0000000aaaaa","first":2},{"id":"0000001bbbbb","first":1}]`), []uint64{1, 4}, ""},
		"none":                                   {handEpochs(`[]`), []uint64{1, 4}, ""},
		"no value":                               {[]byte(`{"check":"00000000"}`), []uint64{1, 4}, ""},
		"something else under the right checksum": {handEpochs(`{"id":1}`), []uint64{1, 4}, ""},
		"an empty file":                            {nil, []uint64{1, 4}, ""},
		"more than the file's JSON":                {append(handEpochs(known), "{}"...), []uint64{1, 4}, ""},
		"a number that is too large under the sum": {handEpochs(`[{"id":"0000000aaaaa","first":1e30}]`), []uint64{1, 4}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFolder(t)
			f.segment(1, text(1), text(2), text(3))
			f.closed(1, 3)
			f.write("epochs.json", tt.content)
			l := opened(t, Options{Dir: f.dir, MaxAge: -1, clock: handClock()})
			defer l.Close()
			st, _ := l.State(t.Context())
			var firsts []uint64
			var ids []string
			for _, e := range st.Epochs {
				firsts, ids = append(firsts, e.First), append(ids, e.ID)
			}
			if !slices.Equal(firsts, tt.want) || !strings.HasPrefix(strings.Join(ids, " "), tt.ids) || !slices.IsSorted(ids) {
				t.Errorf("the epochs are %v, want them to begin at %d with %q", st.Epochs, tt.want, tt.ids)
			}
		})
	}
}

// A key in a frame counts for the messages after a start.
func TestFormatKeys(t *testing.T) {
	f := newFolder(t)
	f.segment(1, handFrame{seq: 1, topic: "t", typ: "y", key: "k1", data: "a"}, handFrame{seq: 2, topic: "t", key: "k2", data: "b"},
		handFrame{seq: 3, flags: 1, topic: "t", key: "\x00\x00", data: "\x00"}, handFrame{seq: 4, flags: 2, topic: "t", key: "k4", data: "d"})
	f.closed(1, 4)
	l := opened(t, Options{Dir: f.dir, MaxAge: -1, clock: handClock()})
	defer l.Close()
	got := l.Append(t.Context(), []eventlog.Message{
		{Topic: "t", Type: "y", Key: "k1", Data: "a"},
		{Topic: "t", Key: "k2", Data: "other"},
		{Topic: "u", Key: "k1", Data: "a"},
		{Topic: "t", Key: "k4", Data: "d"},
		{Topic: "t", Key: "\x00\x00", Data: "\x00"},
	})
	if got[0].ID.String() != "0000000aaaaa-1" || !got[0].Repeat || got[1].Err != eventlog.ErrKeyConflict {
		t.Errorf("the keys of the folder are not known: %+v", got[:2])
	}
	for i, seq := range []uint64{5, 6, 7} {
		if a := got[2+i]; a.ID.Seq != seq || a.Repeat || a.Err != nil {
			t.Errorf("a new key is answered with %+v, want the number %d", a, seq)
		}
	}
}
