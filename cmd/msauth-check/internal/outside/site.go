package outside

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"example.com/msauth/internal/web"
)

// checkSite asks the running app for sign-ins, as a browser without cookies would, and
// follows none of them.
func (c *checks) checkSite(ctx context.Context) {
	base := c.set.Base
	if base == nil {
		return
	}
	login := c.set.Page("login")
	answer, err := c.visit(ctx, login, nil)
	if err != nil {
		c.reportFault(ctx, login, err)
		return
	}
	if answer.signIn == nil {
		c.reportNoSignIn(ctx, login, answer)
		return
	}
	switch knows, err := c.knowsItsPages(ctx, c.set.Page("session")); {
	case err != nil:
		c.reportFault(ctx, c.set.Page("session"), err)
		return
	case knows:
	case c.reportPrefix(ctx):
		return
	default:
		c.report.Found("site-not-msauth", fmt.Sprintf("%s begins a sign-in, but msauth does not answer at %s.", login, c.set.Page("session")))
		return
	}
	c.compareSignIn(ctx, answer)
	again := reply{with: "a second time"}
	cookies := reply{with: fmt.Sprintf("with %d bytes of cookies", len(someCookies())), id: "site-request-headers", header: http.Header{"Cookie": {someCookies()}}}
	long := reply{with: fmt.Sprintf("with a query of %d bytes", longQuery), id: "site-long-address", query: "?msauth_check=" + filler(longQuery)}
	large := reply{with: "where its answer has a cookie of 2 KB, because it is to lead back to a long address,", id: "site-response-headers", query: "?return_to=%2F" + filler(longReturn)}
	together(
		func() { again = c.request(ctx, login, again) },
		func() { cookies = c.request(ctx, login, cookies) },
		func() { long = c.request(ctx, login, long) },
		func() { large = c.request(ctx, login, large) },
		func() { c.checkPlainHTTP(ctx) },
	)
	if again.began() && again.visited.signIn.Query().Get("state") == answer.signIn.Query().Get("state") {
		c.report.Found("site-cached", fmt.Sprintf("Two requests for %s got the same sign-in (the same state).", login))
	}
	c.reportReply(ctx, login, again)
	c.reportReply(ctx, login, cookies)
	if !c.reportReply(ctx, login, long) {
		c.reportReply(ctx, login, large) // which is asked for by a long address
	}
	c.report.Checked("site")
}

// A reply is what came of a request for a sign-in that differs from the first in one way.
type reply struct {
	with   string // what differs
	id     string // of the finding, if that is refused; "" if nothing differs
	query  string
	header http.Header
	*visited
	err error
}

// request makes the request of a reply.
func (c *checks) request(ctx context.Context, login string, r reply) reply {
	r.visited, r.err = c.visit(ctx, login+r.query, r.header)
	return r
}

func (r reply) began() bool { return r.err == nil && r.signIn != nil }

// late reports whether no answer came in time, here or at a proxy.
func (r reply) late() bool {
	return r.err != nil && isTimeout(r.err) || r.err == nil && r.status == http.StatusGatewayTimeout
}

// limited reports whether the site answers only so many requests at once.
func (r reply) limited() bool {
	return r.err == nil && (r.status == http.StatusTooManyRequests || r.status == http.StatusServiceUnavailable)
}

// reportReply reports that a request failed where the first did not. That what differs is
// the reason is certain only if the request fails again, and one as the first does not.
// Otherwise one of several servers may be down.
func (c *checks) reportReply(ctx context.Context, login string, r reply) bool {
	if r.began() {
		return false
	}
	if !r.late() && !r.limited() && r.id != "" {
		small, again := c.request(ctx, login, reply{with: "a second time"}), c.request(ctx, login, r)
		switch {
		case !small.began():
			r = small
		case again.began():
			r.id = ""
		default:
			r = again
		}
	}
	what := fmt.Sprintf("%s works, and %s %s.", login, r.with, r.visited)
	switch {
	case r.late() && c.report.Has("site-silent"): // which is the site, and not what differs
	case r.late():
		c.report.Found("site-silent", fmt.Sprintf("%s works, and %s no answer came in time.", login, r.with))
	case r.limited():
		c.report.Found("site-unjudged", what)
	case r.id == "" && c.report.Has("site-silent", "site-intermittent"):
	case r.id == "":
		c.report.Found("site-intermittent", what)
	default:
		c.report.Found(r.id, what)
	}
	return true
}

// reportFault reports why a page of the site could not be read.
func (c *checks) reportFault(ctx context.Context, address string, err error) {
	kind, what := faultOf(err, c.set.Base.Host)
	switch {
	case kind == noFault: // there is an answer
		c.report.Found("site-not-msauth", address+": "+sentence(err))
	case kind == silent && c.providerFails(ctx):
	default:
		c.report.Found(siteFaults[kind], what)
	}
}

