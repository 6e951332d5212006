package request_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
	"example.com/tidings/internal/yield"
)

// of returns the status of a refusal, or 0.
func of(err error) int {
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		return p.Type.Status()
	}
	return 0
}

// A body takes from the budget for small ones until it has grown beyond that, and then from
// the other one. What is refused keeps what it had, until it is released.
func TestHold(t *testing.T) {
	b := budget.New(96 << 10) // 24 KiB of large bodies and 8 of small ones
	used := func() string { return fmt.Sprint(b.SmallBodies.Used(), " ", b.LargeBodies.Used()) }
	h, other := request.NewHold(b), request.NewHold(b)
	for _, tt := range []struct {
		name   string
		h      *request.Hold
		n      int
		status int
		used   string
	}{
		{"what is not counted", &h, 4 << 10, 0, "0 0"},
		{"a small one", &h, 8 << 10, 0, "4096 0"},
		{"another one", &other, 8 << 10, 0, "8192 0"},
		{"a larger one", &other, 20 << 10, 0, "4096 16384"},
		{"one that fits no more", &h, 20 << 10, 503, "4096 16384"},
		{"one that never fits", &h, 24<<10 + 1, 413, "4096 16384"},
		{"less", &h, 5, 0, "4096 16384"},
	} {
		if err := tt.h.Grow(tt.n); of(err) != tt.status || used() != tt.used {
			t.Errorf("%s: %v, %s used; want status %d, %s", tt.name, err, used(), tt.status, tt.used)
		}
	}
	other.Shrink(6 << 10)
	if used() != "4096 2048" {
		t.Errorf("after it shrinks: %s", used())
	}
	for range 2 {
		h.Release()
		other.Release()
	}
	if used() != "0 0" {
		t.Errorf("at the end: %s", used())
	}
}

// A slowBody comes in reads of up to n bytes.
type slowBody struct {
	r io.Reader
	n int
}

func (b slowBody) Read(p []byte) (int, error) { return b.r.Read(p[:min(len(p), b.n)]) }

// However a body arrives, it and its lines are read as they are.
func TestReadBodyAndLines(t *testing.T) {
	b := budget.New(budget.DefaultBytes)
	for _, size := range []int{0, 1, 4095, 4096, 4097, 16 << 10, 64<<10 - 1, 64 << 10, 64<<10 + 1, 300_000} {
		for _, lines := range []int{1, 7, 2000} {
			text := strings.Repeat("x", size)
			for i := range lines - 1 {
				if at := i * 13 % (size + 1); at < size {
					text = text[:at] + "\n" + text[at+1:]
				}
			}
			for _, n := range []int{max(1000, size/50), 1 << 20} {
				for _, announced := range []int64{int64(size), -1} {
					h := request.NewHold(b)
					body := func() *http.Request {
						r := httptest.NewRequest("POST", "/", nil)
						r.Body, r.ContentLength = io.NopCloser(slowBody{strings.NewReader(text), n}), announced
						return r
					}
					var got string
					err := request.ReadBody(nil, body(), &h, size, nil, func(b []byte) error { got = string(b); return nil })
					if err != nil || got != text {
						t.Fatalf("%d bytes, %d announced: %d, %v", size, announced, len(got), err)
					}
					var parts []string
					err = request.ReadLines(nil, body(), &h, size, nil, func(b []byte) (int, error) {
						parts = append(parts, string(b))
						return 0, nil
					})
					if got := strings.Join(parts, "\n"); err != nil || got != strings.TrimSuffix(text, "\n") {
						t.Fatalf("%d bytes, %d lines, %d at once: %d, %v", size, lines, n, len(got), err)
					}
					h.Release()
				}
			}
		}
	}
	if b.SmallBodies.Used()+b.LargeBodies.Used() != 0 {
		t.Errorf("%d and %d bytes stay taken", b.SmallBodies.Used(), b.LargeBodies.Used())
	}
}

// What is long waits for a place in the lane, and has none while it waits for its client. Short bodies need none.
func TestLongBodiesTakeTurns(t *testing.T) {
	read := map[string]func(r *http.Request, h *request.Hold) error{
		"body": func(r *http.Request, h *request.Hold) error {
			return request.ReadBody(nil, r, h, 1<<20, nil, func([]byte) error { return nil })
		},
		"lines": func(r *http.Request, h *request.Hold) error {
			return request.ReadLines(nil, r, h, 1<<20, nil, func([]byte) (int, error) { return 0, nil })
		},
	}
	for name, read := range read {
		for _, tt := range []struct {
			size  int
			waits bool
		}{{100, false}, {600_000, true}} {
			t.Run(fmt.Sprint(name, tt.size), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := budget.New(budget.DefaultBytes)
					fill := func() { // others have all places
						for range b.Bodies.Limit() {
							w := yield.In(b.Bodies)
							w.Did(math.MaxInt32)
						}
					}
					fill()
					h := request.NewHold(b)
					defer h.Release()
					client, body := io.Pipe()
					r := httptest.NewRequest("POST", "/", client)
					r.ContentLength = int64(tt.size) + 10
					began := time.Now()
					done := make(chan error)
					go func() { done <- read(r, &h) }()
					io.WriteString(body, strings.Repeat("aaaaaaaaa\n", tt.size/10))
					synctest.Wait()
					if d := time.Since(began); (d > 0) != tt.waits {
						t.Errorf("it was read after %v", d)
					}
					if n := b.Bodies.Used(); tt.waits && n != 0 {
						t.Errorf("%d places are taken while the client sends nothing", n)
					}
					if tt.waits {
						fill()
						began = time.Now()
					}
					io.WriteString(body, "aaaaaaaaa\n") // it waits for a little more, too
					synctest.Wait()
					body.Close()
					if err := <-done; err != nil {
						t.Error(err)
					}
					if d := time.Since(began); (d > 0) != tt.waits {
						t.Errorf("the rest was read after %v", d)
					}
					if n := b.Bodies.Used(); tt.waits && n != 0 {
						t.Errorf("%d places are taken in the end", n)
					}
				})
			})
		}
	}
}

// After a bad line the rest of the body is read, and no line of it used.
func TestReadLinesAfterABadOne(t *testing.T) {
	h := request.NewHold(budget.New(budget.DefaultBytes))
	defer h.Release()
	r := httptest.NewRequest("POST", "/", strings.NewReader("a\nb\n"+strings.Repeat("c\n", 50_000)))
	n := 0
	bad := errors.New("bad")
	err := request.ReadLines(nil, r, &h, 1<<20, nil, func(line []byte) (int, error) {
		if n++; string(line) == "b" {
			return 0, bad
		}
		return 0, nil
	})
	if err != bad || n != 2 || r.Body != http.NoBody {
		t.Errorf("%v after %d lines", err, n)
	}
}

// Each coding of each line of the header has to be identity.
func TestCheckEncoding(t *testing.T) {
	for _, tt := range []struct {
		lines []string
		ok    bool
	}{
		{nil, true},
		{[]string{"identity"}, true},
		{[]string{"Identity", "identity, identity"}, true},
		{[]string{""}, true},
		{[]string{"gzip"}, false},
		{[]string{"identity, gzip"}, false},
		{[]string{"gzip, identity"}, false},
		{[]string{"identity", "br"}, false},
		{[]string{"br", "identity"}, false},
		{[]string{",\tgzip"}, false},
	} {
		if err := request.CheckEncoding(http.Header{"Content-Encoding": tt.lines}); (err == nil) != tt.ok {
			t.Errorf("%q: %v", tt.lines, err)
		}
	}
}
