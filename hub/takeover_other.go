//go:build !linux

package hub

import "net/http"

// A fan is of Linux alone.
type fan struct{}

func newFan(*Hub) (*fan, error) { return nil, nil }

func (h *Hub) takeOver(http.ResponseWriter, *http.Request, *cursor, *place, Subscription) (taken bool, err error) {
	return false, nil
}

func (*fan) renewed(*view)            {}
func (*fan) extended([]*entry)        {}
func (*fan) drain()                   {}
func (*fan) close()                   {}
func (*fan) len() int                 { return 0 }
func (*fan) subscribersOf(string) int { return 0 }
func (*fan) stats() []ShardStats      { return nil }