const (
	// longQuery is the length of a long query, in bytes: a code has up to 2 KB, and the
	// state 1 KB.
	longQuery = 3500
	// longReturn is a return address that fills the headers of the answer, in bytes:
	// msauth keeps those of up to 2000 bytes in a cookie.
	longReturn = 1900
)

// filler is a text that compresses badly and needs no escapes.
func filler(n int) string {
	var b strings.Builder
	for x := uint32(1); b.Len() < n; x = x*1664525 + 1013904223 { // the same each time
		b.WriteByte("abcdefghijklmnopqrstuvwxyz0123456789"[(x>>24)%36])
	}
	return b.String()
}

// someCookies is a Cookie line of the size that docs/proxies.md counts for one app: a
// session, sign-ins under way, and a long address.
func someCookies() string {
	return "msauth-check-1=" + filler(2700) + "; msauth-check-2=" + filler(3400)
}

// A visited page is the site's answer to one request.
type visited struct {
	status   int
	header   http.Header
	location string
	signIn   *url.URL // where it sends the browser to sign in; nil if it does not
	kind     string   // of msauth's page; "" if it is none
	title    string
}

// String says what the answer is, as the end of a sentence.
func (v *visited) String() string {
	switch {
	case v == nil:
		return "the connection is closed without an answer"
	case v.kind != "":
		return fmt.Sprintf("the answer is msauth's page %q with status %d", v.kind, v.status)
	case v.location != "":
		to, _, _ := strings.Cut(v.location, "?") // what follows may be a secret of others
		return fmt.Sprintf("the answer is a redirect to %s", web.OneLine(to, 200))
	case v.title != "":
		return fmt.Sprintf("the answer is a page %q with status %d", v.title, v.status)
	}
	return fmt.Sprintf("the answer has status %d", v.status)
}

var (
	pageKind  = regexp.MustCompile(`<main[^>]* id="msauth-([a-z-]{1,40})"`)
	pageTitle = regexp.MustCompile(`(?is)<title>(.{1,200}?)</title>`)
	pageLinks = regexp.MustCompile(`href="([^"]+)"`)
)

// visit makes a request as a browser makes one for a page.
func (c *checks) visit(ctx context.Context, address string, more http.Header) (*visited, error) {
	header := http.Header{
		"User-Agent": {"msauth-check"}, "Accept": {"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"},
		"Sec-Fetch-Mode": {"navigate"}, "Sec-Fetch-Dest": {"document"}, "Sec-Fetch-Site": {"none"},
	}
	for name, values := range more {
		header[name] = values
	}
	res, body, err := get(ctx, c.site, address, header)
	if err != nil {
		return nil, err
	}
	v := &visited{status: res.StatusCode, header: res.Header}
	if m := pageKind.FindSubmatch(body); m != nil {
		v.kind = string(m[1])
	}
	if m := pageTitle.FindSubmatch(body); m != nil {
		v.title = web.OneLine(html.UnescapeString(strings.TrimSpace(string(m[1]))), 100)
	}
	if v.location = res.Header.Get("Location"); v.location != "" && v.status >= 300 && v.status < 400 {
		v.signIn = signInAddress(v.location)
		return v, nil
	}
	for _, m := range pageLinks.FindAllSubmatch(body, 20) { // msauth's page, where a redirect is too long for a header
		if v.signIn = signInAddress(html.UnescapeString(string(m[1]))); v.signIn != nil {
			break
		}
	}
	return v, nil
}

// signInAddress parses an address, and returns it if it is one of an authorization
// endpoint.
func signInAddress(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return nil
	}
	q := u.Query()
	if q.Get("response_type") != "code" || q.Get("client_id") == "" || q.Get("redirect_uri") == "" || q.Get("state") == "" {
		return nil
	}
	return u
}

// reportNoSignIn reports that a login link does not lead to a sign-in.
func (c *checks) reportNoSignIn(ctx context.Context, login string, v *visited) {
	what := fmt.Sprintf("For %s %s.", login, v)
	redirect, _ := c.set.Base.Parse(v.location)
	switch {
	case v.kind == "unavailable" || v.kind == "app-error":
		if c.providerFails(ctx) {
			return
		}
		c.report.Found("site-unavailable", what)
	case v.location != "" && redirect != nil && strings.TrimSuffix(redirect.Path, "/") == c.set.Base.Path+"/login":
		c.report.Found("site-redirects", what)
	case v.kind == "" && (v.status == http.StatusBadGateway || v.status == http.StatusServiceUnavailable || v.status == http.StatusGatewayTimeout):
		if c.request(ctx, login, reply{}).began() {
			c.report.Found("site-intermittent", what+" A moment later it works.")
			return
		}
		c.report.Found("site-unreachable", what+" The proxy is there, and no app behind it answers.")
	case c.reportPrefix(ctx):
	case c.set.Base.Scheme == "http" && c.speaksTLS(ctx):
		c.report.Found("site-not-msauth", what+" That port answers https: MSAUTH_BASE_URL has to begin with https://.")
	default:
		c.report.Found("site-not-msauth", what)
	}
}

