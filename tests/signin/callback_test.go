package signin_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestCallbackRefusesWithItsReason(t *testing.T) {
	t.Parallel()
	// A test opens the good address of a callback changed, or elsewhere.
	type open = func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen
	query := func(change func(q url.Values)) open {
		return func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			change(q)
			return b.Get("/auth/callback?" + q.Encode())
		}
	}
	raw := func(query string) open {
		return func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			return b.Get("/auth/callback?" + strings.ReplaceAll(query, "GOOD", good.RawQuery))
		}
	}
	set := func(pairs ...string) open {
		return query(func(q url.Values) {
			for i := 0; i < len(pairs); i += 2 {
				if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "-" {
					q.Del(pairs[i])
				}
			}
		})
	}
	const state = "state is missing, altered or of another app"
	const unbound = "no cookie of this attempt"
	tests := []struct {
		name   string
		open   open
		status int
		kind   string
		want   string
	}{
		{"nothing at all", raw(""), 400, "start-again", state},
		{"no state", set("state", "-"), 400, "start-again", state},
		{"empty state", set("state", ""), 400, "start-again", state},
		{"no code", set("code", "-"), 400, "start-again", "neither code nor error"},
		{"empty code", set("code", ""), 400, "start-again", "neither code nor error"},
		{"code and error", set("error", "access_denied"), 400, "start-again", "both code and error"},
		{"state twice", raw("GOOD&state=evil"), 400, "start-again", "state is repeated"},
		{"state twice, the good one last", raw("state=evil&GOOD"), 400, "start-again", "state is repeated"},
		{"code twice", raw("GOOD&code=evil"), 400, "start-again", "code is repeated"},
		{"error twice", raw("GOOD&error=a&error=b"), 400, "start-again", "error is repeated"},
		{"iss twice", raw("GOOD&iss=a&iss=a"), 400, "start-again", "iss is repeated"},
		{"description twice", raw("GOOD&error_description=a&error_description=b"), 400, "start-again", "error_description is repeated"},
		{"bad escape", raw("GOOD&x=%zz"), 400, "start-again", "malformed query"},
		{"semicolon", raw("GOOD;x=1"), 400, "start-again", "malformed query"},
		{"state in other case", query(func(q url.Values) { q.Set("state", strings.ToUpper(q.Get("state"))) }), 400, "start-again", state},
		{"state cut short", query(func(q url.Values) { q.Set("state", q.Get("state")[1:]) }), 400, "start-again", state},
		{"state extended", query(func(q url.Values) { q.Set("state", q.Get("state")+"AAAA") }), 400, "start-again", state},
		{"state with padding", query(func(q url.Values) { q.Set("state", q.Get("state")+"=") }), 400, "start-again", state},
		{"code of 9 kB", set("code", strings.Repeat("A", 9<<10)), 400, "start-again", "code is too long"},
		{"state of 100 kB", set("state", strings.Repeat("A", 100_000)), 400, "start-again", state},
		{"state that is not base64", set("state", "{\"a\":1}"), 400, "start-again", state},
		{"first byte of the state changed", query(func(q url.Values) { q.Set("state", testsite.Flip(q.Get("state"), 0)) }), 400, "start-again", state},
		{"a byte of the state changed", query(func(q url.Values) { q.Set("state", testsite.Flip(q.Get("state"), 60)) }), 400, "start-again", state},
		{"last byte of the state changed", query(func(q url.Values) { q.Set("state", testsite.Flip(q.Get("state"), len(q.Get("state"))-2)) }), 400, "start-again", state},
		{"sealed text of a login link", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			link, _ := url.Parse(s.Auth.LoginURL(msauth.LoginOptions{AppState: strings.Repeat("s", 200)}))
			q.Set("state", link.Query().Get("sealed"))
			return b.Get("/auth/callback?" + q.Encode())
		}, 400, "start-again", state},
		{"state of another app with the same keys", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			other := testsite.NewInProcess(b.T, func(c *msauth.Config) { c.Keys = s.Cfg.Keys })
			q.Set("state", other.Browser(b.T).AuthorizeQuery("/").Get("state"))
			return b.Get("/auth/callback?" + q.Encode())
		}, 400, "start-again", state},
		{"another browser", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			victim := s.Browser(b.T)
			victim.AuthorizeQuery("/") // has an attempt of its own
			res := victim.Get(good.String())
			victim.WantGreeting(testsite.HelloNobody)
			return res
		}, 400, "start-again", unbound},
		{"another browser, where another person is signed in", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			victim := s.Browser(b.T)
			victim.SignIn(msauthtest.Bruno)
			s.MS.ResetCalls()
			res := victim.Get(good.String())
			victim.WantGreeting(testsite.HelloBruno)
			return res
		}, 400, "start-again", unbound},
		{"browser without cookies", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			return s.Browser(b.T).Get(good.String())
		}, 400, "start-again", unbound},
		{"cookie of the attempt changed", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			for _, c := range b.Cookies() {
				b.Keep(c.Name, testsite.Flip(c.Value, 5))
				defer b.Keep(c.Name, c.Value)
			}
			return b.Get(good.String())
		}, 400, "start-again", unbound},
		{"cookie of another attempt", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			mine := b.Cookies()[0]
			b.Attempt("/")
			s.MS.ResetCalls()
			for _, c := range b.Cookies() {
				if c.Name != mine.Name {
					b.Keep(mine.Name, c.Value)
				}
			}
			defer b.Keep(mine.Name, mine.Value)
			return b.Get(good.String())
		}, 400, "start-again", unbound},
		{"answer by POST", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			req, _ := http.NewRequest("POST", s.URL+"/auth/callback", strings.NewReader(q.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			return b.Send(req)
		}, 405, "bad-request", ""},
		{"answer by POST with a query", func(s *testsite.Site, b *testsite.Browser, good *url.URL, q url.Values) testsite.Seen {
			return b.Request("POST", good.String())
		}, 405, "bad-request", ""},
		{"error without state", raw("error=access_denied&error_description=Call+0900-EVIL"), 400, "start-again", state},
		{"error with a wrong state", set("state", "evil", "code", "-", "error", "access_denied"), 400, "start-again", state},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.As(msauthtest.Ada)
			b := s.Browser(t)
			good, _ := url.Parse(b.Attempt("/page"))
			s.MS.ResetCalls()
			res := test.open(s, b, good, good.Query())
			b.WantRefused(res, test.status, test.kind, test.want)
			s.WantNoCalls(t)
			if strings.Contains(res.Text+s.Log.String(), "EVIL") {
				t.Error("the text of an answer without a state is shown")
			}
			b.WantGreeting(testsite.HelloNobody)
			// Nothing is spent: the true answer still works.
			if got := b.Get(good.String()); got.Text != testsite.HelloAda || got.Request.URL.Path != "/page" {
				t.Errorf("the true callback afterwards: %d %q at %s, want %q at /page", got.StatusCode, got.Text, got.Request.URL, testsite.HelloAda)
			}
		})
	}
}

