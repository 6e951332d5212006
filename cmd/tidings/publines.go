package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/tidings/eventsource/publish"
)

// Lines are sent together that have come within gatherTime, up to mostLines of them, or until they
// have mostBytes. While they are sent, as many are gathered. Then nothing more is read.
const (
	gatherTime = 50 * time.Millisecond
	mostLines  = 1000
	mostBytes  = 4 << 20
)

// maxLine is how long a line may be, so that one without an end does not fill the memory. No hub
// takes a message that is so long.
const maxLine = 8 << 20

// finishTime is how long pub goes on to send, after a signal, what it has read.
const finishTime = 2 * time.Second

// A numbered is a message, and the line that it is from. If the line is bad, err says why.
type numbered struct {
	publish.Message
	line int
	err  error
}

// lines publishes the lines of the standard input.
func (p *pub) lines(ctx context.Context, in io.Reader) error {
	if isInput(in) {
		p.notes.notef("each line that you type is a message; end with Ctrl-D")
	}
	defer endLater(ctx)()
	read := make(chan numbered)
	readErr := make(chan error, 1)
	go func() {
		defer close(read)
		readErr <- p.read(in, read)
	}()
	sendCtx, stop := afterwards(ctx, finishTime)
	defer stop()
	defer p.tally.end()
	for {
		batch, more := gather(ctx, read)
		if len(batch) > 0 && !p.send(sendCtx, batch) || !more {
			break
		}
	}
	return p.result(ctx, readErr)
}

// result counts what was stored, and returns the error of the command.
func (p *pub) result(ctx context.Context, readErr chan error) error {
	p.tally.end()
	p.notes.notef("%s", p.summary())
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	select {
	case err := <-readErr:
		if err != nil {
			return failure{fmt.Errorf("cannot read the input: %w", err)}
		}
	default: // it was given up
	}
	if p.failed != nil {
		return failure{fmt.Errorf("gave up: %s", p.why(p.failed))}
	}
	if p.stored < p.seen {
		return failure{fmt.Errorf("%s of %s messages are not stored", thousands(p.seen-p.stored), thousands(p.seen))}
	}
	return nil
}

// afterwards returns a context that ends some time after another one.
func afterwards(ctx context.Context, d time.Duration) (context.Context, func()) {
	later, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		time.Sleep(d)
		cancel()
	})
	return later, func() { stop(); cancel() }
}

// endLater has the process end after a signal, when what was read could be sent.
func endLater(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		time.Sleep(finishTime)
		endInTime(ctx, func() {})
	})
}

// read reads lines until the input ends.
func (p *pub) read(in io.Reader, to chan<- numbered) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for n := 1; ; n++ {
		text, err := readLine(r)
		if err != nil && err != errLongLine {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return err
		}
		if p.ndjson && err == nil && strings.TrimSpace(text) == "" {
			continue // as in a batch
		}
		m := numbered{line: n, err: err}
		if err == nil {
			m.Message, m.err = p.message(text)
		}
		to <- m
	}
}

// errLongLine is the error of a line that was passed over.
var errLongLine = fmt.Errorf("the line has more than %d MiB", maxLine>>20)

// readLine reads a line, without its end. The last one needs none.
func readLine(r *bufio.Reader) (string, error) {
	var line strings.Builder
	long := false
	for {
		part, err := r.ReadSlice('\n')
		if long = long || line.Len()+len(part) > maxLine; long {
			line.Reset()
		} else {
			line.Write(part)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			return "", errLongLine
		case err != nil && (line.Len() == 0 || !errors.Is(err, io.EOF)):
			return "", err
		}
		return strings.TrimSuffix(strings.TrimSuffix(line.String(), "\n"), "\r"), nil
	}
}

// message returns the message that a line stands for.
func (p *pub) message(line string) (publish.Message, error) {
	if !utf8.ValidString(line) {
		return publish.Message{}, errors.New("the line is not valid UTF-8")
	}
	if p.ndjson {
		return parseMessage(line, p.topic, p.typ)
	}
	return publish.Message{Topic: p.topic, Type: p.typ, Data: line}, nil
}

// gather returns the next lines. more is false if they are the last ones. When ctx ends, those that
// are there already are the last.
func gather(ctx context.Context, from <-chan numbered) (batch []numbered, more bool) {
	var over <-chan time.Time
	done := ctx.Done()
	more = true
	for bytes := 0; len(batch) < mostLines && bytes < mostBytes; {
		select {
		case m, ok := <-from:
			if !ok {
				return batch, false
			}
			if batch = append(batch, m); over == nil {
				over = time.After(gatherTime)
			}
			bytes += len(m.Data)
		case <-over:
			return batch, more
		case <-done:
			done, more = nil, false
			over = time.After(gatherTime)
		}
	}
	return batch, more
}

// send publishes lines. It returns false if that is given up.
func (p *pub) send(ctx context.Context, batch []numbered) bool {
	var messages []publish.Message
	var lines []int
	for _, m := range batch {
		p.seen++
		if m.err != nil {
			p.bad(m.line, m.err.Error())
			continue
		}
		messages, lines = append(messages, m.Message), append(lines, m.line)
	}
	if len(messages) == 0 {
		return true
	}
	p.waiting = len(messages)
	p.tally.show()
	results, err := p.client.PublishAll(ctx, messages)
	p.waiting = 0
	for i, r := range results {
		switch {
		case r.Outcome == publish.Stored:
			p.stored++
			continue
		case r.Outcome == publish.Refused && !p.refusesAll(r.Err):
			p.bad(lines[i], p.why(r.Err))
			continue
		case r.Outcome == publish.Unknown:
			p.unknown++
		}
		if p.failed == nil {
			p.failed = r.Err
		}
	}
	if p.failed == nil && len(results) < len(messages) {
		p.failed = err
	}
	if p.failed == nil && p.away.Swap(false) {
		p.notes.notef("the hub at %s stores messages again", p.hub)
	}
	p.tally.show()
	return p.failed == nil
}

// refusesAll reports whether an answer of the hub is about any further message, too: about the
// whole request, or about the topic or the type that all lines have.
func (p *pub) refusesAll(err error) bool {
	e, ok := errors.AsType[*publish.StatusError](err)
	if !ok {
		return false
	}
	if e.Line > 0 {
		return !p.ndjson && (e.Status == http.StatusForbidden || strings.HasSuffix(e.Type, ":invalid-type"))
	}
	switch e.Status {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusRequestHeaderFieldsTooLarge:
		return true
	}
	return e.Status < 400
}
