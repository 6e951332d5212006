package server

import (
	"net"
	"sync"
	"time"
)

// A sortingListener finds out which connections may be of HTTP/2, and returns those as a
// [countedConn]. Accept is for one goroutine.
type sortingListener struct {
	net.Listener
	sort func(net.Conn) (net.Conn, error) // returns what Accept returns; called by a goroutine for each connection
	gone func(net.Conn)                   // called for a connection that ends before it is sorted

	sorted chan accepted
	closed chan struct{}
	close  sync.Once
	ends   sync.WaitGroup // of the goroutines

	mu      sync.Mutex
	pending map[net.Conn]bool // nil after Close
}

// An accepted is a result of Accept.
type accepted struct {
	conn net.Conn
	err  error
}

// newSortingListener returns a listener with a goroutine, which Close ends.
func newSortingListener(l net.Listener, sort func(net.Conn) (net.Conn, error), gone func(net.Conn)) *sortingListener {
	s := &sortingListener{
		Listener: l, sort: sort, gone: gone,
		sorted: make(chan accepted), closed: make(chan struct{}), pending: map[net.Conn]bool{},
	}
	s.ends.Go(s.run)
	return s
}

// Accept implements [net.Listener].
func (s *sortingListener) Accept() (net.Conn, error) {
	select {
	case a := <-s.sorted:
		return a.conn, a.err
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close closes the connections that are not sorted yet, too.
func (s *sortingListener) Close() error {
	err := net.ErrClosed
	s.close.Do(func() {
		close(s.closed)
		err = s.Listener.Close()
		s.mu.Lock()
		for conn := range s.pending {
			conn.Close()
		}
		s.pending = nil
		s.mu.Unlock()
		s.ends.Wait()
	})
	return err
}

// run accepts connections until the listener is closed.
func (s *sortingListener) run() {
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			select {
			case s.sorted <- accepted{nil, err}: // Serve decides whether it goes on
				continue
			case <-s.closed:
				return
			}
		}
		if !s.pend(conn) {
			conn.Close()
			s.gone(conn)
			return
		}
		s.ends.Go(func() { s.handOver(conn) })
	}
}

// pend notes a connection that Close has to close. It returns false after Close.
func (s *sortingListener) pend(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending == nil {
		return false
	}
	s.pending[conn] = true
	return true
}

// handOver waits until a connection is sorted, and hands it to Accept.
func (s *sortingListener) handOver(conn net.Conn) {
	sorted, err := s.sort(conn)
	s.mu.Lock()
	delete(s.pending, conn)
	s.mu.Unlock()
	if err == nil {
		select {
		case s.sorted <- accepted{conn: sorted}:
		case <-s.closed:
			err = net.ErrClosed
		}
	}
	if err != nil {
		conn.Close()
		s.gone(conn)
	}
}

// sort finds out what the client of a connection without TLS speaks. A connection of HTTP/1 stays as
// it is where the system allows that: only a plain TCP connection can be taken over.
func (f *floods) sort(conn net.Conn) (net.Conn, error) {
	conn.SetReadDeadline(time.Now().Add(readHeaderTimeout))
	plain, err := isPlainHTTP1(conn)
	if err != nil {
		return nil, err
	}
	conn.SetReadDeadline(time.Time{})
	if plain {
		return conn, nil
	}
	return newCountedConn(conn, f), nil
}
