package signout_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const backChannel = "/auth/back-channel-logout"

// post sends a body to an address of the site as another server does, and returns
// the status and the body of the answer.
func post(t *testing.T, s *testsite.Site, target, kind string, body io.Reader) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.URL+target, body)
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	res, err := s.Wire.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(text)
}

const formType = "application/x-www-form-urlencoded"

// call posts a logout token.
func call(t *testing.T, s *testsite.Site, token string) (*http.Response, string) {
	t.Helper()
	return post(t, s, backChannel, formType, strings.NewReader(url.Values{"logout_token": {token}}.Encode()))
}

// accepts checks that a logout token is accepted.
func accepts(t *testing.T, s *testsite.Site, token string) {
	t.Helper()
	res, body := call(t, s, token)
	if res.StatusCode != http.StatusOK || body != "" || res.Header.Get("Cache-Control") != "no-store" || len(res.Header["Set-Cookie"]) > 0 {
		t.Errorf("status %d, header %v, body %q; log:\n%s", res.StatusCode, res.Header, body, s.Log)
	}
}

// refuses checks that an answer refuses a logout request with this reason.
func refuses(t *testing.T, res *http.Response, body, reason string) {
	t.Helper()
	var doc map[string]string
	if err := json.Unmarshal([]byte(body), &doc); err != nil || len(doc) != 2 || doc["error"] != "invalid_request" || !strings.Contains(doc["error_description"], reason) {
		t.Errorf("body %q, want the reason %q", body, reason)
	}
	h := res.Header
	if res.StatusCode != http.StatusBadRequest || h.Get("Cache-Control") != "no-store" || h.Get("Content-Type") != "application/json" || h.Get("X-Content-Type-Options") != "nosniff" || len(h["Set-Cookie"]) > 0 {
		t.Errorf("status %d, header %v", res.StatusCode, h)
	}
}

// generic is a site in process whose provider is not Microsoft, with the sids of the
// sessions that it gives.
func generic(t *testing.T, changes ...func(*msauth.Config)) (s *testsite.Site, sids func() []string) {
	t.Helper()
	s = testsite.NewInProcess(t)
	var mu sync.Mutex
	var list []string
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.IDToken = func(kind msauthtest.Kind, claims map[string]any) {
			mu.Lock()
			defer mu.Unlock()
			if kind == msauthtest.TokenCode {
				list = append(list, claims["sid"].(string))
			}
		}
	})
	s.Restart(t, append(changes, testsite.Generic(s))...)
	return s, func() []string { mu.Lock(); defer mu.Unlock(); return list }
}

