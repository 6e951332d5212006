package natslog

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"

	"example.com/tidings/topics"
)

// A stored message has its topic, below the stream's name, as the subject, and its
// data as the body. Headers hold its type and the hash of its key: see messageID.
const typeHeader = "Tidings-Type"

// A naming maps topics to subjects.
type naming struct{ prefix string }

func (n naming) subject(topic string) string { return n.prefix + topic }

func (n naming) topic(subject string) string { return strings.TrimPrefix(subject, n.prefix) }

// filter returns the wildcard subject that matches the same topics as f.
func (n naming) filter(f topics.Filter) string {
	pattern := f.String()
	if rest, ok := strings.CutSuffix(pattern, "**"); ok {
		pattern = rest + ">"
	}
	return n.prefix + pattern
}

// all matches every topic's subject.
func (n naming) all() string { return n.prefix + ">" }

// A selection is a query's filters.
type selection struct {
	filters  []topics.Filter
	subjects []string
	all      bool // some filter matches everything
}

func (n naming) selection(filters []topics.Filter) *selection {
	s := &selection{filters: filters}
	for _, f := range filters {
		s.subjects = append(s.subjects, n.filter(f))
		s.all = s.all || f.String() == "**"
	}
	if s.all {
		s.subjects = []string{n.all()}
	}
	return s
}

// everything selects all records.
func (n naming) everything() *selection {
	return &selection{subjects: []string{n.all()}, all: true}
}

func (s *selection) match(topic string) bool {
	if s.all {
		return true
	}
	for _, f := range s.filters {
		if f.Match(topic) {
			return true
		}
	}
	return false
}

// messageID returns the id by which JetStream recognizes a repeated message. It
// includes the topic, because ids are unique in the stream but keys in their topic. If gone
// is not 0, it is the number of a message that had the key and is no longer stored. All
// processes find the same id for the next message with that key.
func messageID(topic, key string, gone uint64) string {
	h := sha256.New()
	h.Write(binary.AppendUvarint(nil, uint64(len(topic))))
	h.Write([]byte(topic))
	h.Write([]byte(key))
	id := base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	if gone > 0 {
		id += "." + strconv.FormatUint(gone, 10)
	}
	return id
}

// encodeType escapes a type as in a URL, because headers lose surrounding spaces.
func encodeType(s string) string { return url.PathEscape(s) }

func decodeType(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	if t, err := url.PathUnescape(s); err == nil {
		return t
	}
	return s
}
