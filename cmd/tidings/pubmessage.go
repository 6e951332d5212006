package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"example.com/tidings/eventsource/publish"
	"example.com/tidings/internal/quote"
	"example.com/tidings/topics"
)

// parseMessage returns the message of a line of --ndjson: an object with the fields of POST
// /batch. topic and typ are those of a line that names none.
func parseMessage(line, topic, typ string) (publish.Message, error) {
	m := publish.Message{Topic: topic, Type: typ}
	fields, err := objectFields(line)
	if err != nil {
		return m, err
	}
	if fields["data"] == nil {
		return m, errors.New(`the field "data" is missing`)
	}
	for name, value := range fields {
		if name == "data" {
			m.Data, err = dataOf(value)
		} else {
			err = stringField(name, value, &m)
		}
		if err != nil {
			return m, err
		}
	}
	if m.Topic == "" {
		return m, errors.New(`the field "topic" is missing, and the command names no TOPIC`)
	}
	if err := topics.Check(m.Topic); err != nil {
		return m, mistaken("topic", m.Topic, err)
	}
	return m, nil
}

// objectFields returns the fields of an object, which has no others than a message, and each once.
func objectFields(line string) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(strings.NewReader(line))
	if open, err := d.Token(); err != nil {
		return nil, badJSON(err)
	} else if open != json.Delim('{') {
		return nil, errors.New(`the line is no JSON object, such as {"data": "shipped"}`)
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, badJSON(err)
		}
		key := name.(string) // as in each JSON object
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, badJSON(err)
		}
		switch {
		case !slices.Contains([]string{"topic", "data", "type", "key"}, key):
			return nil, fmt.Errorf("the field %s is not known: a line has data, type, key and topic", quote.Short(key))
		case fields[key] != nil:
			return nil, fmt.Errorf("the field %q stands twice", key)
		}
		fields[key] = value
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return nil, badJSON(err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON object")
	}
	return fields, nil
}

func badJSON(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return fmt.Errorf("the line is no JSON: %w", err)
}

// dataOf returns the data for a JSON value: a string as it is, and any other value as JSON without
// white space.
func dataOf(value json.RawMessage) (s string, err error) {
	if value[0] == '"' {
		if err := json.Unmarshal(value, &s); err != nil {
			return "", err
		}
		return s, checkText(s, string(value))
	}
	var b bytes.Buffer
	err = json.Compact(&b, value)
	return b.String(), err
}

// checkText refuses a string for which its JSON had half of a surrogate pair, which encoding/json
// replaces.
func checkText(s, quoted string) error {
	const replacement = "\ufffd"
	if strings.Count(s, replacement) > strings.Count(quoted, replacement)+strings.Count(strings.ToLower(quoted), `\ufffd`) {
		return errors.New(`there is half of a surrogate pair in the data, an escape such as \ud800 alone`)
	}
	return nil
}

// stringField sets the topic, the type or the key of a message. null stands for none.
func stringField(name string, value json.RawMessage, m *publish.Message) error {
	var s *string
	if err := json.Unmarshal(value, &s); err != nil || s == nil && name == "topic" {
		return fmt.Errorf("the field %q is no string", name)
	}
	switch {
	case s == nil:
	case name == "topic":
		m.Topic = *s
	case name == "type":
		m.Type = *s
	case *s == "":
		return errors.New(`the field "key" is empty`)
	default:
		m.Key = *s
	}
	return nil
}
