// Notifications-sql is notifications with a memory, and without a hub: a
// message is in a table before anyone receives it, and a client that reconnects
// goes on after the last one it has seen. It needs no more than database/sql;
// the SQLite here is pure Go.
//
//	curl -N http://127.0.0.1:3008/events -H 'Last-Event-ID: 0'
//	curl http://127.0.0.1:3008/messages -H 'Content-Type: application/json' -d '{"user":"alice","text":"hello"}'
package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"io"
	"iter"
	"log"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	_ "modernc.org/sqlite"

	"example.com/tidings/broadcast"
	"example.com/tidings/examples/internal/chat"
	"example.com/tidings/examples/internal/localhost"
	"example.com/tidings/sse"
)

// The ids of AUTOINCREMENT rise by one, in the order in which rows are
// committed, and are never used again.
const schema = `
	PRAGMA busy_timeout = 5000;
	PRAGMA journal_mode = WAL;
	PRAGMA synchronous = FULL; -- a row that is acknowledged survives a loss of power
	CREATE TABLE IF NOT EXISTS messages (
		id   INTEGER PRIMARY KEY AUTOINCREMENT,
		user TEXT NOT NULL,
		text TEXT NOT NULL
	)`

// A row is a stored message. Its id is also the id of its event.
type row struct {
	id      int64
	message chat.Message
}

func (r row) event() (sse.Event, error) {
	event, err := sse.JSON("", r.message)
	event.ID = strconv.FormatInt(r.id, 10)
	return event, err
}

// A board is the table, and those who wait for its next row.
type board struct {
	db   *sql.DB
	live *broadcast.Channel[row]
}

func (b *board) publish(w http.ResponseWriter, r *http.Request) {
	message, ok := chat.Read(w, r)
	if !ok {
		return // Read has told the client why
	}
	// A client that leaves now must not stop the row halfway.
	if err := b.add(context.WithoutCancel(r.Context()), message); err != nil {
		slog.Error("a message could not be stored", "error", err)
		http.Error(w, "The message could not be stored.", http.StatusInternalServerError)
		return
	}
	io.WriteString(w, "queued")
}

func (b *board) add(ctx context.Context, m chat.Message) error {
	result, err := b.db.ExecContext(ctx, "INSERT INTO messages (user, text) VALUES (?, ?)", m.User, m.Text)
	if err != nil {
		return err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return err
	}
	b.live.Send(row{id, m})
	return nil
}

// subscribe goes on after the client's Last-Event-ID. A client without one gets
// what is new. So does a client with an id that this table has never given, but
// it is told first, by a tidings.gap with the reason "unknown-id": it may have
// missed something. (A status other than 200 would make a browser give up.)
func (b *board) subscribe(r *http.Request) (iter.Seq2[sse.Event, error], error) {
	ctx := r.Context()
	live := b.live.Subscribe(ctx) // before the table is read, so that nothing falls between the two
	var head int64
	if err := b.db.QueryRowContext(ctx, "SELECT coalesce(max(id), 0) FROM messages").Scan(&head); err != nil {
		return nil, err
	}
	last, unknown := head, false
	if id := sse.LastEventID(r); id != "" {
		n, err := strconv.ParseInt(id, 10, 64)
		if unknown = err != nil || n < 0 || n > head; !unknown {
			last = n
		}
	}
	return func(yield func(sse.Event, error) bool) {
		if unknown && !yield(sse.Event{}, &sse.GapError{Reason: "unknown-id"}) {
			return
		}
		send := func(r row, err error) bool {
			if err != nil {
				yield(sse.Event{}, err)
				return false
			}
			last = r.id
			return yield(r.event())
		}
		replay := func() bool {
			for r, err := range b.after(ctx, last) {
				if !send(r, err) {
					return false
				}
			}
			return true
		}
		if !replay() {
			return
		}
		for r, gap := range live.All() {
			// What does not come in its turn is in the table: a client fell more
			// than 64 behind, two rows were sent in the other order, or another
			// process has added some.
			if gap != nil || r.id > last+1 {
				if !replay() {
					return
				}
			} else if r.id > last && !send(r, nil) { // else replay has sent it
				return
			}
		}
	}, nil
}

// after returns the rows after an id, up to the newest. It reads them one by
// one: the connection must be free while a slow client takes its time.
func (b *board) after(ctx context.Context, id int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		r := row{id: id}
		for {
			err := b.db.QueryRowContext(ctx, "SELECT id, user, text FROM messages WHERE id > ? ORDER BY id LIMIT 1", r.id).
				Scan(&r.id, &r.message.User, &r.message.Text)
			if errors.Is(err, sql.ErrNoRows) || ctx.Err() != nil || !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func main() {
	file := flag.String("db", "notifications.db", "the SQLite `file` that keeps the messages")
	flag.Parse()
	db, err := sql.Open("sqlite", *file)
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1) // SQLite has one writer at a time in any case
	if _, err := db.Exec(schema); err != nil {
		log.Fatal(err)
	}
	b := &board{db: db, live: broadcast.New[row](64)}
	http.HandleFunc("POST /messages", b.publish)
	http.Handle("GET /events", sse.Handler(b.subscribe, &sse.ServeOptions{
		KeepAlive:      15 * time.Second,
		KeepAliveEvent: sse.Event{Comment: "keep-alive"},
	}))
	localhost.Serve("127.0.0.1:3008")
	if err := db.Close(); err != nil {
		log.Fatal(err)
	}
}
