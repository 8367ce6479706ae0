package outside

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/cmd/msauth-check/internal/settings"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
)

// signInAnswers are the answers to the requests of askSignIn.
type signInAnswers struct {
	callback string
	signIn   verdict // for the redirect URI
	signOut  verdict // for the page after signing out
	unproved verdict // for the redirect URI, without a PKCE challenge
	scopes   verdict // with all scopes
}

// askSignIn asks the authorization endpoint with prompt=none, for which nobody has to sign
// in: a redirect URI that is registered gets the answer (OpenID Connect Core section
// 3.1.2.6), for another one Microsoft shows a page with a number. The result is nil if
// there is nothing to ask about.
func (c *checks) askSignIn(ctx context.Context, meta *provider.Metadata) *signInAnswers {
	if c.set.ClientID == "" || c.set.Base == nil {
		return nil
	}
	a := &signInAnswers{callback: c.set.Page("callback")}
	openID := []string{"openid"}
	scopes := c.set.Scopes
	if c.authority.Kind == provider.LiveConnect {
		openID, scopes = []string{"wl.signin"}, nil
	}
	together(
		func() { a.signIn = c.ask(ctx, meta, a.callback, openID, true) },
		func() {
			if c.authority.Kind != provider.OtherProvider { // others register these apart (OpenID Connect RP-Initiated Logout)
				a.signOut = c.ask(ctx, meta, c.set.SignedOut, openID, true)
			}
		},
		func() { a.unproved = c.ask(ctx, meta, a.callback, openID, false) },
		func() {
			if scopes != nil {
				a.scopes = c.ask(ctx, meta, a.callback, scopes, true)
			}
		},
	)
	return a
}

// checkSignIn judges the answers of the authorization endpoint.
func (c *checks) checkSignIn(a *signInAnswers) {
	if c.reportSignIn(a.signIn, a.callback) {
		return
	}
	for _, v := range []verdict{a.signOut, a.unproved, a.scopes} {
		if c.reportNoAnswer(v) {
			return
		}
	}
	if slices.Contains(a.unproved.numbers, 9002325) { // a code without a verifier is refused at once
		c.report.Found("redirect-uri-spa", a.callback+": "+a.unproved.text, a.unproved.numbers...)
	}
	switch {
	case report.ByNumber(first(a.signOut.numbers)) == "redirect-uri-missing":
		c.report.Found("sign-out-uri-missing", c.set.SignedOut+": "+a.signOut.text, a.signOut.numbers...)
	case a.signOut.outcome == refused:
		c.report.Found("authorize-failed", c.set.SignedOut+": "+a.signOut.text, a.signOut.numbers...)
	}
	for _, v := range []verdict{a.signIn, a.signOut, a.scopes} {
		if v.outcome == unclear {
			c.report.Found("authorize-unjudged", v.text)
			return
		}
	}
	c.report.Checked("redirect URIs")
	c.reportScopes(a.scopes)
}

// CheckRedirect reports whether a sign-in can come back to an address of this computer, as
// far as can be seen. If it cannot, the report says why.
func CheckRedirect(ctx context.Context, set *settings.Settings, found *report.Report, network Network, redirectURI string) bool {
	c := newChecks(set, found, network)
	meta, ok := c.checkDiscovery(ctx)
	if !ok {
		return false
	}
	openID := []string{"openid"}
	if c.authority.Kind == provider.LiveConnect {
		openID = []string{"wl.signin"}
	}
	v := c.ask(ctx, meta, redirectURI, openID, true)
	switch {
	case c.reportNoAnswer(v):
	case report.ByNumber(first(v.numbers)) == "redirect-uri-missing":
		found.Found("sign-in-uri-missing", redirectURI+": "+v.text, v.numbers...)
	case v.outcome == refused:
		found.Found("authorize-failed", redirectURI+": "+v.text, v.numbers...)
	default:
		return true
	}
	return false
}