// A provider that is not Microsoft ends sessions by a call to the app.
func TestBackChannelLogout(t *testing.T) {
	t.Parallel()
	type sessions struct{ first, second, grace string } // what they greet afterwards
	const hello, grace, nobody = testsite.HelloAda, "hello Grace Achterberg", testsite.HelloNobody
	for _, test := range []struct {
		name    string
		person  string
		sid     int // of the session with this number; -1 for none
		changes map[string]any
		want    sessions
	}{
		{"by sid and sub", msauthtest.Ada, 0, nil, sessions{nobody, hello, grace}},
		{"by sid", msauthtest.Ada, 1, map[string]any{"sub": nil}, sessions{hello, nobody, grace}},
		{"by sub", msauthtest.Ada, -1, nil, sessions{nobody, nobody, grace}},
		{"by the sub of somebody else", msauthtest.Grace, -1, nil, sessions{hello, hello, nobody}},
		{"by a sub that nobody has", msauthtest.Ada, -1, map[string]any{"sub": "x"}, sessions{hello, hello, grace}},
		{"by a sid that nobody has", msauthtest.Ada, -1, map[string]any{"sid": "x"}, sessions{hello, hello, grace}},
	} {
		for _, kept := range []string{"in cookies", "in a store"} {
			t.Run(test.name+", "+kept, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					s, sids := generic(t, func(c *msauth.Config) {
						if kept == "in a store" {
							c.Store = testsite.FileStore(t)
						}
					})
					first, second, other := s.Browser(t), s.Browser(t), s.Browser(t)
					first.SignIn(msauthtest.Ada)
					second.SignIn(msauthtest.Ada)
					other.SignIn(msauthtest.Grace)
					sid := ""
					if test.sid >= 0 {
						sid = sids()[test.sid]
					}
					time.Sleep(time.Second)
					before := s.Auth.Stats().SignOuts
					accepts(t, s, s.MS.LogoutToken(test.person, sid, test.changes))
					for name, got := range map[string][2]string{
						"the first": {first.Get("/public/").Text, test.want.first}, "the second": {second.Get("/public/").Text, test.want.second}, "Grace": {other.Get("/public/").Text, test.want.grace},
					} {
						if !strings.HasPrefix(got[0], got[1]) {
							t.Errorf("%s: %q, want %q", name, got[0], got[1])
						}
					}
					if n := s.Auth.Stats().SignOuts - before; n != 1 {
						t.Errorf("%d sign-outs counted, want 1", n)
					}
					lines := s.Log.With("event=back_channel_logout")
					if len(lines) != 1 || !strings.Contains(lines[0], fmt.Sprint("all=", sid == "" && test.changes["sid"] == nil)) || strings.Contains(lines[0], "user=") == (test.name == "by sid") {
						t.Errorf("log lines: %q", lines)
					}
					time.Sleep(time.Second)
					first.SignIn(msauthtest.Ada)
					first.WantGreeting(hello)
				})
			})
		}
	}
}

// Signing out at the provider is enough, over TLS too, and a process that has
// started since knows as much.
func TestProviderCallsTheBackChannel(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.MS.Set(func(b *msauthtest.Behavior) {
		b.BackChannelLogout = []string{"https://127.0.0.1:1/nobody-there", s.URL + backChannel}
		b.BackChannelClient = &http.Client{Transport: s.Wire}
	})
	s.Restart(t, testsite.Generic(s))
	b, other := s.Browser(t), s.Browser(t)
	b.SignIn(msauthtest.Ada)
	other.SignIn(msauthtest.Ada)
	stolen := testsite.HeaderOf(b.Session()...)
	s.Restart(t)
	if got := b.Get(s.MS.URL + "/generic/oauth2/v2.0/logout"); got.StatusCode != http.StatusOK {
		t.Errorf("status %d", got.StatusCode)
	}
	if got := s.Ask(stolen).Body.String(); got != testsite.HelloNobody {
		t.Errorf("a copy of the cookie: %q; log:\n%s", got, s.Log)
	}
	b.WantGreeting(testsite.HelloNobody)
	other.WantGreeting(testsite.HelloAda)
	// Microsoft does not call.
	s.Restart(t, func(c *msauth.Config) { c.Issuer, c.Authority = "", s.MS.URL })
	b.SignIn(msauthtest.Ada)
	b.Get(s.MS.URL + "/common/oauth2/v2.0/logout")
	b.WantGreeting(testsite.HelloAda)
	if lines := s.Log.With("event=back_channel"); len(lines) != 1 {
		t.Errorf("log lines: %q", lines)
	}
}

