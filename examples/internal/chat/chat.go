// Package chat is what the notification programs have in common: a message, and
// how it is read from a request.
package chat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"
)

// MaxBody is the longest body that [Read] takes, in bytes.
const MaxBody = 2 << 20

// A Message is what a client posts, and what the others receive.
type Message struct {
	User string `json:"user"`
	Text string `json:"text"`
}

// Read reads the message that r posts as JSON. When there is none it answers
// with the reason, as text, and returns false:
//
//   - 415 if the Content-Type is neither application/json nor application/*+json;
//   - 413 if the body is longer than [MaxBody];
//   - 400 if the body is not JSON;
//   - 422 if it is not an object that has both fields, once, as strings. Other
//     fields are ignored.
func Read(w http.ResponseWriter, r *http.Request) (Message, bool) {
	m, refused := read(w, r)
	if refused != nil {
		http.Error(w, refused.reason, refused.status)
		return Message{}, false
	}
	return m, true
}

type refusal struct {
	status int
	reason string
}

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

func read(w http.ResponseWriter, r *http.Request) (Message, *refusal) {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	subtype, ok := strings.CutPrefix(mediaType, "application/")
	if err != nil || !ok || subtype != "json" && !strings.HasSuffix(subtype, "+json") {
		return Message{}, refuse(http.StatusUnsupportedMediaType, "expected JSON, with Content-Type: application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Message{}, refuse(http.StatusRequestEntityTooLarge, "length limit exceeded: a body has at most %d bytes", MaxBody)
	} else if err != nil {
		return Message{}, refuse(http.StatusBadRequest, "the body could not be read to its end")
	}
	return parse(body)
}

// parse is strict where [json.Unmarshal] into a Message is not: it takes no
// field for another that differs in case, and changes no text in silence.
func parse(body []byte) (m Message, _ *refusal) {
	if n := validUTF8(body); n < len(body) {
		return m, refuse(http.StatusBadRequest, "not JSON: invalid UTF-8 %s", at(body, n+1))
	}
	var value json.RawMessage
	if err := json.Unmarshal(body, &value); err != nil {
		syntax, ok := errors.AsType[*json.SyntaxError](err)
		if !ok {
			return m, refuse(http.StatusBadRequest, "not JSON")
		}
		return m, refuse(http.StatusBadRequest, "not JSON: %s %s", syntax, at(body, int(syntax.Offset)))
	}
	// It is JSON: from here on the decoder has no reason to fail.
	dec := json.NewDecoder(bytes.NewReader(body))
	if first, _ := dec.Token(); first != json.Delim('{') {
		return m, refuse(http.StatusUnprocessableEntity, "expected an object with the fields `user` and `text` %s", at(body, int(dec.InputOffset())))
	}
	got := map[string]*string{"user": nil, "text": nil}
	for dec.More() {
		key, _ := dec.Token()
		_ = dec.Decode(&value)
		name, _ := key.(string)
		old, ok := got[name]
		if !ok {
			continue
		}
		if old != nil {
			return m, refuse(http.StatusUnprocessableEntity, "duplicate field `%s` %s", name, at(body, int(dec.InputOffset())))
		}
		var text *string // null leaves it nil
		if err := json.Unmarshal(value, &text); err != nil || text == nil {
			return m, refuse(http.StatusUnprocessableEntity, "field `%s`: expected a string %s", name, at(body, int(dec.InputOffset())))
		}
		got[name] = text
	}
	_, _ = dec.Token()
	for _, name := range []string{"user", "text"} {
		if got[name] == nil {
			return m, refuse(http.StatusUnprocessableEntity, "missing field `%s` %s", name, at(body, int(dec.InputOffset())))
		}
	}
	return Message{User: *got["user"], Text: *got["text"]}, nil
}

// validUTF8 returns how many bytes of b, from the first, are valid UTF-8.
func validUTF8(b []byte) int {
	n := 0
	for n < len(b) {
		r, size := utf8.DecodeRune(b[n:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		n += size
	}
	return n
}

// at says where the nth byte of body is; lines and columns count from 1, and
// columns in bytes.
func at(body []byte, n int) string {
	line := 1 + bytes.Count(body[:n], []byte("\n"))
	column := n - 1 - bytes.LastIndexByte(body[:n], '\n')
	return fmt.Sprintf("at line %d column %d", line, column)
}
