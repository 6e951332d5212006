package segmentlog

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"example.com/tidings/eventlog"
)

// The log notes the holes that it finds in the sidecars.
func TestFormatOfHoles(t *testing.T) {
	f := newFolder(t)
	spoiled := text(2).bytes(handSalt, handNanos(2))
	spoiled[36] ^= 1
	f.segment(1, text(1), spoiled, text(3))
	f.segment(6, text(6))
	f.segment(8, text(8))
	f.closed(1, 8)
	l := opened(t, Options{Dir: f.dir, MaxAge: -1, clock: handClock()})
	l.verified(t)
	closeLog(t, l)
	one, all := int64(len(handSegment(text(1)))), int64(len(handSegment(text(1), spoiled, text(3))))
	for first, want := range map[uint64][]byte{
		1: handSidecar(1, handSalt, 3, all, [][3]uint64{{1, 0, uint64(handNanos(1))}}, [][2]uint64{{2, 2}, {4, 5}}),
		6: handSidecar(6, handSalt, 6, one, [][3]uint64{{6, 0, uint64(handNanos(6))}}, [][2]uint64{{7, 7}}),
	} {
		if got := f.read(strings.Replace(handName(first), ".seg", ".idx", 1)); !bytes.Equal(got, want) {
			t.Errorf("the sidecar of %d is\n% x, want\n% x", first, got, want)
		}
	}
}

// page returns what the page docs/format.md shows indented, without its indentation.
func page(t *testing.T) (blocks []string) {
	t.Helper()
	b, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(b), "\n\n") {
		if strings.HasPrefix(block, "    ") {
			blocks = append(blocks, strings.TrimPrefix(strings.ReplaceAll(block, "\n    ", "\n"), "    ")+"\n")
		}
	}
	return blocks
}

// The examples of the page are right.
func TestFormatPage(t *testing.T) {
	if a, b := handCRC(0, []byte("123456789")), handCRC(handSalt, []byte("123456789")); a != 0xe3069283 || b != 0xa890d282 {
		t.Errorf("the checksums are %x and %x", a, b)
	}
	var dump strings.Builder
	for i, part := range slices.Collect(slices.Chunk(handFrame{seq: 7, topic: "orders.42", typ: "shipped", key: "k1", data: `{"n":1}`}.bytes(handSalt, handTime*1e9), 16)) {
		fmt.Fprintf(&dump, "%04x  % x\n", 16*i, part)
	}
	want := []string{
		dump.String(), string(handFormat(1, "0123456789abcdef")),
		string(handEpochs(`[{"id":"0000000aaaaa","first":1},{"id":"000001zbbbbb","first":12}]`)),
	}
	if got := page(t); !slices.Equal(got, want) {
		t.Errorf("the page has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The log writes the bytes of docs/format.md.
func TestFormatWritten(t *testing.T) {
	dump := regexp.MustCompile(`(?m)^[0-9a-f]{4}  |\s`).ReplaceAllString(page(t)[0], "")
	frame, err := hex.DecodeString(dump)
	if err != nil {
		t.Fatal(err)
	}
	if got := appendFrame(nil, handSalt, 7, handTime*1e9, &eventlog.Message{Topic: "orders.42", Type: "shipped", Key: "k1", Data: `{"n":1}`}); !bytes.Equal(got, frame) {
		t.Errorf("the frame is\n% x, want\n% x", got, frame)
	}

	// A whole folder, but for what is random: salts, ids, and random digits.
	dir := t.TempDir()
	nanos := int64(handTime+3600) * 1e9
	l := opened(t, Options{Dir: dir, MaxAge: -1, clock: handClock()})
	big := strings.Repeat("x", 8200)
	for _, m := range []eventlog.Message{{Topic: "a.b", Type: "y", Key: "k", Data: big}, {Topic: "c", Type: "type", Key: "key", Data: "secret"}, {Topic: "d"}} {
		if a := l.Append(t.Context(), []eventlog.Message{m}); a[0].Err != nil {
			t.Fatal(a[0].Err)
		}
	}
	if n, err := l.Remove(t.Context(), []uint64{2}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	st, _ := l.State(t.Context())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	name := filepath.Base(segments[0])
	var first uint64
	var salt uint32
	if n, err := fmt.Sscanf(name, "%016x-%08x.seg", &first, &salt); n != 2 || first != 1 {
		t.Fatalf("the segment is %s (%v)", name, err)
	}
	a := handFrame{seq: 1, topic: "a.b", typ: "y", key: "k", data: big}.bytes(salt, nanos)
	b := handFrame{seq: 2, flags: 1, topic: "c", typ: "\x00\x00\x00\x00", key: "\x00\x00\x00", data: "\x00\x00\x00\x00\x00\x00"}.bytes(salt, nanos)
	c := handFrame{seq: 3, topic: "d"}.bytes(salt, nanos)
	f := folder{t, dir}
	format := string(f.read("format"))
	want := map[string][]byte{
		name: slices.Concat(a, b, c),
		name[:25] + ".idx": handSidecar(1, salt, 3, int64(len(a)+len(b)+len(c)),
			[][3]uint64{{1, 0, uint64(nanos)}, {2, uint64(len(a)), uint64(nanos)}}, nil),
		"format":      handFormat(1, format[len("tidings log, format 1, id "):len("tidings log, format 1, id ")+16]),
		"epochs.json": handEpochs(`[{"id":"` + st.Epochs[0].ID + `","first":1}]`),
	}
	if !strings.HasPrefix(st.Epochs[0].ID, "00003gg") {
		t.Errorf("the epoch %s does not begin with the 3600 seconds since 2025 to the base 32", st.Epochs[0].ID)
	}
	for name, content := range want {
		if got := f.read(name); !bytes.Equal(got, content) {
			t.Errorf("%s is\n%.200q, want\n%.200q", name, got, content)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	// Of the slots, the one that counts.
	b = f.read("state")
	serial := max(binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[512+8:]))
	slot := b[serial%2*512:][:512]
	if state := (handState{serial, 1, 3, 3, nanos, handBoot(), 3, fileID(info)}).bytes(); len(b) != 1024 || !bytes.Equal(slot, append(state, make([]byte, 440)...)) {
		t.Errorf("the state has %d bytes, and is\n% x, want\n% x", len(b), slot[:72], state)
	}
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if all := []string{name[:25] + ".idx", name, "epochs.json", "format", "index", "lock", "state"}; !slices.Equal(names, all) {
		t.Errorf("the folder has %q, want %q", names, all)
	}
	if !json.Valid(f.read("epochs.json")) {
		t.Error("epochs.json is not JSON")
	}
}
