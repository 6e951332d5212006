package server_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/tidings/internal/server"
)

// statuses sends bytes on a connection of their own, and returns the status of each answer. 0 means
// that the server has closed the connection without one.
func statuses(t *testing.T, s *running, text string, answers int) (all []int) {
	t.Helper()
	conn := dial(t, s.addr)
	conn.SetDeadline(time.Now().Add(patience))
	io.WriteString(conn, text)
	for r := bufio.NewReader(conn); len(all) < answers; {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			if isTimeout(err) {
				t.Fatalf("%q is not answered", text)
			}
			return append(all, 0)
		}
		all = append(all, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); isTimeout(err) {
			t.Fatalf("the answer to %q, a %s, does not end", text, res.Status)
		}
	}
	return all
}

// A credential counts in one place of a request only, and for that request only, however the bytes
// are put together.
func TestCredentialsInOddPlaces(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	key := c.keys["subscribe"]
	tok := token(t, "ada", time.Hour, map[string]any{"subscribe": []string{"a.**"}, "publish": []string{"a.**"}})
	other := token(t, "eve", time.Hour, map[string]any{})
	const get = "GET /topics/a.b/events HTTP/1.1\r\nHost: localhost\r\n"
	for _, tt := range []struct {
		name, text string
		want       []int
	}{
		{"as it should be", get + "Authorization: Bearer " + key + "\r\n\r\n", []int{200}},
		{"lower case", get + "authorization: bearer " + key + "\r\n\r\n", []int{200}},
		{"upper case", get + "AUTHORIZATION: BEARER " + key + "\r\n\r\n", []int{200}},
		{"spaces around it", get + "Authorization:  \t Bearer   " + key + " \t \r\n\r\n", []int{200}},
		{"a tab after the scheme", get + "Authorization: Bearer\t" + key + "\r\n\r\n", []int{401}},
		{"a space before the colon", get + "Authorization : Bearer " + key + "\r\n\r\n", []int{400}},
		{"on the next line", get + "Authorization:\r\n Bearer " + key + "x\r\n\r\n", []int{401}},
		{"after another one", get + "Authorization: Bearer x\r\nAuthorization: Bearer " + key + "\r\n\r\n", []int{400}},
		{"twice, in two spellings", get + "authorization: Bearer " + key + "\r\nAUTHORIZATION: Bearer " + key + "\r\n\r\n", []int{400}},
		{"two of them, the second empty", get + "Authorization: Bearer " + key + "\r\nAuthorization:\r\n\r\n", []int{400}},
		{"after a comma", get + "Authorization: Bearer x, Bearer " + key + "\r\n\r\n", []int{401}},
		{"with a parameter", get + "Authorization: Bearer " + key + ", realm=x\r\n\r\n", []int{401}},
		{"in quotes", get + "Authorization: Bearer \"" + key + "\"\r\n\r\n", []int{401}},
		{"as a password", get + "Authorization: Basic OnRka18=\r\n\r\n", []int{401}},
		{"with a NUL", get + "Authorization: Bearer " + key + "\x00\r\n\r\n", []int{400}},
		{"bare, after a line feed", get + "X: y\nAuthorization: Bearer " + key + "x\r\n\r\n", []int{401}},
		{"of a proxy", get + "Proxy-Authorization: Bearer " + key + "\r\n\r\n", []int{401}},
		{"of a user that a proxy names", get + "X-Forwarded-User: ada\r\nRemote-User: ada\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n", []int{401}},
		{"in the query", strings.Replace(get, "/events", "/events?access_token="+key+"&token="+tok+"&authorization=Bearer%20"+key, 1) + "\r\n", []int{401}},
		{"in an absolute URL", strings.Replace(get, "GET /", "GET http://ada:"+key+"@localhost/", 1) + "\r\n", []int{401}},
		{"in a body", "POST /topics/a.b HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 4\r\n\r\nx=yz", []int{401}},
		{"in a trailer", "POST /topics/a.b HTTP/1.1\r\nHost: localhost\r\nTrailer: Authorization\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nAuthorization: Bearer " + tok + "\r\n\r\n", []int{401}},
		{"of the request before", get + "Authorization: Bearer " + key + "\r\n\r\n" + get + "\r\n", []int{200, 401}},
		{"of the cookie before", get + "Cookie: tidings=" + tok + "\r\n\r\n" + get + "\r\n", []int{200, 401}},
		{"of the request after", get + "\r\n" + get + "Authorization: Bearer " + key + "\r\n\r\n", []int{401, 200}},
		{"a cookie that is better than the header", get + "Cookie: tidings=" + tok + "\r\nAuthorization: Bearer " + other + "\r\n\r\n", []int{403}},
		{"a cookie that is worse", get + "Cookie: tidings=" + other + "\r\nAuthorization: Bearer " + tok + "\r\n\r\n", []int{200}},
		{"a bad header and a good cookie", get + "Cookie: tidings=" + tok + "\r\nAuthorization: x\r\n\r\n", []int{401}},
		{"two cookies in two fields", get + "Cookie: tidings=" + tok + "\r\nCookie: a=b; tidings=" + other + "\r\n\r\n", []int{400}},
		{"a cookie in quotes", get + "Cookie: tidings=\"" + tok + "\"\r\n\r\n", []int{200}},
		{"a cookie of another case", get + "Cookie: TIDINGS=" + tok + "\r\n\r\n", []int{401}},
		{"the secure cookie without TLS", get + "Cookie: __Host-tidings=" + tok + "\r\n\r\n", []int{401}},
		{"a cookie with an API key", get + "Cookie: tidings=" + key + "\r\n\r\n", []int{401}},
		{"a token of 9 KB", get + "Authorization: Bearer " + tok + strings.Repeat(".", 9<<10) + "\r\n\r\n", []int{401}},
		{"another method by its header", get + "Authorization: Bearer " + key + "\r\nX-HTTP-Method-Override: POST\r\n\r\n", []int{200}},
		{"HTTP/1.0", "GET /topics/a.b/events HTTP/1.0\r\nHost: localhost\r\n\r\n", []int{401}},
		{"HTTP/1.0 with a bad one", "GET /topics/a.b/events HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n", []int{401}},
		{"HTTP/1.0 with a good one", "GET /topics/a.b/events HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer " + key + "\r\n\r\n", []int{200}},
		{"HTTP/1.0 stream without one", "GET /events?topic=a.b HTTP/1.0\r\nHost: localhost\r\n\r\n", []int{401}},
		{"HTTP/1.0 stream of what is not granted", "GET /events?topic=a.b&topic=b HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer " + key + "\r\n\r\n", []int{403}},
		{"HTTP/0.9", "GET /topics/a.b/events\r\n", []int{400}},
		{"TRACE", "TRACE /topics/a.b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + key + "\r\n\r\n", []int{405}},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\nAuthorization: Bearer " + key + "\r\n\r\n", []int{404}},
	} {
		if got := statuses(t, s, tt.text, len(tt.want)); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// A path is one route or none, however it is written, and each spelling needs the same permission.
func TestSpellingsOfPaths(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	const topics, subjects = "/topics/a.b/events", "/subjects/jwt:ada/streams"
	for _, tt := range []struct {
		method, path, key string
		want              int // with the key
	}{
		{"GET", topics, "subscribe", 200},
		{"GET", "/topics/a%2Eb/events", "subscribe", 200},
		{"GET", "/topics/%61.b/events", "subscribe", 200},
		{"GET", "/topics/b%2F..%2Fa.b/events", "subscribe", 400},
		{"GET", "/topics/b/../a.b/events", "subscribe", 404},
		{"GET", "/topics/a.b%2Fevents", "subscribe", 400},
		{"GET", "/topics/a.b%00/events", "subscribe", 400},
		{"GET", "/topics/a.b%0d%0aX:%20y/events", "subscribe", 400},
		{"GET", "/topics/tidings.revoked/events", "subscribe", 403},
		{"GET", "/topics/%74idings.revoked/events", "subscribe", 403},
		{"GET", "/%74opics/a.b/events", "subscribe", 404},
		{"GET", "//topics/a.b/events", "subscribe", 404},
		{"GET", "/topics//a.b/events", "subscribe", 404},
		{"GET", "/TOPICS/a.b/events", "subscribe", 404},
		{"GET", "/topics/a.b/events;x=y", "subscribe", 404},
		{"GET", "/%65vents?topic=a.b", "subscribe", 404},
		{"DELETE", subjects, "administer", 204},
		{"DELETE", "/subjects/jwt%3Aada/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:a%2Fb/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:a%252fb/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:%00/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:%0d%0a/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:..%2F../streams", "administer", 204},
		{"DELETE", "/subjects/jwt:a%20b/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:ada%ff/streams", "administer", 404},
		{"DELETE", "/subjects/jwt:ada%ED%A0%80/streams", "administer", 404}, // half a surrogate pair
		{"DELETE", "/subjects/jwt:a/b/streams", "administer", 404},
		{"DELETE", "/subjects/jwt:ada%2Fstreams", "administer", 404},
		{"DELETE", "/subjects/jwt:/streams", "administer", 404},
		{"DELETE", "/subjects/:ada/streams", "administer", 404},
		{"DELETE", "/subjects//streams", "administer", 404},
		{"DELETE", "/subjects/streams", "administer", 404},
		{"DELETE", "/subjects/jwt:ada/streams/", "administer", 404},
		{"DELETE", "/subjects/jwt:ada/../jwt:eve/streams", "administer", 404},
		{"DELETE", "/%73ubjects/jwt:ada/streams", "administer", 404},
		{"DELETE", "/subjects/jwt:" + strings.Repeat("x", 1020) + "/streams", "administer", 204},
		{"DELETE", "/subjects/jwt:" + strings.Repeat("x", 1021) + "/streams", "administer", 404},
		{"DELETE", "/subjects/jwt:" + strings.Repeat("%41", 5000) + "/streams", "administer", 404},
	} {
		request := func(key string) string {
			return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", tt.method, tt.path, key)
		}
		if got := statuses(t, s, request(c.keys[tt.key]), 1); got[0] != tt.want {
			t.Errorf("%s %.80s: %d, want %d", tt.method, tt.path, got[0], tt.want)
		}
		for _, key := range []string{c.keys["publish"], "x"} {
			if got := statuses(t, s, request(key), 1); got[0] < 400 || got[0] > 404 {
				t.Errorf("%s %.80s with another key: %d", tt.method, tt.path, got[0])
			}
		}
	}
}

// Each way to write a subject in a path names the subject of the token, and no other.
func TestRevocationOfOddSubjects(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	cl := client(t, "HTTP/1.1")
	odd := []string{"a/b", "a%2Fb", "a%b", "ada", "Ada", "a b", "a+b", "..", ".", "*", "ä", "e\u0301", "\x00", "\r\n", "a:b", "jwt:a", "a?b#c", "\"", strings.Repeat("x", 190)}
	tokens := map[string]string{} // signed before all revocations
	for _, sub := range odd {
		tokens[sub] = token(t, sub, time.Hour, map[string]any{})
	}
	works := func(sub string) bool {
		r := send(t, cl, "GET", s.url+"/session", nil, "Authorization", "Bearer "+tokens[sub])
		return r.status == 200
	}
	for i, sub := range odd {
		if !works(sub) {
			t.Fatalf("%q has no session", sub)
		}
		r := send(t, cl, "PUT", s.url+"/subjects/"+url.PathEscape("jwt:"+sub)+"/revocation", nil, "Authorization", "Bearer "+c.keys["administer"])
		if r.status != 204 {
			t.Errorf("%q: %d %s", sub, r.status, r.body)
		}
		for j, sub := range odd {
			if works(sub) != (j > i) {
				t.Errorf("after the revocation of %q: %q works: %v", odd[i], sub, j <= i)
			}
		}
	}
}

// A message whose sender was revoked after the head of its request, and before the end of its body,
// is not stored.
func TestRevocationWhileABodyComes(t *testing.T) {
	c := newCredentials(t)
	s := start(t, server.Config{Auth: c.Authenticator})
	for i, path := range []string{"/topics/a.b", "/messages", "/batch"} {
		sub := fmt.Sprint("ada", i)
		tok := token(t, sub, time.Hour, map[string]any{"publish": []string{"a.**", "messages"}})
		body := `{"user":"a","text":"b"}`
		if path == "/batch" {
			body = `{"topic":"a.b","data":1}`
		}
		conn := dial(t, s.addr)
		conn.SetDeadline(time.Now().Add(patience))
		kind := map[bool]string{true: "application/json", false: "application/x-ndjson"}[path == "/messages"]
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, tok, kind, len(body))
		r := bufio.NewReader(conn)
		if line, err := r.ReadString('\n'); err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("%s: %q, %v", path, line, err)
		}
		r.ReadString('\n')
		if err := s.hub.Revoke(t.Context(), "jwt:"+sub, time.Now()); err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, body)
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != 401 {
			t.Errorf("%s: %s %s", path, res.Status, b)
		}
	}
	for _, topic := range []string{"a.b", "messages"} {
		if info, _, err := s.hub.Topic(t.Context(), topic); err == nil {
			t.Errorf("%+v is stored", info)
		}
	}
}
