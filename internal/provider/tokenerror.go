package provider

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

// failure makes a Failure of an error reply.
func (t *TokenEndpoint) failure(res *http.Response, reply claims, purpose Purpose) *Failure {
	e := failureFrom(res, reply)
	e.Claims = CheckChallenge(reply.text("claims"))
	e.Class = classify(e.StatusCode, e.Code, e.Suberror, purpose)
	if e.Claims != "" && (e.Class == SignIn || e.Class == Replay) {
		e.Class = StepUp
	}
	if t.Authority.MicrosoftIssuer() && len(e.Numbers) > 0 && e.Numbers[0] == loopDetected {
		e.Class, e.RetryAfter = Retry, cmp.Or(e.RetryAfter, loopWait)
	}
	return e
}

// failureFrom reads an error reply. The caller sets the class.
func failureFrom(res *http.Response, reply claims) *Failure {
	e := &Failure{
		StatusCode:    res.StatusCode,
		Code:          web.OneLine(reply.text("error"), 100),
		Suberror:      web.OneLine(reply.text("suberror"), 100),
		Description:   web.OneLine(reply.text("error_description"), 500),
		TraceID:       web.OneLine(reply.text("trace_id"), 100),
		CorrelationID: web.OneLine(reply.text("correlation_id"), 100),
		RetryAfter:    web.RetryAfter(res.Header.Get("Retry-After"), time.Now()),
	}
	json.Unmarshal(reply["error_codes"], &e.Numbers)
	if len(e.Numbers) == 0 {
		e.Numbers = AADSTSNumbers(e.Description)
	}
	return e
}

// redact removes from an error reply what was sent, and everything that looks like a
// token: a proxy or a firewall may repeat the whole request, and error texts are
// logged.
func (c claims) redact(form url.Values) {
	var secrets []string
	for _, name := range [...]string{"client_secret", "client_assertion", "code", "code_verifier", "refresh_token", "code_basic"} {
		if s := form.Get(name); len(s) >= 8 {
			secrets = append(secrets, s, seal.Hidden, url.QueryEscape(s), seal.Hidden)
		}
	}
	hide := strings.NewReplacer(secrets...)
	for name := range c {
		text := c.text(name)
		if text == "" {
			continue
		}
		if text = hide.Replace(text); name != "claims" { // a challenge may hold long words
			text = tokenLike.ReplaceAllLiteralString(text, seal.Hidden)
		}
		c[name], _ = json.Marshal(text)
	}
}

// tokenLike matches tokens and long parts of them. No word of an error text is as
// long; a GUID has 36 characters.
var tokenLike = regexp.MustCompile(`[A-Za-z0-9_.~+=*!$-]{41,}`)
