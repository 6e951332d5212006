package httpapi_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/topics"
)

// What is taken from a batch is what encoding/json reads of its lines; and
// what encoding/json writes is taken.
func FuzzBatch(f *testing.F) {
	for _, seed := range []string{
		`{"topic":"a","data":"x"}`,
		"{\"topic\":\"a.b\",\"type\":\"t\",\"data\":{\"a\": [1, \"]\"]},\"key\":\"k\"}\n\n{\"topic\":\"b\",\"data\":null}\r\n",
		`{"topic":"a","data":"\ud83d\ude00\\\"\u0000"}`,
		`{"topic":"a","data":"\ud800"}`,
		`{"data":[[],{},"\\"],"topic":"a"}`,
		`{"topic":"a","data":-1.5E+10 }`,
		`{"topic":null,"data":true}`,
		`{"topic":"a" "data":1}`,
		"[]\n",
		"{\"topic\":\"a\",\"data\":1}\n{\"topic\":\"a\",\"data\":2}\n{\"topic\":\"\\u0061\",\"data\":3}\n{\"data\":4}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		messages, lines, err := httpapi.ParseBatch(body, 1<<20)
		if err != nil {
			return
		}
		all := bytes.Split(body, []byte("\n"))
		var again bytes.Buffer
		for i, m := range messages {
			var want struct {
				Topic, Type, Key string
				Data             json.RawMessage
			}
			if err := json.Unmarshal(all[lines[i]-1], &want); err != nil {
				t.Fatalf("line %d: %q: %v", lines[i], all[lines[i]-1], err)
			}
			var data string
			if want.Data[0] == '"' {
				if err := json.Unmarshal(want.Data, &data); err != nil {
					t.Fatal(err)
				}
			} else {
				var b bytes.Buffer
				if err := json.Compact(&b, want.Data); err != nil {
					t.Fatal(err)
				}
				data = b.String()
			}
			if m != (hub.Message{Topic: want.Topic, Type: want.Type, Data: data, Key: want.Key}) {
				t.Fatalf("line %d: %q is %+v", lines[i], all[lines[i]-1], m)
			}
			if topics.Check(m.Topic) != nil || !utf8.ValidString(m.Data+m.Type+m.Key) {
				t.Fatalf("line %d: %+v", lines[i], m)
			}
			line, err := json.Marshal(map[string]string{"topic": m.Topic, "data": m.Data})
			if err != nil {
				t.Fatal(err)
			}
			again.Write(append(line, '\n'))
		}
		reread, _, err := httpapi.ParseBatch(again.Bytes(), 1<<20)
		if err != nil || len(reread) != len(messages) {
			t.Fatalf("%q becomes %d messages: %v", again.String(), len(reread), err)
		}
		for i, m := range reread {
			if m.Topic != messages[i].Topic || m.Data != messages[i].Data {
				t.Fatalf("%+v becomes %+v", messages[i], m)
			}
		}
	})
}
