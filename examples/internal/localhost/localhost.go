// Package localhost is what the example programs have in common: it serves
// their handlers on an address of this machine until they are told to stop.
package localhost

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path"
	"syscall"
	"time"
)

// Serve serves the handlers of [http.DefaultServeMux] on addr until SIGINT or
// SIGTERM, and then returns. The environment variable PORT replaces the port of
// addr; 0 lets the system choose one. When it listens it prints
//
//	listening on http://ADDRESS
//
// It exits with status 1 when it cannot listen.
func Serve(addr string) {
	if err := serve(addr); err != nil {
		log.Fatal(err)
	}
}

func serve(addr string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if port := os.Getenv("PORT"); port != "" {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return err
		}
		addr = net.JoinHostPort(host, port)
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:     http.HandlerFunc(route),
		ReadTimeout: 10 * time.Second, // of a request; it does not end a stream
		// The end of ctx is the end of every request's context, and so of every
		// stream. Shutdown would wait for streams for ever.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	stop() // a second signal kills
	grace, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close() // a client that takes nothing
	}
	return nil
}

// route is http.DefaultServeMux but for what that has no handler for: the reply
// is a status without a body, as that of the Rust programs which these follow,
// and never a redirect to a path that would do.
func route(w http.ResponseWriter, r *http.Request) {
	if path.Clean(r.URL.Path) != r.URL.Path {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	if _, pattern := http.DefaultServeMux.Handler(r); pattern == "" {
		w = bodiless{w}
	}
	http.DefaultServeMux.ServeHTTP(w, r)
}

type bodiless struct{ http.ResponseWriter }

func (w bodiless) WriteHeader(status int) {
	w.Header().Del("Content-Type")
	w.ResponseWriter.WriteHeader(status)
}

func (w bodiless) Write(b []byte) (int, error) { return len(b), nil }
