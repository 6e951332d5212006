package bench

import (
	"context"
	"io"
	"sync"
)

// goroutines is an engine with a goroutine and a buffer for each subscriber.
type goroutines struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// readSize is the size in bytes of a subscriber's buffer.
const readSize = 4 << 10

func startGoroutines(r *run) *goroutines {
	ctx, cancel := context.WithCancel(context.Background())
	g := &goroutines{cancel: cancel}
	turns := make(chan struct{}, connecting)
	g.wg.Go(func() {
		for i := range r.subscribers {
			select {
			case turns <- struct{}{}:
			case <-ctx.Done():
				return
			}
			g.wg.Go(func() { g.stream(ctx, r, &r.subscribers[i], turns) })
		}
	})
	return g
}

func (g *goroutines) stop() {
	g.cancel()
	g.wg.Wait()
}

// stream serves the connection of one subscriber. It gives its turn back once the stream is open.
func (g *goroutines) stream(ctx context.Context, r *run, s *subscriber, turns chan struct{}) {
	waiting := true
	done := func() {
		if waiting {
			waiting = false
			<-turns
		}
	}
	defer done()
	s.began = r.now()
	conn, err := r.target.dial(ctx, sourceOf(r.target.peer.Addr(), s.index))
	if err == nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		_, err = conn.Write(r.open.append(nil, s.topic))
	}
	buf := make([]byte, readSize)
	for err == nil {
		var n int
		n, err = conn.Read(buf)
		if ctx.Err() != nil {
			return // over TLS the server may still answer the close
		}
		if n > 0 {
			if e := s.receive(buf[:n], r.now()); e != nil {
				return
			}
		}
		if s.state != opening {
			done()
		}
	}
	if ctx.Err() == nil {
		s.end(atEnd(&s.reply, err))
	}
}

// atEnd translates the error of a read. It returns io.EOF only if the response is
// complete there.
func atEnd(r *reply, err error) error {
	if err == io.EOF {
		return r.end()
	}
	return err
}
