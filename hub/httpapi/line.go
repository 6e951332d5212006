package httpapi

import (
	"bytes"
	"fmt"
	"slices"
	"unicode/utf8"

	"example.com/tidings/hub"
	"example.com/tidings/internal/jsonscan"
	"example.com/tidings/internal/problem"
	"example.com/tidings/internal/quote"
	"example.com/tidings/internal/yield"
)

// A batch takes the messages out of the lines of a body.
type batch struct {
	maxMessage int

	messages []hub.Message
	lines    []int  // the number of each message's line
	number   int    // of the last line
	topic    string // of the last message
	texts    int    // bytes of what the messages are made of

	work *yield.Work
}

// perMessage is about how much memory a message of a batch takes beside its strings, with its
// result and the log's.
const perMessage = 256

// size returns about how much memory the messages take.
func (b *batch) size() int { return b.texts + perMessage*cap(b.messages) }

// answered returns about how much memory their results take.
func (b *batch) answered() (n int) {
	topic := ""
	for i := range b.messages {
		if m := &b.messages[i]; m.Topic != topic {
			topic = m.Topic
			n += len(topic)
		}
		n += perMessage
	}
	return n
}

// topics returns the topics of the batch, each once.
func (b *batch) topics() []string {
	var topics []string
	seen := map[string]bool{}
	for _, m := range b.messages {
		if !seen[m.Topic] {
			seen[m.Topic] = true
			topics = append(topics, m.Topic)
		}
	}
	return topics
}

const (
	lineForm   = `A line is {"topic": "…", "data": …}, and may have "type" and "key".`
	batchForm  = lineForm + " With curl send a file by --data-binary: -d takes the line ends out."
	whitespace = " \t\r" // of JSON, within a line
)

// add takes the message out of a line, unless that has white space only. It returns the
// problem of a bad line.
func (b *batch) add(line []byte) error {
	b.number++
	if len(bytes.Trim(line, whitespace)) == 0 {
		return nil
	}
	if len(b.messages) == MaxBatchMessages {
		return problem.TooManyMessages.Withf("A batch may have up to %d messages. Send several.", MaxBatchMessages)
	}
	m, refusal := parseLine(line, b.topic, b.work)
	if refusal == nil {
		if err := checkTopic("topic", m.Topic); err != nil {
			refusal = err.(*problem.Problem)
		} else if len(m.Data) > b.maxMessage {
			refusal = problem.MessageTooLarge.Withf("A message may have up to %d bytes of data. Send a shorter one.", b.maxMessage)
		}
	}
	if refusal != nil {
		return onLine(b.number, refusal)
	}
	if len(b.messages) == cap(b.messages) {
		more := min(max(128, cap(b.messages)), MaxBatchMessages-cap(b.messages))
		b.messages, b.lines = slices.Grow(b.messages, more), slices.Grow(b.lines, more)
	}
	b.messages = append(b.messages, m)
	b.lines = append(b.lines, b.number)
	b.texts += len(m.Type) + len(m.Key) + len(m.Data)
	if m.Topic != b.topic {
		b.texts += len(m.Topic)
		b.topic = m.Topic
	}
	return nil
}

// complete returns the problem of a batch that has no message.
func (b *batch) complete() error {
	if len(b.messages) == 0 {
		return problem.InvalidJSON.With("The batch is empty. " + batchForm)
	}
	return nil
}

// onLine says on which line a problem is.
func onLine(number int, refusal *problem.Problem) *problem.Problem {
	refusal.Line = number
	refusal.Detail = fmt.Sprintf("Line %d: %s", number, refusal.Detail)
	return refusal
}