// Every rule about the token, with its reason, over real HTTP.
func TestBackChannelRefusesTokens(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Restart(t, testsite.Generic(s))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	claim := func(pairs ...any) func() string {
		changes := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			changes[pairs[i].(string)] = pairs[i+1]
		}
		return func() string { return s.MS.LogoutToken(msauthtest.Ada, "", changes) }
	}
	signed := func(how msauthtest.Signing) func() string {
		return func() string {
			s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = how })
			defer s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = "" })
			return s.MS.LogoutToken(msauthtest.Ada, "", nil)
		}
	}
	now := time.Now()
	for _, test := range []struct {
		name   string
		token  func() string
		reason string
	}{
		{"alg none", signed(msauthtest.SignNone), "its alg is not one that the provider signs ID tokens with"},
		{"HS256 with the client secret", signed(msauthtest.SignHS256Secret), "its alg is not one"},
		{"HS256 with the public key", signed(msauthtest.SignHS256Public), "its alg is not one"},
		{"an alg that is not announced", signed(msauthtest.SignPS256), "its alg is not one"},
		{"a forged one", signed(msauthtest.SignUnknownKey), "signed by no key that the provider publishes"},
		{"a key that is not published", signed(msauthtest.SignUnpublished), "signed by no key that the provider publishes"},
		{"one bit changed", signed(msauthtest.SignFlippedBit), "signed by no key that the provider publishes"},
		{"another issuer", claim("iss", s.MS.URL), "iss is not the provider's issuer"},
		{"another audience", claim("aud", "another app"), "aud is not this app"},
		{"no events", claim("events", nil), "events has no back-channel logout"},
		{"another event", claim("events", map[string]any{"x": map[string]any{}}), "events has no back-channel logout"},
		{"a nonce", claim("nonce", "n"), "nonce is there"},
		{"neither sid nor sub", claim("sub", nil), "sid and sub are missing"},
		{"no iat", claim("iat", nil), "iat is missing"},
		{"no jti", claim("jti", nil), "jti is missing"},
		{"from the future", claim("iat", now.Add(time.Hour).Unix()), "in the future by the clock of this server"},
		{"expired", claim("exp", now.Add(-2*time.Minute).Unix()), "ago, leeways included, by the clock of this server"},
		{"old, without exp", claim("exp", nil, "iat", now.Add(-11*time.Minute).Unix()), "ago, leeways included"},
		{"17 KB", claim("x", strings.Repeat("x", 17<<10)), "more than 16384 bytes"},
		{"the session's ID token", func() string { return idToken(t, s, b) }, "events has no back-channel logout"},
		{"hostile texts", claim("iss", "<script>\r\n", "aud", "<script>", "typ", "<script>"), "iss is not"},
		{"nothing", func() string { return "" }, "not a JWT"},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := call(t, s, test.token())
			refuses(t, res, body, test.reason)
			if strings.Contains(body, "<") || strings.Contains(body, "u003c") {
				t.Errorf("shown: %s", body)
			}
		})
	}
	b.WantGreeting(testsite.HelloAda)
	if n := s.Auth.Stats().SignOuts; n != 1 || len(s.Log.With("event=back_channel_logout")) != 0 {
		t.Errorf("%d sign-outs, want that of idToken", n)
	}
}

// idToken is an ID token of the provider for the app. It signs the browser out, and
// in again.
func idToken(t *testing.T, s *testsite.Site, b *testsite.Browser) string {
	t.Helper()
	to, err := b.Still().Get("/auth/logout", testsite.SameOrigin...).Location()
	if err != nil || to.Query().Get("id_token_hint") == "" {
		t.Fatalf("no ID token in %v", to)
	}
	b.SignIn(msauthtest.Ada)
	return to.Query().Get("id_token_hint")
}

