package publish_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"example.com/tidings/eventlog"
	"example.com/tidings/eventsource/publish"
	tidings "example.com/tidings/hub"
	"example.com/tidings/hub/httpapi"
	"example.com/tidings/internal/memhttp"
)

// A hub whose every second answer is cut, before it or within it, stores 10,000
// messages once and in order.
func TestAHubWhoseAnswersAreCutStoresEachMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := eventlog.NewMemory(nil)
		h, err := tidings.New(t.Context(), log, &tidings.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			time.Sleep(time.Second) // net/http lingers where it has not read all of a body
			h.Close()
		})
		api := httpapi.New(h, nil)
		var n atomic.Int64
		srv := memhttp.New(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch n.Add(1) % 4 {
			case 1:
				api.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			case 3:
				all := httptest.NewRecorder()
				api.ServeHTTP(all, r)
				w.Header().Set("Content-Type", all.Header().Get("Content-Type"))
				w.WriteHeader(all.Code)
				w.Write(all.Body.Bytes()[:all.Body.Len()/3])
				panic(http.ErrAbortHandler)
			default:
				api.ServeHTTP(w, r)
			}
		}), nil)
		c := publish.New(srv.URL(), &publish.Options{HTTPClient: srv.Client(t, false)})
		const count = 10_000
		var ms []publish.Message
		for i := range count {
			ms = append(ms, publish.Message{Topic: "a", Data: fmt.Sprint(i)})
		}
		results, err := c.PublishAll(t.Context(), ms)
		if err != nil {
			t.Fatal(err)
		}
		again := 0
		for i, r := range results {
			if r.Again {
				again++
			}
			if at, err := eventlog.ParsePosition(r.ID); err != nil || at.Seq != uint64(i+1) {
				t.Fatalf("message %d has the id %q (%v)", i, r.ID, err)
			}
		}
		if again == 0 {
			t.Error("no message was stored by an earlier attempt: the test cuts no answer")
		}
		state, err := log.State(t.Context())
		if err != nil || state.Last != count {
			t.Errorf("the log has %d messages (%v), want %d", state.Last, err, count)
		}
	})
}
