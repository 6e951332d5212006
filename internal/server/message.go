package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/jsonscan"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
	"example.com/tidings/internal/unpublished"
	"example.com/tidings/internal/yield"
	"example.com/tidings/sse"
)

// maxMessageBody is the largest body of POST /messages, in bytes.
const maxMessageBody = 2 << 20

// publishTime is how long the log may take to store a message.
const publishTime = 10 * time.Second

// A message is the body of POST /messages, and the data of the event.
type message struct {
	User string `json:"user"`
	Text string `json:"text"`
}

const messageForm = `Send {"user": "…", "text": "…"}.`

// postMessage answers POST /messages: it publishes a message on the default topic.
func (s *site) postMessage(w http.ResponseWriter, r *http.Request) error {
	topic := s.cfg.DefaultTopic
	if topic == "" {
		return problem.NotFound.With("This server has no topic for /messages. Publish to /topics/TOPIC.")
	}
	decision, err := s.ask(r, httpapi.Access{Action: httpapi.ActionPublish, Topics: []string{topic}})
	if err != nil {
		return err
	}
	key, err := idempotency.Key(r.Header)
	if err != nil {
		return err
	}
	key = idempotency.Scope(decision.Subject, key)
	hold := request.NewHold(budget.Of(s.hub))
	defer hold.Release()
	m, err := readMessage(w, r, &hold)
	if err == nil { // the body may have taken a while
		err = s.authorize(r, httpapi.Access{Action: httpapi.ActionPublish, Topics: []string{topic}})
	}
	if err != nil {
		return err
	}
	if key != "" {
		idempotency.SetWindow(w.Header(), s.hub.KeyWindow())
	}
	event, err := sse.JSON("", m)
	if err != nil {
		return err
	}
	// A client that hangs up by now has sent everything, and wants it stored.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), publishTime)
	defer cancel()
	if _, err = s.hub.Publish(ctx, hub.Message{Topic: topic, Data: event.Data, Key: key}); err != nil {
		return s.unpublished(r, err)
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "queued")
	return nil
}

// unpublished returns the problem of a message that was not stored, or that may not have been.
func (s *site) unpublished(r *http.Request, err error) *problem.Problem {
	p := unpublished.Problem(s.log, r, err)
	switch p.Type {
	case problem.MessageTooLarge: // a client knows the body only
		p.Type = problem.BodyTooLarge
	case problem.TooManyTopics: // which the client cannot choose
		p.Field = ""
	}
	return p
}

func readMessage(w http.ResponseWriter, r *http.Request, hold *request.Hold) (m message, err error) {
	if err := checkBodyType(r.Header); err != nil {
		return m, err
	}
	err = request.ReadBody(w, r, hold, maxMessageBody, func() error {
		return problem.BodyTooLarge.Withf("A message may have up to %d bytes (2 MiB) of JSON. Send a shorter one.", maxMessageBody)
	}, func(body []byte) (err error) {
		m, err = decodeMessage(body, &hold.Work)
		return err
	})
	return m, err
}

// checkBodyType accepts application/json and application/*+json. Parameters are
// ignored: JSON has none (RFC 8259, section 11).
func checkBodyType(h http.Header) error {
	if err := request.CheckEncoding(h); err != nil {
		return err
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		mediaType = ""
	}
	subtype, ok := strings.CutPrefix(mediaType, "application/")
	if ok && (subtype == "json" || strings.HasSuffix(subtype, "+json")) {
		return nil
	}
	return problem.UnsupportedMediaType.With("The body must be JSON. Send it with the header Content-Type: application/json.")
}

// decodeMessage decodes a body, which must be one JSON text in UTF-8 (RFC 8259,
// section 8.1). It ignores unknown fields. As in encoding/json, the last of two equal fields
// counts, the case of names does not matter, and half of a surrogate pair is replaced. The body may be long: others run meanwhile.
func decodeMessage(body []byte, work *yield.Work) (message, error) {
	if i := jsonscan.InvalidUTF8(body, work); i >= 0 {
		return message{}, at(body, i, "a byte is not UTF-8")
	}
	if offset, fault := jsonscan.Check(body, work); fault != jsonscan.None {
		return message{}, notJSON(body, offset, fault)
	}
	if kind := jsonKind(body); kind != "an object" {
		return message{}, problem.InvalidMessage.Withf("A message is a JSON object, not %s. %s", kind, messageForm)
	}
	var user, text []byte
	for fields := jsonscan.NewMembers(body, work); fields.Next(); {
		switch name, _ := jsonscan.Unquote(fields.Name, work); {
		case strings.EqualFold(name, "user"):
			user = fields.Value
		case strings.EqualFold(name, "text"):
			text = fields.Value
		}
	}
	var m message
	for _, f := range []struct {
		name string
		raw  []byte
		to   *string
	}{
		{"user", user, &m.User},
		{"text", text, &m.Text},
	} {
		var refusal *problem.Problem
		if f.raw == nil {
			refusal = problem.InvalidMessage.Withf("The field %q is missing. %s", f.name, messageForm)
		} else if kind := jsonKind(f.raw); kind != "a string" {
			refusal = problem.InvalidMessage.Withf("The field %q must be a string, not %s. %s", f.name, kind, messageForm)
		}
		if refusal != nil {
			refusal.Field = f.name
			return message{}, refusal
		}
		*f.to, _ = jsonscan.Unquote(f.raw, work)
	}
	return m, nil
}

// notJSON returns the problem of a body, with the place where JSON parsing failed.
func notJSON(body []byte, offset int, fault jsonscan.Fault) *problem.Problem {
	switch {
	case len(bytes.TrimSpace(body)) == 0:
		return problem.InvalidJSON.With("The body is empty. " + messageForm)
	case fault == jsonscan.Early:
		return at(body, offset, "the JSON ends too early")
	case fault == jsonscan.Deep:
		return at(body, offset, jsonscan.NestedTooDeeply)
	}
	char, _ := utf8.DecodeRune(body[offset:])
	return at(body, offset, fmt.Sprintf("%q is not valid JSON", char))
}

// at returns the problem of a body that is not JSON from the offset on.
func at(body []byte, offset int, what string) *problem.Problem {
	before := body[:offset]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	p := problem.InvalidJSON.Withf("At line %d, column %d, %s. %s", line, column, what, messageForm)
	p.Line, p.Column = line, column
	return p
}

// jsonKind returns the kind of a valid JSON text, such as "an object".
func jsonKind(text []byte) string {
	return problem.KindOf(jsonscan.First(text))
}