// What is not a logout request is refused before the token is looked at.
func TestBackChannelRefusesRequests(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Restart(t, testsite.Generic(s))
	token := func() string { return "logout_token=" + s.MS.LogoutToken(msauthtest.Ada, "", nil) }
	accepted := "" // no reason to refuse it
	for _, test := range []struct {
		name, kind, body, reason string
	}{
		{"a form", formType, token(), accepted},
		{"with a charset", formType + ";charset=UTF-8", token(), accepted},
		{"with other parameters", formType, "a=b&" + token() + "&a=c", accepted},
		{"JSON", "application/json", token(), "the content type is not application/x-www-form-urlencoded"},
		{"the token itself", "application/logout+jwt", token()[len("logout_token="):], "the content type is not"},
		{"multipart", "multipart/form-data; boundary=x", token(), "the content type is not"},
		{"no type", "", token(), "the content type is not"},
		{"a malformed type", formType + ";", token(), accepted},
		{"two types", formType + ", " + formType, token(), "the content type is not"},
		{"twice", formType, token() + "&" + token(), "want logout_token once"},
		{"none", formType, "a=b", "want logout_token once"},
		{"empty", formType, "", "want logout_token once"},
		{"not a form", formType, "%zz&" + token(), "the body is not a form"},
		{"64 KB and a byte", formType, token() + "&x=" + strings.Repeat("x", 64<<10), "more than 65536 bytes"},
		{"a megabyte", formType, strings.Repeat("x", 1<<20), "more than 65536 bytes"},
		{"a megabyte of token", formType, "logout_token=" + strings.Repeat("x", 1<<20), "more than 65536 bytes"},
		{"a thousand parameters", formType, strings.Repeat("a&", 1000) + token(), accepted},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, body := post(t, s, backChannel, test.kind, strings.NewReader(test.body))
			if test.reason == accepted {
				if res.StatusCode != http.StatusOK || body != "" {
					t.Errorf("status %d, %s", res.StatusCode, body)
				}
				return
			}
			refuses(t, res, body, test.reason)
		})
	}
	res, body := post(t, s, backChannel+"?"+token(), formType, strings.NewReader(""))
	refuses(t, res, body, "want logout_token once") // the URL does not count
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete, http.MethodOptions} {
		res, _ := frame(t, s, method, s.URL+backChannel+"?"+token())
		if res.StatusCode != http.StatusMethodNotAllowed || res.Header.Get("Allow") != "POST" || res.Header.Get("Cache-Control") != "no-store" || len(res.Cookies()) > 0 {
			t.Errorf("%s: status %d, header %v", method, res.StatusCode, res.Header)
		}
	}
	// Middleware before the app's may have read the form.
	mux := http.NewServeMux()
	mux.HandleFunc("/auth/", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		s.Auth.ServeHTTP(w, r)
	})
	s.Current.Store(mux)
	accepts(t, s, token()[len("logout_token="):])
	res, body = post(t, s, backChannel+"?"+token(), formType, strings.NewReader(""))
	refuses(t, res, body, "want logout_token once")
}

// A token is used once, for as long as it would be accepted.
func TestBackChannelTokenIsUsedOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := generic(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		time.Sleep(time.Second)
		in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
		for name, changes := range map[string]func() map[string]any{
			"exp in two minutes": func() map[string]any { return nil },
			"a late exp":         func() map[string]any { return map[string]any{"exp": in(48 * time.Hour)} },
			"no exp":             func() map[string]any { return map[string]any{"exp": nil} },
			"iat ahead":          func() map[string]any { return map[string]any{"exp": nil, "iat": in(4 * time.Minute)} },
		} {
			token := s.MS.LogoutToken(msauthtest.Ada, "", changes())
			accepts(t, s, token)
			time.Sleep(time.Second)
			b.SignIn(msauthtest.Ada)
			for used := false; ; time.Sleep(10 * time.Second) {
				res, body := call(t, s, token)
				if strings.Contains(body, "used before") {
					used = true
					continue
				}
				if refuses(t, res, body, "expired "); !used {
					t.Errorf("%s: never refused as used", name)
				}
				break
			}
			b.WantGreeting(testsite.HelloAda)
		}
		// Another token with the same id is a repetition too, and another id is none.
		for i, jti := range []string{"a", "b", "a"} {
			res, body := call(t, s, s.MS.LogoutToken(msauthtest.Grace, "", map[string]any{"jti": jti}))
			if i == 2 {
				refuses(t, res, body, "used before")
			} else if res.StatusCode != http.StatusOK {
				t.Error(body)
			}
		}
	})
}

// Of many deliveries of one token at once, one counts.
func TestBackChannelTokenManyTimesAtOnce(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Restart(t, testsite.Generic(s))
	token := s.MS.LogoutToken(msauthtest.Ada, "", nil)
	var all sync.WaitGroup
	var mu sync.Mutex
	statuses := map[int]int{}
	for range 20 {
		all.Go(func() {
			res, _ := call(t, s, token)
			mu.Lock()
			defer mu.Unlock()
			statuses[res.StatusCode]++
		})
	}
	all.Wait()
	if statuses[200] != 1 || statuses[400] != 19 {
		t.Errorf("%v", statuses)
	}
}

