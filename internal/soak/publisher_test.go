//go:build unix

package soak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A publisher posts messages until each is acknowledged. It may be used
// concurrently.
type publisher struct {
	ledger *ledger
	addr   func() string // the server's address
	client *http.Client

	// retries is set if the server may go away. The publisher then sends messages
	// again until they are acknowledged. All of them must have a key.
	retries bool
}

func newPublisher(l *ledger, addr func() string, retries bool) *publisher {
	return &publisher{l, addr, &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		Timeout:   patience,
	}, retries}
}

func (p *publisher) close() { p.client.CloseIdleConnections() }

// single publishes one message.
func (p *publisher) single(ctx context.Context, n int) error {
	m := p.ledger.plan[n]
	path := "/topics/" + m.Topic
	if m.Type != "" {
		path += "?type=" + url.QueryEscape(m.Type)
	}
	return p.until(ctx, func() error {
		body, err := p.post(ctx, path, "text/plain; charset=utf-8", m.Key, []byte(m.Data))
		if err != nil {
			return err
		}
		var answer struct{ ID, Topic string }
		if err := json.Unmarshal(body, &answer); err != nil || answer.Topic != m.Topic {
			return fmt.Errorf("the answer for topic %s is %s (%v)", m.Topic, body, err)
		}
		return p.ledger.ack(n, answer.ID)
	})
}

// errPartly means that only a part of a batch was stored.
var errPartly = errors.New("a part of the batch was not stored")

// batch publishes the messages from first up to end at once.
func (p *publisher) batch(ctx context.Context, first, end int) error {
	lines := encode(p.ledger.plan[first:end])
	return p.until(ctx, func() error {
		body, err := p.post(ctx, "/batch", "application/x-ndjson", "", lines)
		if err != nil {
			return err
		}
		n, partly := first, false
		for line := range bytes.Lines(body) {
			var answer struct {
				ID    string
				Error any
			}
			if err := json.Unmarshal(line, &answer); err != nil || n == end {
				return fmt.Errorf("line %[2]d of the answer for a batch of %[1]d is %[3]s (%[4]v)", end-first, n-first, line, err)
			}
			if answer.ID == "" {
				partly = true
			} else if err := p.ledger.ack(n, answer.ID); err != nil {
				return err
			}
			n++
		}
		switch {
		case partly:
			return errPartly
		case n != end:
			return fmt.Errorf("the answer for a batch of %d has %d lines", end-first, n-first)
		}
		return nil
	})
}

func encode(messages []message) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for _, m := range messages {
		if err := enc.Encode(m); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

// until calls publish. With retries, it repeats that while the server is away or has
// stored only a part of a batch.
func (p *publisher) until(ctx context.Context, publish func() error) error {
	for {
		err := publish()
		_, away := errors.AsType[*awayError](err)
		if err == nil || ctx.Err() != nil || !p.retries || !away && !errors.Is(err, errPartly) {
			return err
		}
		sleep(ctx, 10*time.Millisecond)
	}
}

// An awayError means that the server is not running, has gone away, or is stopping.
type awayError struct{ error }

// post sends one request and returns the body of the answer.
func (p *publisher) post(ctx context.Context, path, contentType, key string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+p.addr()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil // otherwise the transport would resend the request by itself
	req.Header.Set("Content-Type", contentType)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, &awayError{err}
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, &awayError{err}
	case res.StatusCode == http.StatusServiceUnavailable:
		return nil, &awayError{&statusError{res.StatusCode, string(answer)}}
	case res.StatusCode/100 != 2:
		return nil, fmt.Errorf("POST %s: %w", path, &statusError{res.StatusCode, strings.TrimSpace(string(answer))})
	}
	return answer, nil
}
