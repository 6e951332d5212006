// Contract is a service that runs clients of package eventsource for a test
// harness in any language:
//
//	go run ./internal/contract --addr 127.0.0.1:8000
//
// It speaks the protocol of LaunchDarkly's sse-contract-tests. The harness starts
// a client with a POST, serves the stream that the client reads, and gets a
// callback for each event, comment and error.
//
// The clients follow the standard (eventsource.Options.Standard).
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8000", "the address `host:port` to listen on; port 0 takes a free one")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done, or until a harness stops the service.
func run(ctx context.Context, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s\n", listener.Addr())
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newService(cancel)
	defer s.close()
	srv := &http.Server{Handler: s}
	unregister := context.AfterFunc(ctx, func() { srv.Shutdown(context.Background()) })
	defer unregister()
	if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
