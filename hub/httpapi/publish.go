package httpapi

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/tidings/hub"
	"example.com/tidings/internal/idempotency"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
)

// publish answers POST /topics/{topic}.
func (a *api) publish(w http.ResponseWriter, r *http.Request, topic, _ string) error {
	m := hub.Message{Topic: topic}
	if err := a.readHead(r, &m); err != nil {
		return err
	}
	decided, access := time.Now(), Access{Action: ActionPublish, Topics: []string{topic}}
	d, err := a.authorize(r, access)
	if err != nil {
		return err
	}
	m.Key = idempotency.Scope(d.Subject, m.Key)
	hold := request.NewHold(a.budgets)
	defer hold.Release()
	err = request.ReadBody(w, r, &hold, a.opts.MaxMessage, a.messageTooLarge, func(b []byte) error {
		m.Data = string(b)
		return nil
	})
	if err == nil {
		err = a.still(r, access, d, decided)
	}
	if err != nil {
		return err
	}
	ctx := detach(r, 1)
	defer ctx.cancel()
	if m.Key != "" { // an answer that does not know whether the message is stored says so, too
		idempotency.SetWindow(w.Header(), a.hub.KeyWindow())
	}
	published, err := a.hub.Publish(ctx, m)
	if err != nil {
		return a.unpublished(r, err)
	}
	answerPublished(w, r, published)
	return nil
}

// readHead takes all of the message but its data from the head of a request.
func (a *api) readHead(r *http.Request, m *hub.Message) error {
	if err := checkTopic("topic", m.Topic); err != nil {
		return err
	}
	q, err := parseQuery(r, "type")
	if err != nil {
		return err
	}
	if m.Type, err = single(q, "type", problem.InvalidType); err != nil {
		return err
	}
	if m.Key, err = idempotency.Key(r.Header); err != nil {
		return err
	}
	// They are parts of the request line, which may be long. A log keeps what it stores.
	m.Topic, m.Type = strings.Clone(m.Topic), strings.Clone(m.Type)
	return request.CheckEncoding(r.Header)
}

func (a *api) messageTooLarge() error {
	return problem.MessageTooLarge.Withf("A message may have up to %d bytes of data. Send a shorter one.", a.opts.MaxMessage)
}

// Values of headers. All responses share them: nobody changes a value in place, and
// Header.Add copies it.
var (
	jsonType = []string{"application/json"}
	noStore  = []string{"no-store"}
)

// answerPublished answers with what became of a message: 201 (Created), or 200
// for one that had been stored before.
func answerPublished(w http.ResponseWriter, r *http.Request, p hub.Published) {
	status := http.StatusCreated
	if p.Repeat {
		status = http.StatusOK
	}
	id := p.ID.String()
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	h["Location"] = []string{mountPoint(r) + "/topics/" + p.Topic + "/events/" + id}
	w.WriteHeader(status)
	// Neither ids nor topics have characters that JSON escapes.
	b := make([]byte, 0, len(id)+len(p.Topic)+len(`{"id":"","topic":""}`)+1)
	b = append(b, `{"id":"`...)
	b = append(b, id...)
	b = append(b, `","topic":"`...)
	b = append(b, p.Topic...)
	w.Write(append(b, "\"}\n"...))
}

// mountPoint returns the path under which the handler is mounted: what
// http.StripPrefix, or a router, has taken from the front of the request's path.
func mountPoint(r *http.Request) string {
	target := r.RequestURI
	if target == r.URL.Path {
		return "" // as it mostly is
	}
	if !strings.HasPrefix(target, "/") {
		// The absolute form, which proxies may send (RFC 9112, section 3.2.2), or
		// no request of a server.
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return ""
		}
		target = u.EscapedPath()
	}
	target, _, _ = strings.Cut(target, "?")
	prefix, ok := strings.CutSuffix(target, r.URL.EscapedPath())
	if !ok || strings.HasPrefix(prefix, "//") {
		return "" // "//x/topics" would be a path of the host x
	}
	return prefix
}
