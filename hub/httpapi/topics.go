package httpapi

import (
	"errors"
	"net/http"
	"strings"

	"example.com/tidings/hub"
	"example.com/tidings/internal/problem"
)

// topicList is the JSON of GET /topics.
type topicList struct {
	Topics []hub.Topic `json:"topics"`
	Next   string      `json:"next,omitempty"` // the "after" of the next page, if there is one
}

// listTopics answers GET /topics.
func (a *api) listTopics(w http.ResponseWriter, r *http.Request, _, _ string) {
	q, refusal := parseQuery(r)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	pattern, refusal := "**", nil
	if q.Has("match") {
		pattern, refusal = single(q, "match", problem.InvalidFilter)
	}
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	filter, err := hub.ParseFilter(pattern)
	if err != nil {
		of("match", err).ServeHTTP(w, r)
		return
	}
	after, refusal := single(q, "after", problem.InvalidTopic)
	if refusal == nil && after != "" {
		if err := hub.CheckTopic(after); err != nil {
			refusal = of("after", err)
		}
	}
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	limit, refusal := parseLimit(q)
	if refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	if refusal := a.authorize(r, Access{Action: Read, Filters: []hub.Filter{filter}}); refusal != nil {
		refusal.ServeHTTP(w, r)
		return
	}
	topics, err := a.hub.Topics(r.Context(), filter, after, limit+1)
	if err != nil {
		a.unread(r, err).ServeHTTP(w, r)
		return
	}
	list := topicList{Topics: topics}
	if len(topics) > limit {
		list.Topics = topics[:limit]
		list.Next = topics[limit-1].Topic
	}
	answerJSON(w, list)
}

// topicInfo is the JSON of GET /topics/{topic}.
type topicInfo struct {
	hub.Topic
	Subscribers int `json:"subscribers"` // of this node
}

// showTopic answers GET /topics/{topic}.
func (a *api) showTopic(w http.ResponseWriter, r *http.Request, topic, _ string) {
	if !a.mayRead(w, r, topic) {
		return
	}
	info, subscribers, err := a.hub.Topic(r.Context(), topic)
	switch {
	case errors.Is(err, hub.ErrNotFound):
		problem.TopicNotFound.Withf("No event of the topic %s is retained. A topic is there once something was published to it.", topic).ServeHTTP(w, r)
		return
	case err != nil:
		a.unread(r, err).ServeHTTP(w, r)
		return
	}
	// The tag is weak (RFC 9110, section 8.8.1): the counts, which it does not cover,
	// change under it.
	tag := `"` + info.Last + `"`
	w.Header().Set("ETag", "W/"+tag)
	w.Header().Set("Cache-Control", "no-cache") // may be kept, and is asked for again
	if matchesETag(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	answerJSON(w, topicInfo{info, subscribers})
}

// mayRead answers a request that may not read a topic, or that names none.
func (a *api) mayRead(w http.ResponseWriter, r *http.Request, topic string) bool {
	if err := hub.CheckTopic(topic); err != nil {
		of("topic", err).ServeHTTP(w, r)
		return false
	}
	if refusal := a.authorize(r, Access{Action: Read, Topics: []string{topic}}); refusal != nil {
		refusal.ServeHTTP(w, r)
		return false
	}
	return true
}

// matchesETag reports whether an If-None-Match has the given opaque tag, weak or
// strong: they are compared weakly (RFC 9110, section 13.1.2). Our tags have no
// commas.
func matchesETag(ifNoneMatch []string, opaque string) bool {
	for _, value := range ifNoneMatch {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.Trim(tag, " \t"); tag == "*" || strings.TrimPrefix(tag, "W/") == opaque {
				return true
			}
		}
	}
	return false
}
