//go:build linux

package main

var (
	Load       = load
	MiddleID   = middleID
	NewBatch   = newBatch
	NewNames   = newNames
	Pages      = pages
	ReadAnswer = readAnswer
	Replay     = replay
	Resume     = resume
	Starts     = starts
)

type (
	LoadResult   = loadResult
	Names        = names
	PagesResult  = pagesResult
	ReplayResult = replayResult
	StartResult  = startResult
)

func (n names) Count() int        { return n.count }
func (n names) Name(i int) string { return n.name(i) }

// NewMessage returns a request to publish one message.
func NewMessage(addr string, n Names, size int) *request { return newMessage(addr, n, size) }

func (r *request) Fill(p *picker, count int) []byte { return r.fill(p, count) }

// NewPickers returns pickers that share a sequence.
func NewPickers(count, topics int, random bool, limit int64) []*picker {
	s := &sequence{topics: topics, random: random, limit: limit}
	var pickers []*picker
	for i := range count {
		pickers = append(pickers, s.picker(uint64(i)))
	}
	return pickers
}

func (p *picker) Take(n int) int { return p.take(n) }
func (p *picker) Topic() int     { return p.topic() }

// Count counts a text in a stream that arrives in parts.
func Count(text string, parts ...[]byte) int {
	c := counter{text: []byte(text)}
	for _, part := range parts {
		c.feed(part)
	}
	return c.count
}