func TestEveryByteOfTheStateCounts(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	good := b.Attempt("/page")
	u, _ := url.Parse(good)
	q := u.Query()
	state := q.Get("state")
	for i := range state {
		q.Set("state", testsite.Flip(state, i))
		if res := b.Get("/auth/callback?" + q.Encode()); res.Kind() != "start-again" {
			t.Fatalf("byte %d changed: status %d, page %q", i, res.StatusCode, res.Kind())
		}
	}
	s.WantCalls(t, msauthtest.TokenCode, 0)
	if got := b.Get(good).Text; got != testsite.HelloAda {
		t.Errorf("page %q afterwards, want %q", got, testsite.HelloAda)
	}
}

func TestPrefetchedCallbackSpendsNothing(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	good := b.Attempt("/page")
	res := b.Still().Get(good, "Sec-Purpose", "prefetch;prerender", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document")
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("Cache-Control") != "no-store" || len(res.Cookies()) > 0 {
		t.Errorf("status %d, %v, want 503 and no-store without cookies", res.StatusCode, res.Header)
	}
	s.WantCalls(t, msauthtest.TokenCode, 0)
	if got := b.Get(good).Text; got != testsite.HelloAda {
		t.Errorf("page %q afterwards, want %q", got, testsite.HelloAda)
	}
}

func TestSecondDeliveryLeadsOnWithoutATokenRequest(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.As(msauthtest.Ada)
	b := s.Browser(t)
	good := b.Attempt("/page?x=1")
	b.Get(good)
	before := b.Session()[0].Value
	s.MS.ResetCalls()
	res := b.Still().Get(good)
	if res.StatusCode != http.StatusSeeOther || res.Header.Get("Location") != "/page?x=1" {
		t.Errorf("status %d to %q, want 303 to /page?x=1", res.StatusCode, res.Header.Get("Location"))
	}
	s.WantNoCalls(t)
	if b.Session()[0].Value != before {
		t.Error("another session")
	}
	// Elsewhere, or after signing out, it is refused.
	other := s.Browser(t)
	other.WantRefused(other.Get(good), 400, "start-again", "no cookie of this attempt")
	b.Request("POST", "/auth/logout", "Sec-Fetch-Site", "same-origin")
	s.MS.ResetCalls()
	b.Keep("unrelated", "x")
	b.WantRefused(b.Get(good), 400, "start-again", "no cookie of this attempt")
	s.WantCalls(t, msauthtest.TokenCode, 0)
	// A session of a later sign-in is not one of this attempt.
	b.SignIn(msauthtest.Ada)
	s.MS.ResetCalls()
	b.WantRefused(b.Get(good), 400, "start-again", "no cookie of this attempt")
	b.WantGreeting(testsite.HelloAda)
}

func TestRefusedPageOffersTheSamePageAgain(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	good := s.Browser(t).Attempt("/page?x=1")
	res := s.Browser(t).Get(good)
	if want := `href="/auth/login?return_to=%2Fpage%3Fx%3D1&amp;sealed=`; !strings.Contains(res.Text, want) {
		t.Errorf("page %s, want %s", res.Text, want)
	}
}

func TestCodeOfAnotherAttemptIsRefusedByTheProvider(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	s.As(msauthtest.Ada)
	victim := s.Browser(t)
	stolen, _ := url.Parse(victim.Attempt("/"))
	attacker := s.Browser(t)
	attacker.SignIn(msauthtest.Bruno)
	s.As(msauthtest.Bruno)
	own, _ := url.Parse(attacker.Attempt("/auth/login"))
	q := own.Query()
	q.Set("code", stolen.Query().Get("code"))
	s.MS.ResetCalls()
	attacker.WantRefused(attacker.Get("/auth/callback?"+q.Encode()), 400, "start-again", "AADSTS501481")
	s.WantCalls(t, msauthtest.TokenCode, 1)
	attacker.WantGreeting(testsite.HelloBruno)
	attacker.WantRefused(attacker.Get(own.String()), 400, "start-again", "no cookie of this attempt") // it is spent
	s.WantCalls(t, msauthtest.TokenCode, 1)
}

func TestAnswerThatCannotBeCompletedLeavesTheSession(t *testing.T) {
	t.Parallel()
	fail := func(kind msauthtest.Kind, f msauthtest.Failure) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.FailAlways[kind] = f }
	}
	answer := func(pairs ...string) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) {
				q.Del("code")
				for i := 0; i < len(pairs); i += 2 {
					q.Set(pairs[i], pairs[i+1])
				}
			}
		}
	}
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		calls  int // token requests
		status int
		kind   string
		want   string
	}{
		{"cancelled", answer("error", "access_denied", "error_subcode", "cancel"), 0, 403, "declined", "declined: access_denied"},
		{"cancelled, by its subcode alone", answer("error", "whatever", "error_subcode", "cancel"), 0, 403, "declined", "declined: whatever"},
		{"consent refused", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied"}), 0, 403, "declined", "AADSTS65004"},
		{"not assigned", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{50105}}), 0, 403, "not-allowed", "AADSTS50105"},
		{"not of this tenant", fail(msauthtest.Authorize, msauthtest.Failure{Error: "access_denied", Codes: []int{90072}}), 0, 403, "not-allowed", "AADSTS90072"},
		{"login required", answer("error", "login_required"), 0, 400, "start-again", "replay: login_required"},
		{"interaction required", answer("error", "interaction_required"), 0, 400, "start-again", "replay: interaction_required"},
		{"consent required", answer("error", "consent_required"), 0, 400, "start-again", "replay: consent_required"},
		{"provider busy", answer("error", "temporarily_unavailable"), 0, 400, "unavailable", "retry: temporarily_unavailable"},
		{"provider broken", answer("error", "server_error"), 0, 400, "unavailable", "retry: server_error"},
		{"bad request", answer("error", "invalid_request", "error_description", "AADSTS90023: Unsupported"), 0, 400, "app-error", "AADSTS90023"},
		{"unknown app", answer("error", "unauthorized_client"), 0, 400, "app-error", "app misconfigured: unauthorized_client"},
		{"unknown error", answer("error", "something_new"), 0, 400, "app-error", "app misconfigured: something_new"},

		{"iss of somebody else", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) { q.Set("iss", "https://evil.example/v2.0") }
		}, 0, 400, "start-again", "iss of the answer is another issuer"},
		{"iss that begins right", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) {
				q.Set("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0.evil.example")
			}
		}, 0, 400, "start-again", "iss of the answer is another issuer"},
		{"iss of somebody else with an error", answer("error", "access_denied", "iss", "https://evil.example/v2.0"), 0, 400, "start-again", "iss of the answer is another issuer"},

		{"code used before", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_grant", Codes: []int{54005}}), 1, 400, "start-again", "replay: invalid_grant"},
		{"code of an unknown kind", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_grant", Suberror: "new_kind"}), 1, 400, "start-again", "replay: invalid_grant (new_kind)"},
		{"wrong secret", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_client"}), 1, 500, "app-error", "AADSTS7000215"},
		{"unknown app at the token endpoint", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "unauthorized_client"}), 1, 403, "not-allowed", "AADSTS700016"},
		{"unknown scope", fail(msauthtest.TokenCode, msauthtest.Failure{Error: "invalid_scope"}), 1, 400, "start-again", "AADSTS70011"},
		{"token endpoint down", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 503}), 1, 503, "unavailable", "retry: HTTP status 503"},
		{"token endpoint throttles", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 429}), 1, 503, "unavailable", "retry: HTTP status 429"},
		{"token endpoint cuts", fail(msauthtest.TokenCode, msauthtest.Failure{Close: true}), 1, 503, "unavailable", "retry"},
		{"token reply lost", fail(msauthtest.TokenCode, msauthtest.Failure{LoseReply: true}), 1, 503, "unavailable", "retry"},
		{"token endpoint redirects", fail(msauthtest.TokenCode, msauthtest.Failure{Status: 307, Body: "moved", Header: http.Header{"Location": {"http://evil.example/"}}}), 1, 503, "unavailable", "redirects, which is not followed"},
		{"token reply is a web page", fail(msauthtest.TokenCode, msauthtest.Failure{Body: "<html>proxy"}), 1, 503, "unavailable", "not JSON"},
		{"token reply is empty", fail(msauthtest.TokenCode, msauthtest.Failure{Body: "{}"}), 1, 503, "unavailable", "no bearer token"},
		{"token reply has no end", fail(msauthtest.TokenCode, msauthtest.Failure{Body: `{"access_token":"` + strings.Repeat("a", 1<<20)}), 1, 503, "unavailable", "reply too large"},
		{"token of another type", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply["token_type"] = "DPoP" }
		}, 1, 503, "unavailable", "no bearer token"},
		{"no ID token", func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, "id_token") }
		}, 1, 502, "unavailable", "holds no ID token"},
		{"keys out of reach", fail(msauthtest.Keys, msauthtest.Failure{Status: 500}), 1, 503, "unavailable", "signing keys: GET"},
		{"no keys", func(b *msauthtest.Behavior) {
			b.KeySet = func([]map[string]any) []map[string]any { return nil }
		}, 1, 503, "unavailable", "none that can be used"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, signedIn := range []bool{false, true} {
				s := testsite.NewInProcess(t)
				b := s.Browser(t)
				greeting := testsite.HelloNobody
				if signedIn {
					b.SignIn(msauthtest.Bruno)
					s.Restart(t) // keys are not read yet
					greeting = testsite.HelloBruno
				}
				s.As(msauthtest.Ada)
				s.MS.ResetCalls()
				s.MS.Set(test.behave)
				res := b.Get("/auth/login?return_to=/page")
				b.WantRefused(res, test.status, test.kind, test.want)
				s.WantCalls(t, msauthtest.TokenCode, test.calls)
				b.WantGreeting(greeting)
				for _, c := range b.Cookies() {
					if strings.Contains(c.Name, "-login-") {
						t.Errorf("the cookie of the attempt is still there")
					}
				}
			}
		})
	}
}

