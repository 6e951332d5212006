package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/urfave/cli/v3"

	"example.com/tidings/internal/auth"
	"example.com/tidings/internal/certs"
	"example.com/tidings/internal/filewatch"
	"example.com/tidings/internal/server"
)

// addressFlags are the flags of serve for TLS, and for addresses beside --addr.
func addressFlags() []cli.Flag {
	return []cli.Flag{
		text("tls-cert", "", nil, "speak HTTPS, with HTTP/2, with the certificate in the PEM `FILE`, followed by those that vouch for it; it is read again when it changes"),
		text("tls-key", "", nil, "the private key of --tls-cert, in the PEM `FILE`"),
		text("http-redirect", "", nil, "with --tls-cert, listen on `HOST:PORT`, such as :80, too, and redirect each request to HTTPS"),
		text("admin-addr", "", nil, "serve /metrics, and on a loopback address /debug/pprof/, on `HOST:PORT`; :9090 means 127.0.0.1:9090; by default nowhere"),
	}
}

// newPair returns the certificate of --tls-cert with its key, or nil if there is none.
func newPair(cmd *cli.Command, logger *slog.Logger) (*certs.Pair, error) {
	cert, key := cmd.String("tls-cert"), cmd.String("tls-key")
	switch {
	case cert == "" && key == "":
		return nil, nil
	case key == "":
		return nil, errors.New("--tls-cert needs --tls-key, the file of its private key")
	case cert == "":
		return nil, errors.New("--tls-key needs --tls-cert, the file of its certificate")
	case cmd.Bool("h2c"):
		return nil, errors.New("--h2c is for HTTP/2 without TLS; with --tls-cert, clients speak HTTP/2 over TLS: leave --h2c out")
	}
	pair, err := certs.Load(cert, key, logger)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert: %w", err)
	}
	return pair, nil
}

// sides returns how many addresses there are beside --addr.
func sides(cmd *cli.Command) (n int) {
	for _, flag := range []string{"admin-addr", "http-redirect"} {
		if cmd.String(flag) != "" {
			n++
		}
	}
	return n
}

// everyTick has a change of files count within a second, until ctx is done.
func everyTick(ctx context.Context, watch func(ctx context.Context, ticks <-chan time.Time)) {
	ticker := time.NewTicker(filewatch.Interval)
	defer ticker.Stop()
	watch(ctx, ticker.C)
}

// writeAddresses says where the server listens, one address a line, that of the clients first.
func writeAddresses(w io.Writer, s *server.Server) {
	fmt.Fprintf(w, "listening on %s\n", s.URL())
	if url := s.AdminURL(); url != "" {
		fmt.Fprintf(w, "admin on %s\n", url)
	}
	if url := s.RedirectURL(); url != "" {
		fmt.Fprintf(w, "redirecting from %s\n", url)
	}
}

// writeOthers says in sentences what the addresses beside --addr are for. beyond says whether other
// machines can reach that of the operator.
func writeOthers(w io.Writer, cmd *cli.Command, a *auth.Authenticator, beyond bool) {
	if addr := cmd.String("admin-addr"); addr != "" {
		who := "everyone on this machine"
		switch {
		case beyond && a == nil:
			who = "whoever reaches it"
		case beyond:
			who = "those who may administer"
		}
		fmt.Fprintf(w, "The metrics are on %s, for %s.\n", addr, who)
	}
	if addr := cmd.String("http-redirect"); addr != "" {
		fmt.Fprintf(w, "Requests without TLS to %s are redirected to HTTPS.\n", addr)
	}
}