// reportNoAnswer reports that there was no answer.
func (c *checks) reportNoAnswer(v verdict) bool {
	if v.err != nil && !c.unreachable(v.err, host(c.known().Authorization)) {
		c.report.Found("authorize-failed", sentence(v.err))
	}
	return v.err != nil
}

// reportSignIn reports an answer that says that nobody can sign in.
func (c *checks) reportSignIn(v verdict, callback string) bool {
	if c.reportNoAnswer(v) {
		return true
	}
	switch id := report.ByNumber(first(v.numbers)); {
	case id == "redirect-uri-missing", id == "redirect-uri-spa":
		c.report.Found(id, callback+": "+v.text, v.numbers...)
	case slices.Contains(appFindings, id):
		// Token requests have found the same, and say it once.
		if !c.report.Has(id) && v.outcome == refused {
			c.report.Found(id, v.text, v.numbers...)
		}
	case v.outcome == refused:
		c.report.Found("authorize-failed", v.text, v.numbers...)
	default:
		return false
	}
	return true
}

// reportScopes reports the answer to a request with all scopes, of which all else is
// known to be good.
func (c *checks) reportScopes(v verdict) {
	switch id := report.ByNumber(first(v.numbers)); {
	case v.outcome == notAsked:
		return
	case id == "scope-unknown", id == "api-unknown":
		c.report.Found(id, v.text, v.numbers...)
	case v.outcome == refused && v.code == "invalid_scope":
		c.report.Found("scope-unknown", v.text, v.numbers...)
	case v.outcome == refused:
		c.report.Found("authorize-failed", v.text, v.numbers...)
	}
	c.report.Checked("scopes")
}

func first(numbers []int) int {
	if len(numbers) == 0 {
		return 0
	}
	return numbers[0]
}

// An outcome is what an answer of the authorization endpoint says.
type outcome int

const (
	notAsked outcome = iota
	returned         // to the redirect URI, because nobody is signed in
	refused          // for another reason
	unclear
)

// A verdict is an answer of the authorization endpoint, judged.
type verdict struct {
	outcome outcome
	code    string // the OAuth error
	numbers []int  // AADSTS
	text    string // a sentence
	err     error  // there was no answer
}

// ask makes one request. proved says whether it has a PKCE challenge.
func (c *checks) ask(ctx context.Context, meta *provider.Metadata, redirectURI string, scopes []string, proved bool) verdict {
	address, err := url.Parse(meta.Authorization)
	if err != nil {
		return verdict{err: err}
	}
	q := address.Query()
	for name, value := range map[string]string{
		"client_id": c.set.ClientID, "response_type": "code", "redirect_uri": redirectURI, "scope": strings.Join(scopes, " "),
		"state": rand.Text(), "nonce": rand.Text(), "prompt": "none",
	} {
		q.Set(name, value)
	}
	if c.authority.Kind == provider.Entra {
		q.Set("response_mode", "query")
	}
	if proved {
		challenge := sha256.Sum256([]byte(rand.Text() + rand.Text()))
		q.Set("code_challenge", base64.RawURLEncoding.EncodeToString(challenge[:]))
		q.Set("code_challenge_method", "S256")
	}
	address.RawQuery = q.Encode()
	return c.follow(ctx, address, redirectURI)
}

// mostHops is how many redirects are followed, within the host of the provider.
const mostHops = 2

// follow requests an address until there is an answer to judge.
func (c *checks) follow(ctx context.Context, address *url.URL, redirectURI string) verdict {
	for hop := 0; ; hop++ {
		res, body, err := get(ctx, c.client, address.String(), http.Header{"Accept": {"text/html"}})
		if err != nil && (res == nil || isTimeout(err)) {
			return verdict{err: err}
		}
		location := res.Header.Get("Location")
		if res.StatusCode < 300 || res.StatusCode > 399 || location == "" {
			return judgePage(res.StatusCode, body, redirectURI)
		}
		next, err := address.Parse(location)
		switch {
		case err != nil:
			return verdict{outcome: unclear, text: "The authorization endpoint redirects to an address that is none."}
		case leadsTo(next, redirectURI):
			return judgeAnswer(next.Query(), next.Fragment)
		case !sameOrigin(next, address):
			return verdict{outcome: unclear, text: fmt.Sprintf("The authorization endpoint redirects to %s, which was not followed.", web.OneLine(next.Host, 200))}
		case hop == mostHops:
			return verdict{outcome: unclear, text: "The authorization endpoint redirects more than twice."}
		}
		address = next
	}
}

