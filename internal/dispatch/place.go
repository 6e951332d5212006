package dispatch

import (
	"runtime"
	"strings"

	"example.com/tidings/internal/delivery"
	"example.com/tidings/topics"
)

// Placing a stream in the window takes one step for each entry from its position on, and for
// each of its filters. The shard does at most directSteps of them itself. For more, a
// catchUp finds the entries on a goroutine of the pool, and the shard only takes the result.
const directSteps = 512

// placed is what a catchUp has found in the window for its stream.
type placed struct {
	after, through uint64           // where it has looked
	frames         []delivery.Frame // the matching entries there
	matcher        *matcher         // of the stream's filters
}

// upTo returns how far p has looked after a position, and the frames up to there. It ends at
// a limit. Without a useful result it returns after.
func (p *placed) upTo(after, limit uint64) (through uint64, frames []delivery.Frame) {
	if p == nil || p.after != after || p.through <= after {
		return after, nil
	}
	through, frames = min(p.through, limit), p.frames
	for len(frames) > 0 && frames[len(frames)-1].Position() > through {
		frames = frames[:len(frames)-1]
	}
	return through, frames
}

// matches reports whether a stream with the filters gets the messages of a topic.
func (p *placed) matches(filters []topics.Filter, topic string) bool {
	if p == nil || p.matcher == nil {
		return !strings.HasPrefix(topic, topics.ReservedPrefix) && topics.MatchAny(filters, topic)
	}
	return p.matcher.match(topic)
}

// steps returns how much work it is to match entries.
func (p *placed) steps(entries int, filters []topics.Filter) int {
	if p == nil || p.matcher == nil {
		return entries * len(filters)
	}
	return entries
}

// settle attaches a stream to its set after a position. It returns false if the window does
// not reach back to that, or if that is too much work for the shard. Then a catchUp places the
// stream. p may be nil, or is what a catchUp has found. has is the last position that the
// client received. No matching event lies between has and position.
func (f *feed) settle(slot uint32, position, has uint64, p *placed) bool {
	set := f.shard.SetOf(slot)
	if from := set.From(); position < from {
		v := f.dispatcher.window.Load()
		if v.Era() != f.era {
			return false
		}
		through, frames := p.upTo(position, from)
		if through < from {
			entries, filters := v.From(through+1), set.Key.(*filterSet).filters
			entries = entries[:min(len(entries), int(from-through))]
			if through+1 < v.First() || p.steps(len(entries), filters) > directSteps {
				return false
			}
			for _, e := range entries {
				if p.matches(filters, e.Topic) {
					frames = append(frames, e)
				}
			}
		}
		f.shard.Prepend(set, frames, position)
	}
	f.shard.Attach(slot, position, has)
	return true
}

// place finds the entries of the window for a stream whose cursor has reached it, unless there
// are so few that the shard can do that. It ends early when the stream ends.
func (c *catchUp) place() {
	const slice = 256 // entries; some hundred microseconds
	v := c.dispatcher.window.Load()
	p := &c.placed
	if p.after != c.pos || p.through+1 < v.First() {
		*p = placed{after: c.pos, through: c.pos, matcher: p.matcher}
	}
	if v.Era() != c.era || c.pos+1 < v.First() {
		return // the next step sees that
	}
	entries := v.From(p.through + 1)
	if p.steps(len(entries), c.filters) <= directSteps {
		return
	}
	if p.matcher == nil {
		p.matcher = newMatcher(c.filters)
	}
	for i, e := range entries {
		if i%slice == 0 && i > 0 {
			if c.ctx.Err() != nil {
				return
			}
			runtime.Gosched()
		}
		if p.matcher.match(e.Topic) {
			p.frames = append(p.frames, e)
		}
		p.through = e.Seq
	}
}
