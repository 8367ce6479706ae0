package msauth

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

const (
	// longestWait bounds what a request waits in all because an API asks it
	// to, and mostWaits how often.
	longestWait = 10 * time.Second
	mostWaits   = 2
)

// bearerTransport adds an access token to the requests that may carry one.
type bearerTransport struct {
	ctx context.Context // bounds the wait for tokens, as that of a request does
	// token returns one with these scopes, or the session's own.
	token func(ctx context.Context, scopes []string) (*oauth2.Token, error)
	// replace returns another than the one that was rejected, with the claims
	// that were asked for; again says that the rejected one came from it. It is
	// nil where there is only one.
	replace func(ctx context.Context, scopes []string, rejected, claims string, again bool) (*oauth2.Token, error)
	hosts   map[string][]string // scopes by host as tokenHost writes it
	local   bool                // loopback hosts may have the token too
	base    http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (t *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	scopes, ok := t.mayCarry(r)
	if !ok {
		return t.base.RoundTrip(r)
	}
	ctx, cancel := context.WithCancel(t.ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	token, err := t.token(ctx, scopes)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() // http.RoundTripper: also on errors
		}
		return nil, err
	}
	body, replaced := r.Body, false
	var waited time.Duration
	for waits := 0; ; {
		sent := r.Clone(r.Context())
		sent.Body = body
		token.SetAuthHeader(sent)
		res, err := t.base.RoundTrip(sent)
		if err != nil {
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusUnauthorized && t.replace != nil:
			claims := challengeIn(res.Header)
			if replaced && claims == "" {
				return res, nil
			}
			other, err := t.replace(ctx, scopes, token.AccessToken, claims, replaced)
			if errors.Is(err, ErrSignInRequired) || errors.Is(err, ErrNoSession) {
				discard(res)
				return nil, err
			}
			if err != nil || !rewindable(r) {
				return res, nil
			}
			token, replaced = other, true
		case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
			wait := retryAfter(res.Header.Get("Retry-After"), time.Now())
			deadline, bounded := r.Context().Deadline()
			if wait == 0 || waits == mostWaits || waited+wait > longestWait || bounded && time.Until(deadline) < wait ||
				!repeatable(r.Method) || !rewindable(r) {
				return res, nil
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-r.Context().Done():
				timer.Stop()
				return res, nil
			}
			waits, waited = waits+1, waited+wait
		default:
			return res, nil
		}
		discard(res)
		if body = r.Body; r.GetBody != nil {
			if body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// repeatable reports whether a request that was sent twice does what it does
// once (RFC 9110 section 9.2.2).
func repeatable(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// rewindable reports whether the body can be sent again.
func rewindable(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.GetBody != nil
}

// discard is done with a response. Its body is not read: it may never come.
func discard(res *http.Response) { res.Body.Close() }

// mayCarry reports whether a request may carry a token, and with what scopes.
func (t *bearerTransport) mayCarry(r *http.Request) (scopes []string, ok bool) {
	// Other letters than ASCII's have lower-case forms that are ASCII, such as
	// U+0130: the name that net/http asks for is another one.
	if len(r.Header["Authorization"]) > 0 || r.URL.User != nil || !isASCII(r.URL.Host) {
		return nil, false
	}
	// Not along a redirect from somebody else, even where that leads to an
	// allowed host, or back to the first.
	for hop := r; hop.Response != nil; hop = hop.Response.Request {
		before := hop.Response.Request
		if before == nil || tokenHost(before.URL) != tokenHost(r.URL) {
			return nil, false
		}
	}
	loopback := isLoopback(r.URL.Hostname())
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && loopback) {
		return nil, false
	}
	scopes, ok = t.hosts[tokenHost(r.URL)]
	return scopes, ok || t.local && loopback
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
	if u, err := url.Parse(authority); err == nil && isLoopback(u.Hostname()) {
		return []string{tokenHost(u)} // package msauthtest
	}
	return nil
}

// graphURL is where that Graph is.
func graphURL(authority string) string {
	hosts := graphHosts(authority)
	if len(hosts) == 0 {
		return ""
	}
	scheme, _, _ := strings.Cut(authority, ":")
	return scheme + "://" + strings.TrimSuffix(hosts[0], ":443") + "/v1.0"
}

// isLoopback reports whether a host name can only mean this machine
// (RFC 6761 section 6.3 for names below localhost).
func isLoopback(host string) bool {
	if !isASCII(host) {
		return false
	}
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
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
