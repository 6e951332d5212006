package sse_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/tidings/sse"
)

func benchEvents() map[string]sse.Event {
	return map[string]sse.Event{
		"token":  {Data: `{"delta":"Hello"}`},
		"tick":   {ID: "1234567", Type: "tick", Data: `{"seq":0,"message":"tick 0"}`},
		"10KB":   {ID: "1234567", Data: strings.Repeat("x", 10<<10)},
		"lines":  {Data: strings.Repeat("a line of text that ends here\n", 100)},
		"beyond": {Data: strings.Repeat("héllo wörld ✓ ", 50)},
	}
}

func BenchmarkAppendText(b *testing.B) {
	for name, ev := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			buf, _ := ev.AppendText(nil)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = ev.AppendText(buf[:0])
			}
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, ev := range benchEvents() {
		b.Run(name, func(b *testing.B) {
			one, _ := ev.AppendText(nil)
			const events = 1000
			stream := bytes.Repeat(one, events)
			b.SetBytes(int64(len(one)))
			b.ReportAllocs()
			for n := 0; b.Loop(); n++ {
				if n%events != 0 { // one iteration is one event
					continue
				}
				for _, err := range sse.Decode(bytes.NewReader(stream), nil) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// The cost of Serve itself, on a writer that discards everything.
func BenchmarkServe(b *testing.B) {
	ev := sse.Event{ID: "1234567", Type: "tick", Data: `{"seq":0,"message":"tick 0"}`}
	b.ReportAllocs()
	sse.Serve(&discard{header: http.Header{}}, httptest.NewRequest("GET", "/", nil), func(yield func(sse.Event, error) bool) {
		for b.Loop() {
			yield(ev, nil)
		}
	}, nil)
}

// Serve over a loopback connection, compared with a handler that writes and
// flushes the same bytes by hand.
func BenchmarkServeTCP(b *testing.B) {
	ev := sse.Event{ID: "1234567", Type: "tick", Data: `{"seq":0,"message":"tick 0"}`}
	wire, _ := ev.AppendText(nil)
	handlers := map[string]func(w http.ResponseWriter, r *http.Request, b *testing.B){
		"Serve": func(w http.ResponseWriter, r *http.Request, b *testing.B) {
			sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
				for b.Loop() {
					yield(ev, nil)
				}
			}, nil)
		},
		"Serve-no-timeout": func(w http.ResponseWriter, r *http.Request, b *testing.B) {
			sse.Serve(w, r, func(yield func(sse.Event, error) bool) {
				for b.Loop() {
					yield(ev, nil)
				}
			}, &sse.ServeOptions{WriteTimeout: -1})
		},
		"by-hand": func(w http.ResponseWriter, r *http.Request, b *testing.B) {
			w.Header().Set("Content-Type", "text/event-stream")
			for b.Loop() {
				w.Write(wire)
				w.(http.Flusher).Flush()
			}
		},
	}
	for name, h := range handlers {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h(w, r, b) }))
			defer srv.Close()
			c, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
			if _, err := io.Copy(io.Discard, c); err != nil {
				b.Fatal(err)
			}
		})
	}
}
