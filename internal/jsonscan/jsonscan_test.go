package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"example.com/tidings/internal/jsonscan"
	"example.com/tidings/internal/yield"
)

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// A text is JSON if it is for encoding/json, and ceases to be so at the same byte.
func FuzzCheck(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"a","data":"x"}`, ` { "a" : [ 1 , -0.5, {} , [] ] , "b" : null }` + "\r\n", `[true,false,null,0,-1,10.25]`,
		`01`, `-`, `1.`, `.5`, `1e5`, `1E+5`, `1e-`, `1ex`, `-0`, `-01`, `00`, `{"a":1,}`, `{,}`, `[1,]`, `[,`, `[1 2]`, `{"a" 1}`, `{1:2}`, `{"a":}`,
		`"\n\"\u00e9"`, `"\x"`, `"\`, `"\u12"`, `"\u12`, `"\uD8`, "\"\t\"", `"\u00e`, "\"\xff\"", "\x80",
		`nul`, `nulx`, `truee`, `[}`, `{]`, `{"a":[1}`, ``, ` `, `1 2`, `{}x`, `[]]`, "12a", "tru\x00",
		nested(64), nested(65), nested(10_000), nested(10_001), strings.Repeat(`{"":`, 10_001),
		`"` + strings.Repeat("x", 5000) + `"`, "[" + strings.Repeat(" ", 5000) + "1]", strings.Repeat("1", 5000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var work yield.Work
		offset, fault := jsonscan.Check(text, &work)
		if valid := json.Valid(text); valid != (fault == jsonscan.None) {
			t.Fatalf("%q: the fault is %v at %d; valid for encoding/json: %v", text, fault, offset, valid)
		}
		if fault == jsonscan.None {
			return
		}
		want := len(text)
		var raw json.RawMessage
		dec := json.NewDecoder(bytes.NewReader(text))
		err := dec.Decode(&raw)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			want = int(syntax.Offset) - 1
		} else if err == nil {
			want = int(dec.InputOffset())
			want += len(text[want:]) - len(bytes.TrimLeft(text[want:], " \t\r\n"))
		}
		if early := errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF; offset != want || early != (fault == jsonscan.Early) {
			t.Errorf("%q: the fault is %v at %d, want %d: %v", text, fault, offset, want, err)
		}
		if deep := err != nil && strings.Contains(err.Error(), "max depth"); deep != (fault == jsonscan.Deep) {
			t.Errorf("%q: the fault is %v: %v", text, fault, err)
		}
	})
}

// The fields of an object are those that encoding/json reads, in their order.
func FuzzMembers(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { } `, `{"a":1}`, ` { "a" : 1 , "b":[1,{"c":"]}"}], "a":"x\\\"y" ,"d":-1.5e3,"\u0065":null}`, `{"a":{"b":{}},"c":[[]],"d":[],"e":true}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) || !json.Valid(text) || bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
			return
		}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.Token()
		for name, value := range jsonscan.Members(text, nil) {
			want, err := dec.Token()
			if got, _ := jsonscan.Unquote(name, nil); err != nil || got != want {
				t.Fatalf("%q: the name %q, want %q, %v", text, got, want, err)
			}
			var raw json.RawMessage
			if err := dec.Decode(&raw); err != nil || !bytes.Equal(raw, value) {
				t.Fatalf("%q: the value %q, want %q, %v", text, value, raw, err)
			}
			var compact bytes.Buffer
			json.Compact(&compact, value)
			if got := jsonscan.Compact(value, nil); got != compact.String() {
				t.Fatalf("%q: compact is %q, want %q", value, got, compact.String())
			}
		}
		if dec.More() {
			t.Fatalf("%q: there are more fields", text)
		}
	})
}

