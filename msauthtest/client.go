package msauthtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// signInTime is the time limit of [Client].
const signInTime = 30 * time.Second

// maxPages is the number of the stand-in's pages that [Client] answers: one to
// pick a person, and those that ask for consent or a stronger sign-in.
const maxPages = 5

// Client returns an HTTP client that is signed in to an app under test. site is
// the URL of a page of the app that requires a sign-in, or of its sign-in link.
// The app's authority or issuer is a [Server]. person is a sign-in name, such
// as [Ada]. Client follows the redirects, picks the person on the stand-in's
// page, grants all requested permissions, and returns to the app.
// It ignores [Behavior.AutoSignIn].
//
// The returned client has a cookie jar and follows redirects. It accepts any
// certificate of a loopback host, such as that of httptest.NewTLSServer, and
// verifies those of other hosts.
//
// Client returns an error if the person does not exist or may not sign in, if
// site does not lead to a sign-in page, or if the sign-in ends on an error
// page. It returns none if the app then refuses the page to that person (403,
// 404): they are signed in.
func Client(site, person string) (*http.Client, error) {
	start, err := url.Parse(site)
	if err != nil || start.Scheme != "http" && start.Scheme != "https" || start.Host == "" {
		return nil, fmt.Errorf("msauthtest: Client: %q is not an http or https URL", site)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("msauthtest: Client: %w", err)
	}
	transport := newLoopbackTransport()
	s := &signInWalk{transport: transport, person: person}
	ctx, cancel := context.WithTimeout(context.Background(), signInTime)
	defer cancel()
	if err := s.walk(ctx, &http.Client{Transport: s, Jar: jar}, start); err != nil {
		transport.CloseIdleConnections()
		return nil, fmt.Errorf("msauthtest: Client: %w", err)
	}
	return &http.Client{Transport: transport, Jar: jar}, nil
}

// A signInWalk is one sign-in. As a transport it makes requests look like a
// browser's navigation and records where they lead.
type signInWalk struct {
	transport http.RoundTripper
	person    string
	asked     bool   // a stand-in's authorize endpoint was requested
	callback  string // its redirect_uri
}

// alwaysPage is a header that makes the authorize endpoint show its page even
// if Behavior.AutoSignIn is set.
const alwaysPage = "Msauthtest-Page"

func (s *signInWalk) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	if strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/authorize") || strings.HasSuffix(r.URL.Path, "/"+liveAuthorize) {
		s.asked, s.callback = true, r.URL.Query().Get("redirect_uri")
		r.Header.Set(alwaysPage, "1")
	}
	return s.transport.RoundTrip(r)
}

// walk follows the redirects from site to the stand-in and back.
func (s *signInWalk) walk(ctx context.Context, client *http.Client, site *url.URL) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, site.String(), nil)
	if err != nil {
		return err
	}
	for range maxPages {
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
		res.Body.Close()
		if err != nil {
			return err
		}
		at := res.Request.URL
		page := readPage(string(text))
		switch {
		case !s.asked:
			return fmt.Errorf("%s did not lead to a sign-in page of msauthtest but to %s: %s, %q", site, bare(at), res.Status, page.title)
		case page.standIn:
			form, err := page.answer(s.person)
			if err != nil {
				return err
			}
			target, err := at.Parse(page.action)
			if err != nil {
				return err
			}
			req, err = http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
			if err != nil {
				return err
			}
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			continue
		case bare(at) == s.callback || res.StatusCode >= 500:
			return fmt.Errorf("the sign-in ended on an error page: %s, %q", res.Status, page.title)
		}
		return nil
	}
	return fmt.Errorf("the stand-in still asks after %d pages", maxPages)
}

// bare returns u without its query, which may contain a code.
func bare(u *url.URL) string { return u.Scheme + "://" + u.Host + u.EscapedPath() }

// A signInPage is the relevant content of an HTML page.
type signInPage struct {
	title   string
	standIn bool // a page of this package
	problem string
	action  string
	hidden  url.Values
	people  []string // on its buttons
}

var (
	titlePattern   = regexp.MustCompile(`(?is)<title[^>]*>(.*?)</title>`)
	problemPattern = regexp.MustCompile(`(?s)<p class="problem" id="problem"[^>]*>(.*?)</p>`)
	actionPattern  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	hiddenPattern  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
	personPattern  = regexp.MustCompile(`name="user" value="([^"]*)"`)
	tagPattern     = regexp.MustCompile(`<[^>]*>`)
)

// titleEnd is the end of the titles of this package's pages: see layout.html.
const titleEnd = " – local stand-in for Microsoft"

func readPage(text string) signInPage {
	first := func(p *regexp.Regexp) string {
		if m := p.FindStringSubmatch(text); m != nil {
			return strings.Join(strings.Fields(html.UnescapeString(tagPattern.ReplaceAllString(m[1], ""))), " ")
		}
		return ""
	}
	p := signInPage{title: first(titlePattern), problem: first(problemPattern), action: first(actionPattern), hidden: url.Values{}}
	p.title, p.standIn = strings.CutSuffix(p.title, titleEnd)
	for _, m := range hiddenPattern.FindAllStringSubmatch(text, -1) {
		p.hidden.Set(html.UnescapeString(m[1]), html.UnescapeString(m[2]))
	}
	for _, m := range personPattern.FindAllStringSubmatch(text, -1) {
		p.people = append(p.people, html.UnescapeString(m[1]))
	}
	return p
}

// answer returns the form by which a person continues.
func (p signInPage) answer(person string) (url.Values, error) {
	i := slices.IndexFunc(p.people, func(name string) bool { return strings.EqualFold(name, person) })
	switch {
	case p.problem != "":
		return nil, fmt.Errorf("the stand-in refuses the sign-in: %s", p.problem)
	case p.action == "":
		return nil, fmt.Errorf("the sign-in ended on a page of the stand-in: %q", p.title)
	case i < 0:
		return nil, fmt.Errorf("no account %q; there are %s", person, strings.Join(p.people, ", "))
	}
	form := url.Values{"user": {p.people[i]}}
	for name, values := range p.hidden {
		form[name] = values
	}
	return form, nil
}

// A loopbackTransport accepts any certificate of loopback hosts, and verifies
// those of others.
type loopbackTransport struct{ local, other *http.Transport }

func newLoopbackTransport() *loopbackTransport {
	base, ok := http.DefaultTransport.(*http.Transport)
	if !ok { // replaced by the program
		base = &http.Transport{Proxy: http.ProxyFromEnvironment}
	}
	local, other := base.Clone(), base.Clone()
	local.Proxy = nil
	local.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} // this computer: see RoundTrip and dialLoopback
	local.DialContext = dialLoopback
	return &loopbackTransport{local, other}
}

func (t *loopbackTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if loopback(r.URL.Host) {
		return t.local.RoundTrip(r)
	}
	return t.other.RoundTrip(r)
}

func (t *loopbackTransport) CloseIdleConnections() {
	t.local.CloseIdleConnections()
	t.other.CloseIdleConnections()
}

// dialLoopback connects to this computer, whatever address a name below
// .localhost resolves to.
func dialLoopback(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if net.ParseIP(host) != nil {
		return d.DialContext(ctx, network, address)
	}
	conn, err := d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return d.DialContext(ctx, network, net.JoinHostPort("::1", port))
	}
	return conn, nil
}