// leadsTo reports whether an address is the redirect URI, with an answer.
func leadsTo(address *url.URL, redirectURI string) bool {
	u, err := url.Parse(redirectURI)
	return err == nil && sameOrigin(address, u) && address.EscapedPath() == u.EscapedPath()
}

// silentErrors are what prompt=none is answered with if nothing is wrong (OpenID Connect
// Core section 3.1.2.6).
var silentErrors = []string{"login_required", "interaction_required", "account_selection_required", "consent_required"}

// judgeAnswer judges what was sent to the redirect URI.
func judgeAnswer(q url.Values, fragment string) verdict {
	if fragment != "" && q.Get("error") == "" {
		q, _ = url.ParseQuery(fragment)
	}
	v := verdict{code: web.OneLine(q.Get("error"), 100), numbers: provider.AADSTSNumbers(q.Get("error_description"))}
	if slices.Contains(silentErrors, v.code) || q.Get("code") != "" {
		v.outcome, v.numbers = returned, nil
		return v
	}
	v.outcome, v.text = refused, described(v.code, q.Get("error_description"))
	return v
}

func described(code, description string) string {
	text, _, _ := strings.Cut(web.OneLine(description, 500), " Trace ID")
	switch {
	case code == "" && text == "":
		return "The answer has neither a code nor an error."
	case text == "":
		return "The answer is the error " + code + "."
	}
	return ended(text)
}

var (
	formAction = regexp.MustCompile(`(?i)<form[^>]+action=["']([^"']+)["']`)
	// numbered is the text of an error page up to the IDs that follow it: in Microsoft's
	// pages it is the member strServiceExceptionMessage of a JavaScript object.
	numbered = regexp.MustCompile(`AADSTS[0-9]{4,9}: [^"<]{3,500}`)
	tags     = regexp.MustCompile(`<[^>]*>`)
)

// unescape turns what JavaScript writes otherwise into what it means.
var unescape = strings.NewReplacer(`\u0027`, "'", `\u0026`, "&", `\/`, "/", `\r`, " ", `\n`, " ")

// judgePage judges an answer that is a page: an error page, a form that a browser would
// send to the redirect URI, or a sign-in page.
func judgePage(status int, body []byte, redirectURI string) verdict {
	page := unescape.Replace(html.UnescapeString(string(body)))
	if m := formAction.FindStringSubmatch(page); m != nil {
		if u, err := url.Parse(m[1]); err == nil && leadsTo(u, redirectURI) {
			return verdict{outcome: returned}
		}
	}
	plain := tags.ReplaceAllString(page, " ")
	if numbers := provider.AADSTSNumbers(page); len(numbers) > 0 {
		text := numbered.FindString(page)
		if text == "" {
			_, after, _ := strings.Cut(plain, fmt.Sprint("AADSTS", numbers[0]))
			text = fmt.Sprint("AADSTS", numbers[0]) + ": " + strings.TrimLeft(web.OneLine(after, 300), ": ")
		}
		return verdict{outcome: refused, numbers: numbers[:1], text: described("", strings.Join(strings.Fields(text), " "))}
	}
	if strings.Contains(plain, "AADB2C90006") { // "The redirect URI ... is not registered for the client id"
		return verdict{outcome: refused, numbers: []int{50011}, text: "AADB2C90006: The redirect URI is not registered for the client ID."}
	}
	if status >= 400 {
		return verdict{outcome: refused, text: fmt.Sprintf("The authorization endpoint answers with status %d.", status)}
	}
	return verdict{outcome: unclear, text: fmt.Sprintf("The authorization endpoint shows a page (status %d) that leads to no answer.", status)}
}
