package httpapi

import (
	"errors"
	"net/http"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/budget"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
	"example.com/tidings/topics"
)

// topicsAtOnce is how many topics of a page are read at once.
const topicsAtOnce = 256

// listTopics answers GET /topics.
func (a *api) listTopics(w http.ResponseWriter, r *http.Request, _, _ string) error {
	q, err := parseQuery(r, "after", "limit", "match")
	if err != nil {
		return err
	}
	pattern := "**"
	if q.Has("match") {
		if pattern, err = single(q, "match", problem.InvalidFilter); err != nil {
			return err
		}
	}
	filter, err := topics.ParseFilter(pattern)
	if err != nil {
		return badTopic(problem.InvalidFilter, "match", err)
	}
	after, err := single(q, "after", problem.InvalidTopic)
	if err == nil && after != "" {
		err = checkTopic("after", after)
	}
	if err != nil {
		return err
	}
	limit, err := parseLimit(q)
	if err != nil {
		return err
	}
	if _, err := a.authorize(r, Access{Action: ActionRead, Filters: []topics.Filter{filter}}); err != nil {
		return err
	}
	return a.answerTopics(w, r, filter, after, limit)
}

// answerTopics answers with a page of topics, which has the members topics and next: the
// "after" of the next page, if there is one.
func (a *api) answerTopics(w http.ResponseWriter, r *http.Request, filter topics.Filter, after string, limit int) error {
	out := a.answer(w, r, http.StatusOK)
	defer out.release()
	ctx := r.Context()
	n := 0
	for more := true; more && !out.ended; {
		atOnce := min(limit+1-n, topicsAtOnce)
		out.yield()
		found, err := a.hub.Topics(ctx, filter, after, atOnce)
		switch {
		case err != nil && !out.begun:
			return a.unread(r, err)
		case err != nil:
			a.unread(r, err) // logs it
			out.breakOff()
		case !out.hold(sizeOf(found)):
			if n == 0 {
				return tooMany()
			}
			out.raw(`],"next":`)
			out.text(after)
			out.raw("}")
			out.end()
			return nil
		case n == 0:
			out.raw(`{"topics":[`)
		}
		out.take()
		for i := range found {
			if n == limit {
				out.raw(`],"next":`)
				out.text(after)
				out.raw("}")
				out.end()
				return nil
			}
			if n > 0 {
				out.raw(",")
			}
			out.topic(&found[i])
			after = found[i].Topic
			n++
		}
		more = len(found) == atOnce
		ctx = budget.Continue(r.Context())
	}
	out.raw("]}")
	out.end()
	return nil
}

// sizeOf returns about how many bytes topics take.
func sizeOf(infos []eventlog.TopicInfo) (n int) {
	for i := range infos {
		n += 100 + len(infos[i].Topic)
	}
	return n
}

// topicInfo is the JSON of GET /topics/{topic}.
type topicInfo struct {
	eventlog.TopicInfo
	Subscribers int `json:"subscribers"` // of this node
}

// showTopic answers GET /topics/{topic}.
func (a *api) showTopic(w http.ResponseWriter, r *http.Request, topic, _ string) error {
	decision, err := a.checkReadable(r, topic)
	if err != nil {
		return err
	}
	info, subscribers, err := a.hub.Topic(r.Context(), topic)
	if errors.Is(err, eventlog.ErrNotFound) {
		return problem.TopicNotFound.Withf("No event of the topic %s is retained. A topic is there once something was published to it.", topic)
	}
	if err != nil {
		return a.unread(r, err)
	}
	// The tag is weak (RFC 9110, section 8.8.1), because it does not cover the counts.
	tag := `"` + info.Last.String() + `"`
	w.Header().Set("ETag", "W/"+tag)
	caching := "no-cache" // the answer may be kept, and is asked for again
	if decision.Subject != "" {
		caching = "private, no-cache" // only by the client itself
	}
	w.Header().Set("Cache-Control", caching)
	if request.MatchesETag(r.Header, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	a.answerJSON(w, r, topicInfo{info, subscribers})
	return nil
}

// checkReadable refuses a request that names no valid topic, or may not read the topic.
func (a *api) checkReadable(r *http.Request, topic string) (Decision, error) {
	if err := checkTopic("topic", topic); err != nil {
		return Decision{}, err
	}
	return a.authorize(r, Access{Action: ActionRead, Topics: []string{topic}})
}
