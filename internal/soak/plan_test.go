//go:build unix

package soak_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// A message is a message of a plan. Its data begins with its number and a space.
type message struct {
	Topic string `json:"topic"`
	Type  string `json:"type,omitempty"`
	Data  string `json:"data"`
	Key   string `json:"key,omitempty"`
}

// The topics of a plan. The busy ones are busy.0.a to busy.7.e.
const (
	busyGroups    = 8
	busyNames     = "abcde"
	ballastTopics = 3
	quietTopics   = 34
)

func busyTopic(group, name int) string { return fmt.Sprintf("busy.%d.%c", group, busyNames[name]) }
func quietTopic(i int) string          { return fmt.Sprintf("quiet.q%d", i) }

// everyTopic returns all topics of a plan.
func everyTopic() []string {
	var all []string
	for g := range busyGroups {
		for n := range len(busyNames) {
			all = append(all, busyTopic(g, n))
		}
	}
	for i := range ballastTopics {
		all = append(all, fmt.Sprintf("ballast.%d", i))
	}
	for i := range quietTopics {
		all = append(all, quietTopic(i))
	}
	return all
}

// plan returns the messages to publish: first a message on each topic, then n messages
// on the busy topics and sometimes a large one on a ballast topic, and last a message
// on each topic again, from number last on. share is the fraction of messages with a
// key.
func plan(r *rand.Rand, n int, share float64) (all []message, last int) {
	padding := strings.Repeat("ballast ", 1024)
	add := func(topic string) {
		i := len(all)
		m := message{Topic: topic}
		switch size := r.IntN(120); {
		case strings.HasPrefix(topic, "ballast."):
			m.Data = fmt.Sprintf("%d %s", i, padding[:2048+r.IntN(4096)])
		case size < 5: // several lines
			m.Data = fmt.Sprintf("%d \n\nline%s\n", i, strings.Repeat("\nx", size))
		default:
			m.Data = fmt.Sprintf("%d %s", i, padding[:size])
		}
		if r.IntN(3) == 0 {
			m.Type = [...]string{"created", "updated", "gone"}[r.IntN(3)]
		}
		if r.Float64() < share {
			m.Key = fmt.Sprintf("key-%d", i)
		}
		all = append(all, m)
	}
	for _, topic := range everyTopic() {
		add(topic)
	}
	for range n {
		if r.IntN(10) == 0 {
			add(fmt.Sprintf("ballast.%d", r.IntN(ballastTopics)))
		} else {
			add(busyTopic(r.IntN(busyGroups), r.IntN(len(busyNames))))
		}
	}
	last = len(all)
	for _, topic := range everyTopic() {
		add(topic)
	}
	return all, last
}

// busyFilters returns the filters of a subscriber to busy topics.
func busyFilters(r *rand.Rand) []string {
	g, n := r.IntN(busyGroups), r.IntN(len(busyNames))
	name := busyNames[n : n+1]
	switch r.IntN(20) {
	case 0: // many messages, so only few subscribers
		return []string{[...]string{"**", "busy.**", "ballast.*"}[r.IntN(3)]}
	case 1, 2, 3:
		return []string{"busy.*." + name}
	case 4, 5, 6:
		return []string{fmt.Sprintf("busy.%d.*", g)}
	case 8, 9:
		return []string{fmt.Sprintf("busy.%d.**", g), quietTopic(r.IntN(quietTopics))}
	case 10, 11: // overlapping filters
		return []string{fmt.Sprintf("busy.%d.*", g), "busy.*." + name, busyTopic(g, n)}
	case 12, 13:
		return []string{busyTopic(g, n), busyTopic((g+1)%busyGroups, n), "nothing.**"}
	case 14:
		return []string{"*.1", "ballast.2"}
	}
	return []string{busyTopic(g, n)}
}

// quietFilters returns the filters of a subscriber to quiet topics.
func quietFilters(r *rand.Rand) []string {
	i := r.IntN(quietTopics)
	switch r.IntN(6) {
	case 0:
		return []string{fmt.Sprintf("*.q%d", i)}
	case 1:
		return []string{quietTopic(i), quietTopic((i + 1) % quietTopics)}
	case 2:
		return []string{"quiet.*", "quiet.**"}
	}
	return []string{quietTopic(i)}
}

// matches reports whether one of the filters matches the topic. It does not use package
// topics, which is under test.
func matches(filters []string, topic string) bool {
	have := strings.Split(topic, ".")
next:
	for _, f := range filters {
		want := strings.Split(f, ".")
		for i, token := range want {
			switch {
			case token == "**":
				if len(have) > i {
					return true
				}
				continue next
			case i >= len(have) || token != "*" && token != have[i]:
				continue next
			}
		}
		if len(want) == len(have) {
			return true
		}
	}
	return false
}
