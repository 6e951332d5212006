package server

import (
	"crypto/tls"
	"encoding/binary"
	"time"
)

// goAwayTime is how long a client may take to read why its connection ends.
const goAwayTime = 100 * time.Millisecond

// The codes of GOAWAY (RFC 9113, section 7).
const (
	noError         = 0
	enhanceYourCalm = 11
)

// end tells the client that it sends too much, if it can be told at once, and closes the
// connection.
func (c *countedConn) end(kind floodKind) {
	if c.ended.Swap(true) {
		return
	}
	c.floods.closed[kind].Add(1)
	c.floods.warn(floodNames[kind], c.RemoteAddr())
	c.sendOff(enhanceYourCalm, c.writing.TryLock())
}

// begun returns the newest stream that the client has begun.
func (c *countedConn) begun() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.newest
}

// retire has a connection end that had no stream after newest. It returns false, and does nothing, if the
// client has begun one meanwhile. What comes from now on is dropped, so that the client can
// send it again on another connection (RFC 9113, section 6.8).
func (c *countedConn) retire(newest uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.plain: // net/http ends it
	case c.newest != newest:
		return false
	case !c.ended.Swap(true):
		c.deaf = true
		go func() {
			c.writing.Lock() // net/http may send a PING, and gives up when it cannot
			c.sendOff(noError, true)
		}()
	}
	return true
}

// sendOff sends a GOAWAY if the caller has c.writing, which sendOff unlocks, and closes the connection.
func (c *countedConn) sendOff(code uint32, mayWrite bool) {
	if mayWrite {
		told := c.goAway(code)
		c.writing.Unlock()
		if told {
			time.Sleep(goAwayTime) // unread bytes would make the kernel drop what was sent
		}
	}
	bare(c).Close() // at once: a [tls.Conn] waits up to 5 seconds for a client that does not read
}

// goAway sends a GOAWAY and ends the sending side. It does nothing, and returns false, while a frame is
// half sent. The caller has c.writing.
func (c *countedConn) goAway(code uint32) bool {
	if c.closed || !c.out.between() {
		return false
	}
	c.closed = true
	b := []byte{0, 0, 8, frameGoAway, 0, 0, 0, 0, 0}
	b = binary.BigEndian.AppendUint32(b, c.begun())
	b = binary.BigEndian.AppendUint32(b, code)
	c.SetWriteDeadline(time.Now().Add(goAwayTime))
	_, err := c.Conn.Write(b)
	if secure, ok := c.Conn.(*tls.Conn); ok && err == nil {
		err = secure.CloseWrite()
	}
	if half, ok := bare(c).(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	return err == nil
}