// speaksTLS reports whether the port of the site answers https, with whatever certificate.
func (c *checks) speaksTLS(ctx context.Context) bool {
	_, err := c.visit(ctx, "https"+strings.TrimPrefix(c.set.Page("login"), "http"), nil)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	return err == nil || certificate
}

// providerFails reports whether nothing can be read from the provider here. That is a
// finding by itself, and explains what the site has met.
func (c *checks) providerFails(ctx context.Context) bool {
	if c.authority == nil {
		return false
	}
	_, err := c.authority.Discover(ctx)
	return err != nil
}

// knowsItsPages reports whether msauth answers at the address of its page "session". A site that
// is all under Require sends people to sign in from any address.
func (c *checks) knowsItsPages(ctx context.Context, session string) (bool, error) {
	res, body, err := get(ctx, c.site, session, http.Header{"User-Agent": {"msauth-check"}, "X-Msauth": {"1"}})
	var answer map[string]json.RawMessage
	return err == nil && res.StatusCode == http.StatusOK && json.Unmarshal(body, &answer) == nil && answer["signed_in"] != nil, err
}

// reportPrefix looks for msauth at other paths, where it is if a proxy takes a part of the
// path away or adds one.
func (c *checks) reportPrefix(ctx context.Context) bool {
	origin, path := c.set.Base.Scheme+"://"+c.set.Base.Host, c.set.Base.EscapedPath()
	var parts []string
	for i, char := range path {
		if char == '/' && i > 0 {
			parts = append(parts, path[:i])
		}
	}
	for _, part := range append(parts, path) {
		if path == "" {
			break
		}
		if knows, _ := c.knowsItsPages(ctx, origin+part+path+"/session"); knows {
			c.report.Found("site-prefix", fmt.Sprintf("The proxy takes %s from paths: msauth answers at %s.", part, origin+part+path))
			return true
		}
		if part == path {
			continue
		}
		if knows, _ := c.knowsItsPages(ctx, origin+strings.TrimPrefix(path, part)+"/session"); knows {
			c.report.Found("site-prefix", fmt.Sprintf("msauth answers at %s, without %s: the proxy adds that, or MSAUTH_BASE_URL should not have it.", origin+strings.TrimPrefix(path, part), part))
			return true
		}
	}
	return false
}

// compareSignIn compares the sign-in of the site with what was checked here.
func (c *checks) compareSignIn(ctx context.Context, v *visited) {
	q := v.signIn.Query()
	if callback := c.set.Page("callback"); q.Get("redirect_uri") != callback {
		c.report.Found("site-base-url", fmt.Sprintf("The site's redirect URI is %s, and here it is %s.", web.OneLine(q.Get("redirect_uri"), 200), callback))
	}
	endpoint := v.signIn.Scheme + "://" + v.signIn.Host + v.signIn.Path
	switch id := q.Get("client_id"); {
	case c.set.ClientID != "" && !strings.EqualFold(id, c.set.ClientID):
		c.report.Found("site-registration", fmt.Sprintf("The site's client ID is %s, and here it is %s.", web.OneLine(id, 100), c.set.ClientID))
	case c.authority != nil:
		meta, err := c.authority.Discover(ctx)
		if err != nil {
			break // which is found elsewhere
		}
		if want, _, _ := strings.Cut(meta.Authorization, "?"); endpoint != want {
			c.report.Found("site-registration", fmt.Sprintf("The site sends people to %s, and here it is %s.", web.OneLine(endpoint, 200), want))
		}
	}
	if !setsLogin(v.header, c.set.Base.Scheme == "https") {
		c.report.Found("site-cookies", "The answer that begins a sign-in has no cookie of it in Set-Cookie.")
	}
}

// setsLogin reports whether an answer sets the cookie of a sign-in, as msauth does.
func setsLogin(h http.Header, secure bool) bool {
	res := http.Response{Header: h}
	for _, cookie := range res.Cookies() {
		if strings.Contains(cookie.Name, "-login-") && cookie.Secure == secure && strings.HasPrefix(cookie.Name, "__Host-") == secure && cookie.Domain == "" {
			return true
		}
	}
	return false
}

// checkPlainHTTP looks whether the site redirects from http to https. Where nobody
// answers, nothing is wrong.
func (c *checks) checkPlainHTTP(ctx context.Context) {
	base := c.set.Base
	if base.Scheme != "https" || base.Port() != "" && base.Port() != "443" {
		return
	}
	address := "http://" + base.Hostname() + base.EscapedPath() + "/login"
	v, err := c.visit(ctx, address, nil)
	if err != nil || v.status >= 400 {
		return
	}
	if strings.HasPrefix(strings.ToLower(v.location), "https://") && v.signIn == nil {
		return
	}
	c.report.Found("site-plain-http", fmt.Sprintf("For %s %s, and not a redirect to https.", address, v))
}