// parseLine takes a message out of a line, which must be one JSON object in
// UTF-8. What a client may have meant otherwise is refused: a field that is not
// known, one that stands twice, text that Unicode does not have. If the line has
// the same topic as the line before, the messages share the string. The line may be long: others run meanwhile.
func parseLine(line []byte, topic string, work *yield.Work) (m hub.Message, refusal *problem.Problem) {
	m.Topic = topic
	if jsonscan.InvalidUTF8(line, work) >= 0 {
		return m, problem.InvalidJSON.With("JSON is in UTF-8, and this is not.")
	}
	if offset, fault := jsonscan.Check(line, work); fault != jsonscan.None {
		return m, notJSON(line, offset, fault)
	}
	if first := jsonscan.First(line); first != '{' {
		return m, problem.InvalidMessage.Withf("A message is a JSON object, not %s. %s", problem.KindOf(first), lineForm)
	}
	var seen struct{ topic, kind, data, key bool }
	for fields := jsonscan.NewMembers(line, work); fields.Next(); {
		value := fields.Value
		name, ok := fieldName(fields.Name, work)
		switch {
		case !ok:
			refusal = notUnicode("the name of a field")
		case name == "topic":
			refusal = setText(&m.Topic, &seen.topic, name, value, work)
			if refusal == nil && value[0] == 'n' {
				refusal = notText(name, value)
			}
		case name == "type":
			refusal = setText(&m.Type, &seen.kind, name, value, work)
		case name == "key":
			if refusal = setText(&m.Key, &seen.key, name, value, work); refusal == nil && m.Key == "" && value[0] == '"' {
				refusal = problem.InvalidKey.With("The key is empty. Leave it out, or make one for each message.").About(name)
			}
		case name == "data" && value[0] == '"':
			refusal = setText(&m.Data, &seen.data, name, value, work)
		case name == "data":
			if refusal = once(&seen.data, name); refusal == nil {
				m.Data = jsonscan.Compact(value, work)
			}
		default:
			refusal = problem.InvalidMessage.Withf("There is no field %s. %s", quote.Short(name), lineForm).About(name)
		}
		if refusal != nil {
			return m, refusal
		}
	}
	for _, f := range []struct {
		name string
		ok   bool
	}{{"topic", seen.topic}, {"data", seen.data}} {
		if !f.ok {
			return m, problem.InvalidMessage.Withf("The field %q is missing. %s", f.name, lineForm).About(f.name)
		}
	}
	return m, nil
}

// fieldName returns what a name says, without allocating for those that are
// known.
func fieldName(quoted []byte, work *yield.Work) (string, bool) {
	for _, known := range [...]string{"topic", "data", "type", "key"} {
		if string(quoted[1:len(quoted)-1]) == known {
			return known, true
		}
	}
	return jsonscan.Unquote(quoted, work)
}

// setText sets a field to a string, or leaves it as it is for null. It does not
// allocate if the field has that text already.
func setText(to *string, seen *bool, name string, value []byte, work *yield.Work) *problem.Problem {
	if refusal := once(seen, name); refusal != nil {
		return refusal
	}
	switch value[0] {
	case 'n':
		return nil
	case '"':
		if string(value[1:len(value)-1]) == *to {
			return nil
		}
		text, ok := jsonscan.Unquote(value, work)
		if !ok {
			return notUnicode("the field " + quote.Short(name)).About(name)
		}
		*to = text
		return nil
	}
	return notText(name, value)
}

func once(seen *bool, name string) *problem.Problem {
	if *seen {
		return problem.InvalidMessage.Withf("The field %q stands twice. %s", name, lineForm).About(name)
	}
	*seen = true
	return nil
}

func notText(name string, value []byte) *problem.Problem {
	return problem.InvalidMessage.Withf("The field %q must be a string, not %s. %s", name, problem.KindOf(value[0]), lineForm).About(name)
}

func notUnicode(what string) *problem.Problem {
	return problem.InvalidData.Withf(`There is half of a surrogate pair in %s, an escape such as \ud800 alone, which stands for no character.`, what)
}

// notJSON says where a line ceases to be JSON.
func notJSON(line []byte, offset int, fault jsonscan.Fault) *problem.Problem {
	what := "the JSON ends too early"
	switch fault {
	case jsonscan.Deep:
		what = jsonscan.NestedTooDeeply
	case jsonscan.Char:
		char, _ := utf8.DecodeRune(line[offset:])
		what = fmt.Sprintf("%q cannot stand in the JSON", char)
	}
	column := 1 + utf8.RuneCount(line[:offset])
	p := problem.InvalidJSON.Withf("At column %d %s. %s", column, what, batchForm)
	p.Column = column
	return p
}
