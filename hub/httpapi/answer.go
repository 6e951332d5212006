package httpapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/hub"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
)

// An answer is sent in pieces of up to pieceBytes. A client has to take each within pieceTime:
// then the response breaks off.
const (
	pieceBytes = 64 << 10
	pieceTime  = 10 * time.Second
)

// uncounted is how much of an answer is not counted: a connection costs more than that anyway.
const uncounted = 4 << 10

// An answer is a response that is written as it is made. What it holds is taken from a
// budget: its piece, and what hold says. One goroutine uses it, and calls release.
type answer struct {
	w      http.ResponseWriter
	r      *http.Request
	rc     *http.ResponseController
	status int
	budget *budget.Bytes
	turns  *budget.Turns
	turn   func() // ends the turn that the answer has, or nil

	piece   []byte // is not sent yet
	counted int    // taken for piece
	held    int    // taken by hold
	begun   bool   // a piece was sent
	ended   bool   // nothing more is sent
}

// answer returns a response with a status.
func (a *api) answer(w http.ResponseWriter, r *http.Request, status int) *answer {
	return &answer{w: w, r: r, rc: http.NewResponseController(w), status: status, budget: &a.budgets.Answers, turns: &a.budgets.Reads}
}

// hold takes n bytes for what the next pieces are made of, in place of what it took before. It
// returns false if the budget has fewer left.
func (a *answer) hold(n int) bool {
	a.budget.Give(a.held)
	a.held = 0
	if n <= uncounted {
		return true
	}
	n = min(n, a.budget.Limit()) // a message may be larger than the budget: then it is alone
	if !a.budget.Take(n) {
		return false
	}
	a.held = n
	return true
}

// take takes a turn: making a large answer is work. The answer has none while it reads the log,
// which takes turns itself, or waits for its client.
func (a *answer) take() {
	if a.turn != nil || a.ended {
		return
	}
	turn, err := a.turns.Begin(budget.Continue(a.r.Context()))
	if err != nil { // the client has left
		a.ended = true
		return
	}
	a.turn = turn
}

// yield gives the turn back.
func (a *answer) yield() {
	if a.turn != nil {
		a.turn()
		a.turn = nil
	}
}

// release gives everything back.
func (a *answer) release() {
	a.yield()
	a.budget.Give(a.held + a.counted)
	a.held, a.counted = 0, 0
}

// tooMany refuses a request whose answer does not fit into the budget.
func tooMany() error {
	return problem.Unavailable.With("Too many answers wait for their clients to take them. Ask again in a moment.").Set("Retry-After", "1")
}

// room makes room for n more bytes of the piece, at most uncounted. It sends the piece if that
// cannot grow.
func (a *answer) room(n int) {
	for len(a.piece)+n > cap(a.piece) {
		size := max(2*cap(a.piece), 512)
		if size > pieceBytes || size > uncounted && !a.budget.Take(size-max(cap(a.piece), uncounted)) {
			a.flush()
			continue
		}
		if size > uncounted {
			a.counted += size - max(cap(a.piece), uncounted)
		}
		a.piece = append(make([]byte, 0, size), a.piece...)
	}
}

// raw adds a text of at most uncounted bytes.
func (a *answer) raw(s string) {
	if !a.ended {
		a.room(len(s))
		a.piece = append(a.piece, s...)
	}
}

// bytes adds a text of at most uncounted bytes.
func (a *answer) bytes(b []byte) {
	if !a.ended {
		a.room(len(b))
		a.piece = append(a.piece, b...)
	}
}

// text adds a JSON string.
func (a *answer) text(s string) {
	const part = 512
	a.raw(`"`)
	for len(s) > 0 && !a.ended {
		n := runeEnd(s, part)
		a.room(n * mostEscaped)
		a.piece = appendEscaped(a.piece, s[:n])
		s = s[n:]
	}
	a.raw(`"`)
}

// json adds a value that is made of short strings, numbers and times.
func (a *answer) json(v any) { a.bytes(encode(v)) }

// event adds the JSON of an event.
func (a *answer) event(e *hub.Event) {
	a.raw(`{"id":`)
	a.text(e.ID.String())
	a.raw(`,"topic":`)
	a.text(e.Topic)
	a.raw(`,"type":`)
	a.text(e.Type)
	a.raw(`,"data":`)
	a.text(e.Data)
	a.raw(`,"time":`)
	a.time(e.Time)
	a.raw("}")
}

// topic adds the JSON of a topic. Topics have no characters that JSON escapes.
func (a *answer) topic(info *eventlog.TopicInfo) {
	a.raw(`{"topic":"`)
	a.raw(info.Topic)
	a.raw(`","last":`)
	a.text(info.Last.String())
	a.raw(`,"count":`)
	a.raw(strconv.FormatUint(info.Count, 10))
	a.raw(`,"time":`)
	a.time(info.Time)
	a.raw("}")
}

// time adds a time, as encoding/json does.
func (a *answer) time(t time.Time) {
	if !a.ended {
		a.room(len(time.RFC3339Nano) + len(`""`))
		a.piece = append(t.AppendFormat(append(a.piece, '"'), time.RFC3339Nano), '"')
	}
}

// flush sends the piece.
func (a *answer) flush() {
	if a.begun {
		a.send()
		return
	}
	a.begun = true
	a.head()
	a.send()
	if a.r.Method == http.MethodHead {
		a.ended = true // the client gets no more than the head
	}
}

// head sends the head of the response.
func (a *answer) head() {
	h := a.w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
	}
	a.deadline(time.Now().Add(pieceTime))
	a.w.WriteHeader(a.status)
}

// send writes the piece, if the client takes it in time.
func (a *answer) send() {
	had := a.turn != nil
	a.yield()
	if !a.ended {
		a.deadline(time.Now().Add(pieceTime))
		if _, err := a.w.Write(a.piece); err != nil {
			a.breakOff()
		}
	}
	a.piece = a.piece[:0]
	runtime.Gosched() // what follows is less urgent than a message
	if had {
		a.take()
	}
}

// deadline sets the time until which the client has to take what is sent. net/http clears it
// before the next request on the connection. Writers of tests have none.
func (a *answer) deadline(t time.Time) { _ = a.rc.SetWriteDeadline(t) }

// breakOff ends a response in a way that does not look complete to the client.
func (a *answer) breakOff() {
	a.ended = true
	a.release()
	a.deadline(time.Unix(1, 0)) // if somebody recovers
	panic(http.ErrAbortHandler)
}

// end sends what is left. A response of one piece has a Content-Length.
func (a *answer) end() {
	a.raw("\n")
	if !a.begun {
		a.w.Header().Set("Content-Length", strconv.Itoa(len(a.piece)))
	}
	if !a.ended {
		a.flush()
	}
}

// answerJSON answers with v as JSON on one line. v is made of short strings, numbers, times and
// structs of them.
func (a *api) answerJSON(w http.ResponseWriter, r *http.Request, v any) {
	out := a.answer(w, r, http.StatusOK)
	defer out.release()
	out.json(v)
	out.end()
}

// encode returns v as JSON.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
