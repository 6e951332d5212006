package auth

import (
	"errors"
	"net/http"
	"testing"
)

func TestFromRequest(t *testing.T) {
	const own = "https://hub.example"
	type header map[string][]string
	for name, c := range map[string]struct {
		method string
		header header
		want   string
		err    error
	}{
		"nothing":              {"GET", header{}, "", nil},
		"bearer":               {"POST", header{"Authorization": {"Bearer x.y.z"}}, "x.y.z", nil},
		"case of the scheme":   {"GET", header{"Authorization": {"bearer  x "}}, "x", nil},
		"from another origin":  {"POST", header{"Authorization": {"Bearer x"}, "Origin": {"https://evil.example"}}, "x", nil},
		"basic":                {"GET", header{"Authorization": {"Basic eDp5"}}, "", ErrNotAccepted},
		"empty":                {"GET", header{"Authorization": {""}}, "", ErrNotAccepted},
		"no credential":        {"GET", header{"Authorization": {"Bearer "}}, "", ErrNotAccepted},
		"only the credential":  {"GET", header{"Authorization": {"x.y.z"}}, "", ErrNotAccepted},
		"two headers":          {"GET", header{"Authorization": {"Bearer x", "Bearer x"}}, "", ErrAmbiguous},
		"the header wins":      {"GET", header{"Authorization": {"Bearer x"}, "Cookie": {"tidings=y"}}, "x", nil},
		"also a bad one":       {"GET", header{"Authorization": {"x"}, "Cookie": {"tidings=y"}}, "", ErrNotAccepted},
		"cookie":               {"GET", header{"Cookie": {"a=b; tidings=y; c=d"}, "Sec-Fetch-Site": {"same-origin"}}, "y", nil},
		"typed address":        {"GET", header{"Cookie": {"tidings=y"}, "Sec-Fetch-Site": {"none"}}, "y", nil},
		"old browser":          {"GET", header{"Cookie": {"tidings=y"}}, "y", nil},
		"old browser, POST":    {"POST", header{"Cookie": {"tidings=y"}}, "", ErrForeignPage},
		"same site":            {"GET", header{"Cookie": {"tidings=y"}, "Sec-Fetch-Site": {"same-site"}}, "", ErrForeignPage},
		"cross site":           {"GET", header{"Cookie": {"tidings=y"}, "Sec-Fetch-Site": {"cross-site"}}, "", ErrForeignPage},
		"allowed origin":       {"POST", header{"Cookie": {"tidings=y"}, "Sec-Fetch-Site": {"same-site"}, "Origin": {own}}, "y", nil},
		"other origin":         {"GET", header{"Cookie": {"tidings=y"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {"https://evil.example"}}, "", ErrForeignPage},
		"null":                 {"POST", header{"Cookie": {"tidings=y"}, "Origin": {"null"}}, "", ErrForeignPage},
		"two origins":          {"POST", header{"Cookie": {"tidings=y"}, "Origin": {own, own}}, "", ErrForeignPage},
		"two cookies":          {"GET", header{"Cookie": {"tidings=y; tidings=z"}}, "", ErrAmbiguous},
		"two cookie headers":   {"GET", header{"Cookie": {"tidings=y", "tidings=y"}}, "", ErrAmbiguous},
		"empty cookie":         {"GET", header{"Cookie": {"tidings="}}, "", ErrNotAccepted},
		"API key as a cookie":  {"GET", header{"Cookie": {"tidings=tdk_shop_x"}}, "", ErrNotAccepted},
		"tab":                  {"GET", header{"Authorization": {"Bearer\tx"}}, "", ErrNotAccepted},
		"two in one header":    {"GET", header{"Authorization": {"Bearer x, Bearer y"}}, "x, Bearer y", nil}, // no credential has this form
		"bearer of a bearer":   {"GET", header{"Authorization": {"BearerBearer x"}}, "", ErrNotAccepted},
		"proxy header":         {"GET", header{"Proxy-Authorization": {"Bearer x"}}, "", nil},
		"cookie of other name": {"GET", header{"Cookie": {"Tidings=y"}}, "", nil},
	} {
		r, err := http.NewRequest(c.method, "http://hub.example/events?token=x&authorization=Bearer+x&access_token=x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header(c.header)
		got, _, err := FromRequest(r, "tidings", func(origin string) bool { return origin == own })
		if got != c.want || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
