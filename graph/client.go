package graph

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"example.com/msauth/internal/web"
)

// DefaultBase is the base URL of version 1.0 in Microsoft's global cloud.
// "National cloud deployments" lists the hosts of the others.
const DefaultBase = "https://graph.microsoft.com/v1.0"

// A Client makes requests to Microsoft Graph. Use [New] to make one. It can be
// used by several goroutines at once, and needs no closing.
type Client struct {
	base    *url.URL
	bad     error        // what is wrong with the base URL
	api     *http.Client // with the token
	storage *http.Client // without
}

// New returns a client for the Graph at base, such as [DefaultBase], which an
// empty text means too. client makes the requests and adds the access token to
// them: it is usually what msauth's Session.Client returns, which leaves waiting and
// repeating to this package then. If base is not an https URL, or an http URL of a
// loopback host, every call fails with an [InvalidError].
//
// Files are not transferred by Graph itself but by storage hosts, at
// pre-authenticated URLs. Requests to them are made without the token, by a
// client of their own: with the same proxy and certificates if client is from
// Session.Client, and with [http.DefaultTransport] otherwise. See
// [Client.WithStorage].
func New(client *http.Client, base string) *Client {
	if client == nil {
		client = http.DefaultClient
	}
	c := &Client{
		api:     &http.Client{Transport: client.Transport, Timeout: client.Timeout, CheckRedirect: web.FollowNothing},
		storage: storageClient(http.DefaultTransport),
	}
	if t, ok := client.Transport.(interface{ WithoutToken() http.RoundTripper }); ok {
		c.storage = storageClient(t.WithoutToken())
	}
	if t, ok := client.Transport.(interface{ WithoutWaiting() http.RoundTripper }); ok {
		c.api.Transport = t.WithoutWaiting() // which requests may be repeated is known here
	}
	if base == "" {
		base = DefaultBase
	}
	c.base, c.bad = parseBase(base)
	return c
}

// WithStorage returns a client like c whose requests to storage hosts are made by
// t, for example because they go through a proxy. t must not add credentials.
func (c *Client) WithStorage(t http.RoundTripper) *Client {
	other := *c
	other.storage = storageClient(t)
	return &other
}

// storageClient returns a client for pre-authenticated URLs. It has no cookies,
// and does not tell one host the URL that it got at another: that URL is a
// permission.
func storageClient(t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		r.Header.Del("Referer")
		switch {
		case len(via) >= mostRedirects:
			return errManyRedirects
		case r.URL.Scheme != "https" && !(r.URL.Scheme == "http" && via[0].URL.Scheme == "http" && web.IsLoopback(r.URL.Hostname())):
			return errInsecureRedirect
		case r.Method != via[0].Method: // a GET in place of a PUT stores nothing
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// parseBase checks a base URL and removes a slash at its end.
func parseBase(text string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimSuffix(text, "/"))
	switch {
	case err != nil:
		return nil, &InvalidError{Field: "base", Reason: "is not a URL"}
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Host == "":
		return nil, &InvalidError{Field: "base", Value: u.Redacted(), Reason: "must have a host, and no user, query or fragment"}
	case u.Scheme != "https" && !(u.Scheme == "http" && web.IsLoopback(u.Hostname())):
		return nil, &InvalidError{Field: "base", Value: text, Reason: "must be an https URL, or an http URL of a loopback host"}
	}
	return u, nil
}

// ready reports what makes every call fail.
func (c *Client) ready() error {
	if c == nil || c.api == nil {
		return &InvalidError{Field: "client", Reason: "was not made by New"}
	}
	return c.bad
}

// resolve returns the URL of a path below the base, or of a link from Graph to
// the same place.
func (c *Client) resolve(path string, q Query) (*url.URL, error) {
	if err := c.ready(); err != nil {
		return nil, err
	}
	var u *url.URL
	var err error
	if isLink(path) {
		u, err = c.checkLink(path)
	} else {
		u, err = c.below(path)
	}
	if err != nil {
		return nil, err
	}
	return u, q.addTo(u)
}

// storageURL checks a pre-authenticated URL from Graph.
func (c *Client) storageURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err == nil && !web.IsLoopback(c.base.Hostname()) && !isName(u.Hostname()) {
		return nil, &InvalidError{Field: "storage URL", Reason: "must have the name of a host on the Internet"}
	}
	if err != nil || u.Host == "" || u.User != nil ||
		u.Scheme != "https" && !(u.Scheme == "http" && c.base.Scheme == "http" && web.IsLoopback(u.Hostname())) {
		return nil, &InvalidError{Field: "storage URL", Reason: "must be an https URL"} // its text is a secret
	}
	return u, nil
}

// roundTrip sends one request and reads the whole answer if it is an error.
func (c *Client) roundTrip(ctx context.Context, client *http.Client, r *request) (*http.Response, error) {
	req, err := r.http(ctx)
	if err != nil {
		return nil, err
	}
	readable := *client
	readable.Transport = readableLocations{client.Transport}
	res, err := readable.Do(req)
	if err != nil {
		return nil, r.failed(ctx, err)
	}
	if res.StatusCode == http.StatusSwitchingProtocols { // its body is the connection, which no context ends
		res.Body.Close()
		return nil, refusal(r.op, res.StatusCode, res.Header, nil)
	}
	if res.StatusCode >= 200 && res.StatusCode < 300 || res.StatusCode == http.StatusFound && r.found || res.StatusCode == http.StatusSeeOther && r.found {
		return res, nil
	}
	defer res.Body.Close()
	refused := r.refused(res)
	if client != c.api {
		refused.challenges = nil // no sign-in makes a storage host accept its URL again
		refused.hide(req.URL)
		if res.Request != nil {
			refused.hide(res.Request.URL) // after redirects
		}
	}
	return nil, refused
}

// A readableLocations leaves out a Location that is no URL. net/http would write
// it into an error, and it may be a secret.
type readableLocations struct{ base http.RoundTripper }

func (t readableLocations) RoundTrip(r *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	res, err := base.RoundTrip(r)
	if err != nil {
		return res, err
	}
	if _, err := r.URL.Parse(res.Header.Get("Location")); err != nil {
		res.Header.Del("Location")
	}
	return res, nil
}

// isName reports whether a host is a name that may be one of Microsoft's: URLs that an
// app has kept, or got from a browser, must not lead into its own network.
func isName(host string) bool {
	_, err := netip.ParseAddr(host)
	return err != nil && strings.Contains(strings.Trim(host, "."), ".")
}