// Strangers cause few requests and few log lines.
func TestBackChannelOfStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := generic(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.MS.ResetCalls()
		for range 100 {
			call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", map[string]any{"nonce": "n"}))
		}
		s.WantNoCalls(t)
		refused := func(want ...string) {
			t.Helper()
			lines := s.Log.With("event=back_channel_refused")
			if len(lines) != len(want) {
				t.Fatalf("%d log lines, want %d: %q", len(lines), len(want), lines)
			}
			for i, line := range lines {
				if !strings.Contains(line, "level=WARN") || !strings.Contains(line, want[i]) {
					t.Errorf("log line %q, want %q", line, want[i])
				}
			}
		}
		refused("skipped=0")
		s.MS.Set(func(b *msauthtest.Behavior) { b.Signing = msauthtest.SignUnpublished })
		for range 100 {
			call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", nil))
		}
		s.WantCalls(t, msauthtest.Keys, 1)
		refused("skipped=0")
		time.Sleep(time.Minute)
		call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", nil))
		refused("nonce is there", "skipped=199")
		time.Sleep(4*time.Minute - time.Second)
		call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", nil))
		s.WantCalls(t, msauthtest.Keys, 1)
		time.Sleep(time.Second)
		call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", nil))
		s.WantCalls(t, msauthtest.Keys, 2)
		refused("nonce is there", "skipped=199", "skipped=0")
		b.WantGreeting(testsite.HelloAda)
	})
}

// Without the provider's keys a token cannot be judged: the provider may send it
// again.
func TestBackChannelWithoutKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := generic(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		s.Restart(t)
		s.MS.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Keys] = msauthtest.Failure{Status: 503} })
		time.Sleep(time.Second)
		token := s.MS.LogoutToken(msauthtest.Ada, "", nil)
		res, body := call(t, s, token)
		refuses(t, res, body, "the keys of the provider cannot be read")
		if strings.Contains(body, "503") || strings.Contains(body, s.MS.URL) || len(s.Log.With("HTTP status 503")) != 1 {
			t.Errorf("%s\n%s", body, s.Log)
		}
		b.WantGreeting(testsite.HelloAda)
		s.MS.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.Keys) })
		time.Sleep(10 * time.Second)
		accepts(t, s, token)
		b.WantGreeting(testsite.HelloNobody)
	})
}

// Neither cookies nor headers of a browser matter.
func TestBackChannelReadsNoCookies(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	s.Restart(t, testsite.Generic(s))
	b, other := s.Browser(t), s.Browser(t)
	b.SignIn(msauthtest.Ada)
	other.SignIn(msauthtest.Grace)
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
	r, err := http.NewRequest(http.MethodPost, s.URL+backChannel, strings.NewReader("logout_token="+s.MS.LogoutToken(msauthtest.Ada, "", nil)))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", formType)
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if res := other.Send(r); res.StatusCode != http.StatusOK || len(res.Cookies()) > 0 {
		t.Errorf("status %d, cookies %v", res.StatusCode, res.Cookies())
	}
	other.WantGreeting("hello Grace Achterberg")
	b.WantGreeting(testsite.HelloNobody)
}

// Microsoft has no back channel: the address is like any other that there is not.
func TestBackChannelAtMicrosoft(t *testing.T) {
	t.Parallel()
	for name, issuer := range map[string]string{"Entra": "", "External ID": testsite.ExternalIDIssuer, "B2C": testsite.B2cIssuer} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := testsite.NewInProcess(t)
			if issuer != "" {
				s.Restart(t, testsite.Issuer(issuer))
			}
			_, want := post(t, s, "/auth/nothing-here", formType, strings.NewReader(""))
			res, body := call(t, s, s.MS.LogoutToken(msauthtest.Ada, "", nil))
			if res.StatusCode != http.StatusNotFound || body != want {
				t.Errorf("status %d, %s", res.StatusCode, body)
			}
			s.WantNoCalls(t)
			if lines := s.Log.With("back_channel"); len(lines) > 0 {
				t.Errorf("log lines: %q", lines)
			}
		})
	}
}
