package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/problem"
	"example.com/tidings/sse"
)

// maxMessageBody is the largest body of POST /messages, in bytes.
const maxMessageBody = 2 << 20

// A message is what is posted, and the data of the event that it becomes.
type message struct {
	User string `json:"user"`
	Text string `json:"text"`
}

const messageForm = `Send {"user": "…", "text": "…"}.`

// feedTopic is the topic of the seed's feed.
const feedTopic = "messages"

// postMessage takes a message and publishes it.
func (s *site) postMessage(w http.ResponseWriter, r *http.Request) {
	if refusal := s.authorize(r, httpapi.Access{Action: httpapi.Publish, Topics: []string{feedTopic}}); refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	key, refusal := idempotency.Key(r.Header)
	var m message
	if refusal == nil {
		m, refusal = readMessage(w, r)
	}
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	event, err := sse.JSON("", m)
	if err == nil {
		_, err = s.hub.Publish(r.Context(), hub.Message{Topic: feedTopic, Data: event.Data, Key: key})
	}
	switch {
	case errors.Is(err, hub.ErrKeyConflict):
		problem.KeyConflict.With("The idempotency key was used for another message. Each message has a key of its own; the same one is for sending that message again.").About("key").ServeHTTP(w, r)
	case errors.Is(err, hub.ErrClosed):
		problem.Stopping.With("The server is stopping and has not taken the message. Send it again in a moment.").
			Set("Retry-After", "1").ServeHTTP(w, r)
	case errors.Is(err, hub.ErrFull):
		problem.InsufficientStorage.With("There is no room to store the message. What was stored before can be read. Send this one again later.").ServeHTTP(w, r)
	case errors.Is(err, hub.ErrTooLarge):
		problem.BodyTooLarge.With("The message is larger than the server can store. Send a shorter one.").ServeHTTP(w, r)
	case err != nil && r.Context().Err() != nil:
		problem.Unconfirmed.With("The request was cut off while the message was being stored. Look whether it has been, and otherwise send it again.").ServeHTTP(w, r)
	case err != nil:
		s.log.ErrorContext(r.Context(), "a message could not be published", "error", err)
		problem.InternalError.With("The message was not taken. Try again later; the server's log has the reason.").ServeHTTP(w, r)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "queued")
	}
}

func readMessage(w http.ResponseWriter, r *http.Request) (message, *problem.Problem) {
	if refusal := checkBodyType(r.Header); refusal != nil {
		return message{}, refusal
	}
	body, refusal := readBody(w, r)
	if refusal != nil {
		return message{}, refusal
	}
	return decodeMessage(body)
}

// checkBodyType accepts application/json and application/*+json. Parameters are
// ignored: JSON has none (RFC 8259, section 11).
func checkBodyType(h http.Header) *problem.Problem {
	if coding := h.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return problem.UnsupportedMediaType.With("The body has a Content-Encoding. Send the JSON as it is, without one.").
			Set("Accept-Encoding", "identity") // RFC 9110, section 12.5.3
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		mediaType = ""
	}
	subtype, ok := strings.CutPrefix(mediaType, "application/")
	if ok && (subtype == "json" || strings.HasSuffix(subtype, "+json")) {
		return nil
	}
	return problem.UnsupportedMediaType.With("The body must be JSON and say so: send the header Content-Type: application/json.")
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *problem.Problem) {
	tooLarge := problem.BodyTooLarge.Withf("A message may have up to %d bytes (2 MiB) of JSON. Send a shorter one.", maxMessageBody)
	if r.ContentLength > maxMessageBody {
		return nil, tooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxMessageBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge
	}
	refusal := problem.InvalidJSON.With("The body could not be read to its end. Send all of it.")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		refusal = problem.RequestTimeout.With("The body did not arrive in time. Send it again, faster.")
	}
	if r.ProtoMajor == 1 {
		refusal.Set("Connection", "close") // where the body ends is not known
	}
	return nil, refusal
}

// decodeMessage takes a message out of a body, which must be one JSON text, in
// UTF-8 as RFC 8259, section 8.1, asks: encoding/json alone would replace what
// is not. Unknown fields are ignored; of a field that stands twice the last
// counts, and the case of names does not matter, both as in encoding/json.
func decodeMessage(body []byte) (message, *problem.Problem) {
	if i := invalidUTF8(body); i >= 0 {
		return message{}, at(body, i, "the JSON must be in UTF-8, and this byte is not")
	}
	var fields struct{ User, Text json.RawMessage }
	err := json.Unmarshal(body, &fields)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return message{}, notJSON(body, syntax)
	}
	// Any other error is of valid JSON that is not an object.
	if kind := jsonKind(body); kind != "an object" || err != nil {
		return message{}, problem.InvalidMessage.Withf("A message is a JSON object, not %s. %s", kind, messageForm)
	}
	var m message
	for _, f := range []struct {
		name string
		raw  json.RawMessage
		to   *string
	}{
		{"user", fields.User, &m.User},
		{"text", fields.Text, &m.Text},
	} {
		var refusal *problem.Problem
		if f.raw == nil {
			refusal = problem.InvalidMessage.Withf("The field %q is missing. %s", f.name, messageForm)
		} else if kind := jsonKind(f.raw); kind != "a string" || json.Unmarshal(f.raw, f.to) != nil {
			refusal = problem.InvalidMessage.Withf("The field %q must be a string, not %s. %s", f.name, kind, messageForm)
		}
		if refusal != nil {
			refusal.Field = f.name
			return message{}, refusal
		}
	}
	return m, nil
}

// notJSON says where a body ceases to be JSON.
func notJSON(body []byte, err *json.SyntaxError) *problem.Problem {
	if len(bytes.TrimSpace(body)) == 0 {
		return problem.InvalidJSON.With("The body is empty. " + messageForm)
	}
	// Of JSON that ends too early only a Decoder says so.
	var raw json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&raw); errors.Is(err, io.ErrUnexpectedEOF) {
		return at(body, len(body), "the JSON ends too early")
	}
	offset := max(0, int(err.Offset)-1) // of the last byte that was read
	char, _ := utf8.DecodeRune(body[offset:])
	return at(body, offset, fmt.Sprintf("%q cannot stand in the JSON", char))
}

// at is the problem of a body that is not JSON from an offset on.
func at(body []byte, offset int, what string) *problem.Problem {
	before := body[:offset]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	p := problem.InvalidJSON.Withf("At line %d, column %d, %s. %s", line, column, what, messageForm)
	p.Line, p.Column = line, column
	return p
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(b []byte) int {
	if utf8.Valid(b) {
		return -1
	}
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

// jsonKind says what a valid JSON text is.
func jsonKind(text []byte) string {
	return problem.KindOf(bytes.TrimLeft(text, " \t\r\n")[0])
}
