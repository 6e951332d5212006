package eventsource

import (
	"net/http"

	"example.com/tidings/internal/outgoing"
)

// NewTransport returns the transport that a Client uses by default. It is that
// of package http with these differences: it finds dead HTTP/2 connections with
// pings, buffers at most 256 KiB for each HTTP/2 stream, and asks for no
// compression. Several Clients can share one.
func NewTransport() *http.Transport { return outgoing.Transport() }