func TestErrorTextIsInert(t *testing.T) {
	t.Parallel()
	s := testsite.NewInProcess(t)
	b := s.Browser(t)
	hostile := "<script>alert(1)</script>\r\nlevel=ERROR msg=forged\x00\u202egnp\u2028" + strings.Repeat("A", 100_000) + "END"
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn = msauthtest.Ada
		b.AuthorizeAnswer = func(q url.Values) {
			q.Del("code")
			q.Set("error", "evil<b>\n"+strings.Repeat("e", 1000))
			q.Set("error_description", hostile)
		}
	})
	res := b.Get("/")
	b.WantRefused(res, 400, "app-error", "<script>alert(1)</script>")
	if strings.Contains(res.Text, "alert") || strings.Contains(res.Text, "evil") || len(res.Text) > 8000 {
		t.Errorf("the page repeats the provider's text: %q", res.Text)
	}
	if lines := s.Log.With("msg=forged"); len(lines) != 1 || len(lines[0]) > 2000 || strings.ContainsAny(lines[0], "\x00\u202e\u2028\r") {
		t.Errorf("log lines %.500q, want one short one without control characters", lines)
	}
}

func TestIssInTheAnswer(t *testing.T) {
	t.Parallel()
	answer := func(f func(url.Values)) func(*msauthtest.Behavior) {
		return func(b *msauthtest.Behavior) { b.AnswerIssuer, b.AuthorizeAnswer = true, f }
	}
	tests := []struct {
		name   string
		behave func(*msauthtest.Behavior)
		want   string // reason to refuse
	}{
		{"announced and right", answer(nil), ""},
		{"announced and missing", answer(func(q url.Values) { q.Del("iss") }), "iss is missing from the answer"},
		{"announced and wrong", answer(func(q url.Values) { q.Set("iss", q.Get("iss")+"/") }), "another issuer"},
		{"announced and the template itself", answer(func(q url.Values) { q.Set("iss", "http://localhost:9/{tenantid}/v2.0") }), ""},
		{"not announced and right", func(b *msauthtest.Behavior) {
			b.AuthorizeAnswer = func(q url.Values) { q.Set("iss", "http://localhost:9/"+msauthtest.TenantContoso+"/v2.0") }
		}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			s.As(msauthtest.Ada)
			s.MS.Set(test.behave)
			b := s.Browser(t)
			res := b.Get("/")
			if test.want == "" {
				if res.Text != testsite.HelloAda {
					t.Errorf("page %q, want %q; log:\n%s", res.Text, testsite.HelloAda, s.Log)
				}
				return
			}
			b.WantRefused(res, 400, "start-again", test.want)
			s.WantCalls(t, msauthtest.TokenCode, 0)
		})
	}
}

func TestProviderOutOfReachAtSignIn(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	ada := s.Browser(t)
	ada.SignIn(msauthtest.Ada)
	s.Restart(t) // discovery is not read yet
	s.MS.Close()
	b := s.Browser(t)
	res := b.Get("/page")
	s.WantPage(t, res, http.StatusServiceUnavailable, "unavailable", "msauth: discovery")
	if res.Header.Get("Retry-After") == "" || len(res.Cookies()) > 0 {
		t.Errorf("headers %v, want Retry-After and no cookies", res.Header)
	}
	if got := ada.Get("/").Text; got != testsite.HelloAda {
		t.Errorf("page %q for a person who is signed in, want %q", got, testsite.HelloAda)
	}
}
