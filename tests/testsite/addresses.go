package testsite

import (
	mathrand "math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
)

// Reworded is an address with another query.
func Reworded(t *testing.T, address string, change func(q url.Values)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	change(q)
	u.RawQuery = q.Encode()
	return u.String()
}

// LongAddress is a path with a query of n bytes in all that does not pack.
func LongAddress(n int) string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@/?%7C"
	b := []byte("/orders?id=")
	for len(b) < n {
		b = append(b, characters[mathrand.IntN(len(characters)-3)])
	}
	return string(b)
}

// measuring notes the largest headers of the site's answers, as they are on the
// wire.
type measuring struct {
	base    http.RoundTripper
	host    string
	largest *atomic.Int64
}

// RoundTrip sends a request on, and notes the size of the answer's header if it
// is the site's.
func (m measuring) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := m.base.RoundTrip(r)
	if err == nil && r.URL.Host == m.host {
		dump, _ := httputil.DumpResponse(&http.Response{StatusCode: res.StatusCode, ProtoMajor: 1, ProtoMinor: 1, Header: res.Header, ContentLength: res.ContentLength}, false)
		n := int64(len(dump) + len("Date: Mon, 02 Jan 2006 15:04:05 GMT\r\n"))
		for {
			was := m.largest.Load()
			if was >= n || m.largest.CompareAndSwap(was, n) {
				break
			}
		}
	}
	return res, err
}
