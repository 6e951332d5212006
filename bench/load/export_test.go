//go:build linux

package main

var (
	AppendMessage = appendMessage
	Storm         = storm
	Topics        = topics
	Gets          = gets
	Quiet         = quiet
	Secured       = secured
)

type (
	SecuredResult = securedResult
	StormResult   = stormResult
	Stream        = stream
	TopicsResult  = topicsResult
)

func (s *Stream) Feed(b []byte, found func(at int64, number uint32)) error { return s.feed(b, found) }
