package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"time"

	"example.com/tidings/eventsource"
	"example.com/tidings/sse"
)

// A client reads one stream and reports what comes.
type client struct {
	es       *eventsource.Client
	http     *http.Client
	callback string
	sent     int // callbacks so far; used by the goroutine of the client only
	ctx      context.Context
	cancel   context.CancelFunc
	done     chan struct{}
}

func startClient(p *start) *client {
	c := &client{callback: strings.TrimSuffix(p.CallbackURL, "/"), done: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	jar, err := cookiejar.New(nil)
	if err != nil {
		panic(err) // only options can be wrong
	}
	c.http = &http.Client{Transport: eventsource.NewTransport(), Jar: jar} // browsers keep cookies too
	opts := &eventsource.Options{
		HTTPClient:  c.http,
		Method:      p.Method,
		Header:      http.Header{},
		Repeat:      true,
		LastEventID: p.LastEventID,
		HubEvents:   true,
		Standard:    true,
		OnComment:   func(text string) { c.report(message{Kind: "comment", Comment: &text}) },
		Decide:      decide,
		OnState:     c.state,
		Logger:      slog.New(slog.DiscardHandler),
	}
	for name, value := range p.Headers {
		opts.Header.Set(name, value)
	}
	if p.Body != "" {
		opts.Body = []byte(p.Body)
	}
	if p.InitialDelayMS != nil {
		if opts.Delay = milliseconds(*p.InitialDelayMS); opts.Delay == 0 {
			opts.Delay = -1 // at once
		}
	}
	if p.ReadTimeoutMS != nil {
		opts.MaxSilence = milliseconds(*p.ReadTimeoutMS)
	}
	c.es = eventsource.New(p.StreamURL, opts)
	go c.run()
	return c
}

func milliseconds(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// decide takes the reconnection time of a stream as it is, as the standard
// allows, so that a harness need not wait.
func decide(f *eventsource.Failure) {
	if f.Opened && f.Asked >= 0 {
		f.Wait = f.Asked
	}
}

// run reports what the stream brings, until it ends or the client is closed.
func (c *client) run() {
	defer close(c.done)
	defer c.http.CloseIdleConnections()
	var last error
	for ev, err := range c.es.Events(c.ctx) {
		if c.ctx.Err() != nil {
			return
		}
		if _, gap := err.(*sse.GapError); err != nil && !gap {
			c.error(err)
			last = err
			continue
		}
		if ev.Type == "" {
			ev.Type = "message"
		}
		c.report(message{Kind: "event", Event: &event{Type: ev.Type, Data: ev.Data, ID: ev.ID}})
		last = nil
	}
	if last == nil && c.ctx.Err() == nil { // the standard calls each end for good an error
		c.error(errors.New("the server has ended the stream for good"))
	}
}

// state reports why the client has to connect again.
func (c *client) state(s eventsource.State) {
	if s.Err != nil {
		c.error(s.Err)
	}
}

func (c *client) error(err error) {
	text := err.Error()
	c.report(message{Kind: "error", Error: &text})
}

// A message is the body of a callback.
type message struct {
	Kind    string  `json:"kind"`
	Event   *event  `json:"event,omitempty"`
	Comment *string `json:"comment,omitempty"`
	Error   *string `json:"error,omitempty"`
}

type event struct {
	Type string `json:"type"`
	Data string `json:"data"`
	ID   string `json:"id"`
}

// report sends a callback, and waits for its answer: the next one must not
// overtake it.
func (c *client) report(m message) {
	body, err := json.Marshal(m)
	if err != nil {
		panic(err) // strings always marshal
	}
	c.sent++
	url := fmt.Sprintf("%s/%d", c.callback, c.sent)
	req, err := http.NewRequestWithContext(c.ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		slog.Error("cannot make a callback", "err", err)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		if c.ctx.Err() == nil {
			slog.Error("a callback failed", "err", err)
		}
		return
	}
	defer res.Body.Close()
	io.Copy(io.Discard, res.Body)
	if res.StatusCode >= http.StatusMultipleChoices {
		slog.Error("a callback was refused", "url", url, "status", res.StatusCode)
	}
}

func (c *client) restart() { c.es.Reconnect() }

// close ends the client. No callback is sent after that.
func (c *client) close() {
	c.cancel()
	<-c.done
}
