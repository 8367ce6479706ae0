package bearer

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

// A Transport adds an access token to the requests that may carry one, and passes
// on all others as they are.
type Transport struct {
	// Ctx bounds the wait for tokens, as the context of a request does.
	Ctx context.Context
	// Token returns a token with these scopes, or the session's own if there are
	// none.
	Token func(ctx context.Context, scopes []string) (*oauth2.Token, error)
	// Replace returns another token than the one that an API has rejected, with
	// the claims that it asks for, if any. again says that the rejected one came
	// from Replace. It is nil where there is only one token.
	Replace func(ctx context.Context, scopes []string, rejected, claims string, again bool) (*oauth2.Token, error)
	// Final reports whether an error of Replace is to be the outcome of the
	// request; after others the API's answer is.
	Final func(error) bool
	// Hosts are those that may have a token, as web.HostPort writes them,
	// and the scopes of their tokens.
	Hosts map[string][]string
	// Local says that loopback hosts may have the session's own token too.
	Local bool
	// Base makes the requests.
	Base http.RoundTripper
	// Trace, if not nil, is told that a request with a token begins. It returns the
	// context to make it with, and what to call with its error at the end.
	Trace func(context.Context) (context.Context, func(error))

	atOnce bool // 429 and 503 are returned as they come
}

// WithoutToken returns Base: it is for URLs that carry their own permission, to
// which a token must not go.
func (t *Transport) WithoutToken() http.RoundTripper { return t.Base }

// WithoutWaiting returns a transport that adds the same tokens, and returns an answer
// with status 429 or 503 as it is: for a client that waits and repeats by itself.
func (t *Transport) WithoutWaiting() http.RoundTripper {
	other := *t
	other.atOnce = true
	return &other
}

// RoundTrip implements [http.RoundTripper].
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	scopes, ok := t.mayCarry(r)
	switch {
	case !ok:
		return t.Base.RoundTrip(r)
	case t.Trace == nil:
		return t.carry(t.Ctx, r, scopes)
	}
	// Many requests have no context of their own, such as those of http.Client.Get:
	// what they belong to is known by that of the client.
	ctx, end := t.Trace(withValues(r.Context(), t.Ctx))
	err := errUnfinished
	defer func() { end(err) }()
	var res *http.Response
	res, err = t.carry(boundedBy(ctx, t.Ctx), r.WithContext(ctx), scopes)
	return res, err
}

// errUnfinished is the error of a request whose transport panics.
var errUnfinished = errors.New("msauth: the request was not completed")

// carry makes a request with a token. Its waits for tokens are bounded by ctx too.
func (t *Transport) carry(ctx context.Context, r *http.Request, scopes []string) (*http.Response, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.Context(), cancel)()
	token, err := t.Token(ctx, scopes)
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
		res, err := t.Base.RoundTrip(sent)
		if err != nil {
			return nil, err
		}
		switch {
		case res.StatusCode == http.StatusUnauthorized && t.Replace != nil:
			claims := provider.ChallengeIn(res.Header)
			if replaced && claims == "" {
				return res, nil
			}
			other, err := t.Replace(ctx, scopes, token.AccessToken, claims, replaced)
			if err != nil && t.Final(err) {
				discard(res)
				return nil, err
			}
			if err != nil || !rewindable(r) {
				return res, nil
			}
			token, replaced = other, true
		case res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable:
			wait := web.RetryAfter(res.Header.Get("Retry-After"), time.Now())
			deadline, bounded := r.Context().Deadline()
			if t.atOnce || wait == 0 || waits == mostWaits || waited+wait > longestWait || bounded && time.Until(deadline) < wait ||
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
func (t *Transport) mayCarry(r *http.Request) (scopes []string, ok bool) {
	// Other letters than ASCII's have lower-case forms that are ASCII, such as
	// U+0130: the name that net/http asks for is another one.
	if len(r.Header["Authorization"]) > 0 || r.URL.User != nil || !web.IsASCII(r.URL.Host) {
		return nil, false
	}
	// Not along a redirect from somebody else, even where that leads to an
	// allowed host, or back to the first.
	for hop := r; hop.Response != nil; hop = hop.Response.Request {
		before := hop.Response.Request
		if before == nil || web.HostPort(before.URL) != web.HostPort(r.URL) {
			return nil, false
		}
	}
	loopback := web.IsLoopback(r.URL.Hostname())
	if r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && loopback) {
		return nil, false
	}
	scopes, ok = t.Hosts[web.HostPort(r.URL)]
	return scopes, ok || t.Local && loopback
}
