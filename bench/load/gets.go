//go:build linux

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"example.com/tidings/bench/internal/measure"
)

// gets sends GETs over one connection, one at a time with pauses between them, and
// reports how long they take. It begins when an answer contains the text of -begin.
// The default is the count in /topics, which shows that a first message exists.
func gets(args []string) (any, error) { return requests("load gets", false, args) }

// quiet publishes messages in the same way, to a topic without subscribers, and
// reports how long their acknowledgements take. It begins as gets does.
func quiet(args []string) (any, error) { return requests("load quiet", true, args) }

// requests implements gets and quiet.
func requests(name string, publish bool, args []string) (any, error) {
	var t target
	flags := flag.NewFlagSet(name, flag.ExitOnError)
	t.register(flags)
	path := flags.String("path", "/topics", "the path to request")
	begin := flags.String("begin", `"count":`, "begin when an answer contains this")
	topic := "bench.quiet"
	if publish {
		flags.StringVar(&topic, "topic", topic, "the topic to publish to")
	}
	pause := flags.Duration("pause", 20*time.Millisecond, "the pause between an answer and the next request")
	length := flags.Duration("for", 20*time.Second, "how long to measure")
	if err := t.parse(flags, args); err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 10 * time.Second}
	get := func() (string, error) {
		return answer(http.StatusOK)(client.Get("http://" + t.addr + *path))
	}
	request := get
	if publish {
		message := strings.Repeat("x", t.size)
		request = func() (string, error) {
			return answer(http.StatusCreated)(client.Post("http://"+t.addr+"/topics/"+topic, "text/plain", strings.NewReader(message)))
		}
	}
	for until := time.Now().Add(time.Minute); ; time.Sleep(*pause) {
		body, err := get()
		if err != nil {
			return nil, err
		}
		if strings.Contains(body, *begin) {
			break
		}
		if time.Now().After(until) {
			return nil, errors.New("no message within a minute")
		}
	}
	latencies := make([]int64, 0, *length / *pause + 1)
	for until := time.Now().Add(*length); time.Now().Before(until); {
		time.Sleep(*pause)
		start := time.Now()
		if _, err := request(); err != nil {
			return nil, err
		}
		latencies = append(latencies, int64(time.Since(start)))
	}
	return measure.NewSpread(latencies), nil
}

// answer returns a function that reads an answer, and requires a status.
func answer(status int) func(*http.Response, error) (string, error) {
	return func(res *http.Response, err error) (string, error) {
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err == nil && res.StatusCode != status {
			err = fmt.Errorf("the status is %s", res.Status)
		}
		return string(body), err
	}
}
