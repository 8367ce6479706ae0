package web_test

import (
	"net/url"
	"testing"

	"example.com/msauth/internal/web"
)

func TestIsLoopback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		host string
		want bool
	}{
		{"localhost", true},
		{"LocalHost", true},
		{"app.localhost", true},
		{"127.0.0.1", true},
		{"127.255.0.1", true},
		{"::1", true},
		{"::ffff:127.0.0.1", true},
		{"::1%lo", true},

		{"", false},
		{"localhost.", false},
		{"notlocalhost", false},
		{"localhost.example", false},
		{"127.0.0.1.example", false},
		{"127.1", false}, // some resolvers take it for 127.0.0.1, some do not
		{"127.0.0.01", false},
		{"0.0.0.0", false},
		{"10.0.0.1", false},
		{"::", false},
		{"[::1]", false},
		{"localhost:80", false},
		{"loca\u017fhost", false},   // a long s, which is an s in another case
		{"\u212a.localhost", false}, // a Kelvin sign, which is a k in another case
	}
	for _, test := range tests {
		if got := web.IsLoopback(test.host); got != test.want {
			t.Errorf("%q: %t, want %t", test.host, got, test.want)
		}
	}
}

func TestIsASCII(t *testing.T) {
	t.Parallel()
	tests := []struct {
		text string
		want bool
	}{
		{"", true},
		{"app.example:443", true},
		{"\x00\x7f", true},
		{"bücher.example", false},
		{"app.example\u3002evil", false}, // a full stop to IDNA
		{"\xff", false},
	}
	for _, test := range tests {
		if got := web.IsASCII(test.text); got != test.want {
			t.Errorf("%q: %t, want %t", test.text, got, test.want)
		}
	}
}

func TestHostPort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ address, want string }{
		{"https://API.Example.com/x", "api.example.com:443"},
		{"https://api.example.com:443", "api.example.com:443"},
		{"https://api.example.com:8443", "api.example.com:8443"},
		{"http://api.example.com", "api.example.com:80"},
		{"https://api.example.com.", "api.example.com.:443"},
		{"https://[::1]", "[::1]:443"},
		{"https://api.example.com@evil.example", "evil.example:443"},
	} {
		u, err := url.Parse(test.address)
		if err != nil {
			t.Fatal(err)
		}
		if got := web.HostPort(u); got != test.want {
			t.Errorf("%s: %q, want %q", test.address, got, test.want)
		}
	}
}
