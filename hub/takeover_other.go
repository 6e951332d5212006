//go:build !linux

package hub

import "net/http"

// reserve reserves nothing, because only Linux has streams on sockets.
func (s *stream) reserve(*http.Request) error { return nil }

// takeOver takes no connection over.
func (s *stream) takeOver(http.ResponseWriter, *http.Request) (taken bool, err error) {
	return false, nil
}
