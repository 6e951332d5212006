package outgoing

import (
	"net"
	"net/http"
	"time"
)

const (
	// pingAfter and pingTimeout find a dead HTTP/2 connection in 20 seconds. One
	// that stays in the pool would take each further attempt with it.
	pingAfter   = 15 * time.Second
	pingTimeout = 5 * time.Second

	// streamBuffer is what an HTTP/2 stream holds for a consumer that does not
	// read. Go's default is 4 MiB.
	streamBuffer = 256 << 10

	dialTimeout = 10 * time.Second
	idleTimeout = 30 * time.Second
)

// Transport returns a new transport, as eventsource.NewTransport documents it.
func Transport() *http.Transport {
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: pingAfter}).DialContext,
		TLSHandshakeTimeout: dialTimeout,
		ForceAttemptHTTP2:   true,
		DisableCompression:  true,
		IdleConnTimeout:     idleTimeout,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamBuffer,
			SendPingTimeout:           pingAfter,
			PingTimeout:               pingTimeout,
		},
	}
}
