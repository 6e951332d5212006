package server

import (
	"context"
	"io"
	"net/http"
	"time"

	"example.com/tidings/hub"
)

// probeTimeout is how long the log may take to answer a probe.
const probeTimeout = 2 * time.Second

// A probe answers for a service manager or a load balancer, which often asks an IP address: its
// paths are exempt from the check of the host. It tells no details.
func probe(ok func(context.Context) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
		defer cancel()
		h, status, text := w.Header(), http.StatusOK, "ok\n"
		if ok(ctx) != nil {
			status, text = http.StatusServiceUnavailable, "not ready\n"
		}
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h["X-Content-Type-Options"] = nosniff
		w.WriteHeader(status)
		io.WriteString(w, text) // net/http drops it for HEAD
	})
}

// probes returns the handlers of the probes: the process lives, and the hub can publish and
// serve.
func probes(h *hub.Hub) map[string]http.Handler {
	return map[string]http.Handler{
		"/healthz": probe(func(context.Context) error { return nil }),
		"/readyz":  probe(h.Ready),
	}
}
