package hub

import "net/http"

// ordinaryRequest is how many bytes of memory the request of a stream may take that net/http
// keeps. Only what is beyond that counts: bounds on the number of streams bound the rest.
const ordinaryRequest = 4 << 10

// requestCost returns about how many bytes net/http holds for a request while its stream goes
// on, beyond those of an ordinary one.
func requestCost(r *http.Request) int {
	const entry, value = 128, 32 // of the header's map, and of a list of values
	n := len(r.Method) + 2*len(r.RequestURI) + len(r.Host)
	for key, values := range r.Header {
		n += entry + len(key)
		for _, v := range values {
			n += value + len(v)
		}
	}
	return max(0, n-ordinaryRequest)
}

// keepRequest counts what net/http holds for a request while the stream has its seat. It
// returns false if there is no room for that.
func (s *seat) keepRequest(r *http.Request) bool {
	n := requestCost(r)
	if n == 0 {
		return true
	}
	b := &s.hub.budgets.Requests
	if n > b.Share() {
		b.Refuse()
		return false
	}
	if !b.Take(n) {
		return false
	}
	s.request = n
	return true
}
