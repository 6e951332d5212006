//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strings"
)

// A request is the bytes of a POST with a message, or with a batch of them. It is
// built once, and only the numbers of its topics change. One goroutine owns it.
type request struct {
	names   names
	bytes   []byte
	numbers []int // where the number of each message's topic begins

	header func(length int) string
	body   int // where it begins
	line   int // bytes of a line of the batch
}

// newMessage returns a request to publish one message of size bytes.
func newMessage(addr string, n names, size int) *request {
	r := &request{names: n}
	r.bytes = fmt.Appendf(nil, "POST /topics/%s HTTP/1.1\r\nHost: %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s",
		n.name(0), addr, size, strings.Repeat("x", size))
	r.numbers = []int{len("POST /topics/") + len(prefix)}
	return r
}

// newBatch returns a request to publish count messages of size bytes each.
func newBatch(addr string, n names, size, count int) *request {
	line := `{"topic":"` + n.name(0) + `","data":"` + strings.Repeat("x", size) + `"}` + "\n"
	r := &request{names: n, line: len(line)}
	r.header = func(length int) string {
		return fmt.Sprintf("POST /batch HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nContent-Length: %d\r\n\r\n", addr, length)
	}
	header := r.header(count * len(line))
	r.body = len(header)
	r.bytes = append([]byte(header), bytes.Repeat([]byte(line), count)...)
	for i := range count {
		r.numbers = append(r.numbers, r.body+i*len(line)+len(`{"topic":"`)+len(prefix))
	}
	return r
}

// fill gives count messages the topics that p picks, and returns the bytes to send,
// which are valid until the next call. A count below that of the request makes it
// shorter.
func (r *request) fill(p *picker, count int) []byte {
	for _, at := range r.numbers[:count] {
		r.names.number(r.bytes[at:at+r.names.digits], p.topic())
	}
	if count == len(r.numbers) {
		return r.bytes
	}
	length := count * r.line
	return append([]byte(r.header(length)), r.bytes[r.body:r.body+length]...)
}
