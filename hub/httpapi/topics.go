package httpapi

import (
	"errors"
	"net/http"

	"example.com/tidings/eventlog"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/request"
	"example.com/tidings/topics"
)

// topicList is the JSON of GET /topics.
type topicList struct {
	Topics []eventlog.TopicInfo `json:"topics"`
	Next   string               `json:"next,omitempty"` // the "after" of the next page, if there is one
}

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
	if err := a.authorize(r, Access{Action: ActionRead, Filters: []topics.Filter{filter}}); err != nil {
		return err
	}
	found, err := a.hub.Topics(r.Context(), filter, after, limit+1)
	if err != nil {
		return a.unread(r, err)
	}
	list := topicList{Topics: found}
	if list.Topics == nil {
		list.Topics = []eventlog.TopicInfo{} // [] in JSON, not null
	}
	if len(found) > limit {
		list.Topics = found[:limit]
		list.Next = found[limit-1].Topic
	}
	answerJSON(w, list)
	return nil
}

// topicInfo is the JSON of GET /topics/{topic}.
type topicInfo struct {
	eventlog.TopicInfo
	Subscribers int `json:"subscribers"` // of this node
}

// showTopic answers GET /topics/{topic}.
func (a *api) showTopic(w http.ResponseWriter, r *http.Request, topic, _ string) error {
	if err := a.checkReadable(r, topic); err != nil {
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
	w.Header().Set("Cache-Control", "no-cache") // may be kept, and is asked for again
	if request.MatchesETag(r.Header, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	answerJSON(w, topicInfo{info, subscribers})
	return nil
}

// checkReadable refuses a request that names no valid topic, or may not read the topic.
func (a *api) checkReadable(r *http.Request, topic string) error {
	if err := checkTopic("topic", topic); err != nil {
		return err
	}
	return a.authorize(r, Access{Action: ActionRead, Topics: []string{topic}})
}
