package msauth

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"
)

// bearerTransport adds an access token to the requests that may carry one.
type bearerTransport struct {
	token func() (*oauth2.Token, error)
	hosts []string // as tokenHost writes them
	local bool     // loopback hosts may have the token too
	base  http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if !t.mayCarry(r) {
		return t.base.RoundTrip(r)
	}
	token, err := t.token()
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // http.RoundTripper: also on errors
		}
		return nil, err
	}
	r = r.Clone(r.Context())
	token.SetAuthHeader(r)
	return t.base.RoundTrip(r)
}

func (t *bearerTransport) mayCarry(r *http.Request) bool {
	if len(r.Header["Authorization"]) > 0 || r.URL.User != nil {
		return false
	}
	// Not along a redirect from somebody else, even where that leads to an
	// allowed host, or back to the first.
	for hop := r; hop.Response != nil; hop = hop.Response.Request {
		before := hop.Response.Request
		if before == nil || tokenHost(before.URL) != tokenHost(r.URL) {
			return false
		}
	}
	loopback := isLoopback(r.URL.Hostname())
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && loopback) {
		return false
	}
	return slices.Contains(t.hosts, tokenHost(r.URL)) || t.local && loopback
}

// tokenHost writes scheme and host in the one form in which they are compared:
// lower case, with the port. A trailing dot is kept, so that it never matches.
func tokenHost(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// graphHosts names the Microsoft Graph that belongs to an authority's cloud
// ("National cloud deployments", Microsoft Graph).
func graphHosts(authority string) []string {
	switch authority {
	case "https://login.microsoftonline.com":
		return []string{"graph.microsoft.com:443"}
	case "https://login.microsoftonline.us":
		return []string{"graph.microsoft.us:443", "dod-graph.microsoft.us:443"}
	case "https://login.partner.microsoftonline.cn":
		return []string{"microsoftgraph.chinacloudapi.cn:443"}
	}
	return nil
}

// isLoopback reports whether a host name can only mean this machine
// (RFC 6761 section 6.3 for names below localhost).
func isLoopback(host string) bool {
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// failingTransport is the transport of a client without a session.
type failingTransport struct{ err error }

func (t failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, t.err
}

// followNothing is a CheckRedirect for requests that carry secrets: they are
// answered where they were sent or not at all.
func followNothing(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var errReplyTooLarge = errors.New("reply too large")
