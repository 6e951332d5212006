//go:build !linux

package hub

import "net/http"

// takeOver takes no connection over: only Linux has streams on sockets.
func (h *Hub) takeOver(http.ResponseWriter, *http.Request, *cursor, *place, Subscription) (taken bool, err error) {
	return false, nil
}