// A string says what encoding/json reads of it. Half of a surrogate pair is found.
func FuzzUnquote(f *testing.F) {
	for seed, whole := range map[string]bool{
		`""`: true, `"x"`: true, `"\"\\\/\b\f\n\r\t\u00e9\u20AC"`: true, `"\ud83d\ude00"`: true, `"é\n"`: true,
		`"\ud800"`: false, `"\udc00"`: false, `"\ud800\u0041"`: false, `"\ud800\ud83d\ude00"`: false, `"\ud800x"`: false, `"\ud800\n"`: false,
		`"\ufffd"`: true,
	} {
		f.Add([]byte(seed), whole)
	}
	f.Fuzz(func(t *testing.T, quoted []byte, whole bool) {
		var want string
		if len(quoted) == 0 || quoted[0] != '"' || !utf8.Valid(quoted) || json.Unmarshal(quoted, &want) != nil {
			return
		}
		quoted = bytes.TrimRight(quoted, " \t\r\n")
		got, ok := jsonscan.Unquote(quoted, nil)
		if got != want {
			t.Errorf("%q: %q, want %q", quoted, got, want)
		}
		if lost := strings.Count(want, "\ufffd") > strings.Count(string(quoted), "\ufffd")+bytes.Count(bytes.ToLower(quoted), []byte(`\ufffd`)); lost == ok {
			t.Errorf("%q: whole is %v", quoted, ok)
		}
	})
}

// The first byte that is not UTF-8 is found wherever the parts of a long text end.
func TestInvalidUTF8(t *testing.T) {
	for _, size := range []int{0, 1, 65533, 65534, 65535, 65536, 131072} {
		for _, char := range []string{"x", "é", "€", "😀"} {
			text := []byte(strings.Repeat("x", size) + strings.Repeat(char, 3))
			if got := jsonscan.InvalidUTF8(text, nil); got >= 0 {
				t.Errorf("%d bytes and %q: invalid at %d", size, char, got)
			}
			for _, bad := range []string{"\xff", "\x80", "\xed\xa0\x80", "\xc3"} {
				if got, want := jsonscan.InvalidUTF8([]byte(string(text)+bad+"x"), nil), len(text); got != want {
					t.Errorf("%d bytes, %q and %q: invalid at %d, want %d", size, char, bad, got, want)
				}
			}
		}
	}
}

// Others run while a long text is read, whatever is in it.
func TestOthersRunMeanwhile(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const n = 100_000
	check := func(text []byte, work *yield.Work) { jsonscan.Check(text, work) }
	members := func(text []byte, work *yield.Work) {
		for range jsonscan.Members(text, work) {
		}
	}
	compact := func(text []byte, work *yield.Work) { jsonscan.Compact(append(text, ' '), work) }
	unquote := func(text []byte, work *yield.Work) { jsonscan.Unquote(text, work) }
	for name, tt := range map[string]struct {
		text string
		by   []func([]byte, *yield.Work)
	}{
		"arrays in arrays":  {strings.Repeat(nested(jsonscan.MaxDepth-1)+",", 10), nil},
		"numbers":           {strings.Repeat("1,", n), nil},
		"objects":           {strings.Repeat(`{"a":1},`, n), nil},
		"a long number":     {strings.Repeat("1", n) + ",", nil},
		"white space":       {strings.Repeat(" ", n) + "1,", nil},
		"a long string":     {`"` + strings.Repeat("x", n) + `",`, nil},
		"a string, escaped": {`"` + strings.Repeat(`\u00e9`, n) + `"`, []func([]byte, *yield.Work){check, unquote}},
		"a long name":       {`{"` + strings.Repeat("x", n) + `":1}`, []func([]byte, *yield.Work){check, members}},
		"fields":            {`{` + strings.Repeat(`"a":1,`, n) + `"b":1}`, []func([]byte, *yield.Work){check, members}},
		"not JSON":          {"[" + strings.Repeat("1,", n), []func([]byte, *yield.Work){check}},
		"UTF-8":             {strings.Repeat("é", n), []func([]byte, *yield.Work){func(text []byte, work *yield.Work) { jsonscan.InvalidUTF8(text, work) }}},
	} {
		if tt.by == nil {
			tt.text = "[" + tt.text + "1]"
			tt.by = []func([]byte, *yield.Work){check, compact, func(text []byte, work *yield.Work) { members([]byte(`{"a":`+string(text)+"}"), work) }}
		}
		for i, f := range tt.by {
			var work yield.Work
			var ran atomic.Bool
			go ran.Store(true)
			f([]byte(tt.text), &work)
			if !ran.Load() {
				t.Errorf("%s, function %d: another goroutine has not run", name, i)
			}
		}
	}
}
