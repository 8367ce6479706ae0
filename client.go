package msauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
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
			claims := provider.ChallengeIn(res.Header)
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
			wait := provider.RetryAfter(res.Header.Get("Retry-After"), time.Now())
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
	if len(r.Header["Authorization"]) > 0 || r.URL.User != nil || !web.IsASCII(r.URL.Host) {
		return nil, false
	}
	// Not along a redirect from somebody else, even where that leads to an
	// allowed host, or back to the first.
	for hop := r; hop.Response != nil; hop = hop.Response.Request {
		before := hop.Response.Request
		if before == nil || provider.TokenHost(before.URL) != provider.TokenHost(r.URL) {
			return nil, false
		}
	}
	loopback := web.IsLoopback(r.URL.Hostname())
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && loopback) {
		return nil, false
	}
	scopes, ok = t.hosts[provider.TokenHost(r.URL)]
	return scopes, ok || t.local && loopback
}

// failingTransport is the transport of a client without a session.
type failingTransport struct{ err error }

func (t failingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		r.Body.Close()
	}
	return nil, t.err
}
