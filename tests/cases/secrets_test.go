package cases_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// An ear hears all that a site says: log lines, pages, headers, errors and what
// prints of its values.
type ear struct {
	mu    sync.Mutex
	heard []string
}

func (e *ear) hear(what ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, v := range what {
		for _, verb := range []string{"%v", "%+v", "%#v", "%q", "%x", "%s", "%d"} {
			e.heard = append(e.heard, fmt.Sprintf(verb, v))
		}
		for err, ok := v.(error); ok && err != nil; err = errors.Unwrap(err) {
			e.heard = append(e.heard, fmt.Sprintf("%+v %#v", err, err), err.Error())
		}
	}
}

// listen takes in an answer, but for cookies and the way to the provider.
func (e *ear) listen(s *testsite.Site, res testsite.Seen) testsite.Seen {
	header := res.Header.Clone()
	header.Del("Set-Cookie")
	if strings.HasPrefix(header.Get("Location"), s.MS.URL+"/") {
		header.Del("Location")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, res.Text, fmt.Sprint(header))
	return res
}

// overheard are the secrets of a site in every spelling.
func overheard(s *testsite.Site, c *testCase, e *ear) {
	c.Helper()
	secrets := map[string]string{}
	add := func(what string, values ...string) {
		for _, value := range values {
			if len(value) < 8 {
				continue
			}
			secrets[value] = what
			secrets[hex.EncodeToString([]byte(value))] = what + " in hex"
			secrets[base64.StdEncoding.EncodeToString([]byte(value))[:len(value)/3*4]] = what + " in base64"
			secrets[base64.URLEncoding.EncodeToString([]byte(value))[:len(value)/3*4]] = what + " in base64url"
		}
	}
	add("a code, a token or the client secret", s.MS.Secrets()...)
	for _, kind := range []msauthtest.Kind{msauthtest.TokenCode, msauthtest.TokenRefresh} {
		for _, call := range s.MS.Calls(kind) {
			for _, name := range []string{"code", "code_verifier", "client_secret", "refresh_token"} {
				add(name, call.Form.Get(name))
			}
		}
	}
	for _, key := range s.Cfg.Keys {
		add("a key", string(key))
		secrets[fmt.Sprint(key)] = "a key as numbers"
		secrets[strings.Trim(fmt.Sprint(key), "[]")] = "a key as numbers"
	}
	for _, value := range s.Watched() {
		if len(value) >= 16 {
			secrets[value] = "a cookie's value, state or nonce"
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.heard = append(e.heard, s.Log.String())
	if len(e.heard) < 20 || len(secrets) < 8 {
		c.Errorf("%d texts were heard of %d secrets: the test hears nothing", len(e.heard), len(secrets))
	}
	all := strings.Join(e.heard, "\n\x00\n")
	for secret, what := range secrets {
		if at := strings.Index(all, secret); at >= 0 {
			from := max(0, at-150)
			c.Errorf("%s is said: ...%q", what, all[from:at])
		}
	}
}

// flow goes through everything once, whatever of it works.
func flow(s *testsite.Site, c *testCase, e *ear) {
	c.Helper()
	s.As(msauthtest.Ada)
	b := s.Browser(c.T)
	still := b.Still()
	get := func(target string, header ...string) testsite.Seen { return e.listen(s, still.Get(target, header...)) }
	start := get("/a?x=1")
	if to := start.Header.Get("Location"); to != "" {
		res := still.Get(to) // the provider's own
		if back := res.Header.Get("Location"); strings.HasPrefix(back, s.URL) {
			stranger := s.Browser(c.T).Still()
			e.listen(s, stranger.Get(back))
			get(back + "&code=twice")
			get(strings.Replace(back, "state=", "state=x", 1))
			get(back)
			get(back) // again
		}
	}
	get("/print")
	time.Sleep(time.Hour)
	get("/print")
	get("/a", testsite.Script...)
	get("/public/", "Cookie", strings.ReplaceAll(b.CookieLine(), "A", "B"))
	get("/print", "Sec-Purpose", "prefetch")
	time.Sleep(2 * time.Hour)
	get("/print")
	get("/auth/login?login_hint=x")
	get("/auth/login?prompt=bad")
	get("/auth/logout")
	get("/auth/logout", testsite.SameOrigin...)
	get("/auth/signed-out")
	get("/auth/callback?error=access_denied&state=x&code=y")
	e.hear(s.Auth.Ready(c.Context()), s.Auth, s.Cfg, &s.Cfg, s.Auth.Stats())
}

func TestCase133_SecretsAreSaidNowhere(t *testing.T) {
	c := newCase(t)
	every := []msauthtest.Kind{msauthtest.Discovery, msauthtest.Keys, msauthtest.Authorize, msauthtest.TokenCode, msauthtest.TokenRefresh}
	failures := map[string]msauthtest.Failure{"nothing": {}, "not found": {Status: 404}, "claims": {Error: "interaction_required", Suberror: "basic_action", Claims: `{"access_token":{}}`}}
	for name, failure := range transient {
		failures[name] = failure
	}
	for _, name := range []string{"invalid_grant", "invalid_client", "unauthorized_client", "invalid_request", "access_denied", "consent_required"} {
		failures[name] = msauthtest.Failure{Error: name, Description: "AADSTS1: \r\n\t no"}
	}
	tampers := map[string]func(*msauthtest.Behavior){}
	for _, kind := range every {
		for name, failure := range failures {
			if kind == msauthtest.Authorize && (failure.Hang || failure.Close) {
				continue // this breaks the browser, not the app
			}
			tampers[fmt.Sprint(kind, ": ", name)] = func(b *msauthtest.Behavior) { b.FailAlways[kind] = failure }
		}
	}
	for _, how := range []msauthtest.Signing{msauthtest.SignNone, msauthtest.SignHS256Secret, msauthtest.SignUnknownKey, msauthtest.SignTruncated} {
		tampers["signed "+string(how)] = signed(how)
	}
	for _, name := range []string{"iss", "aud", "nonce", "exp", "tid", "sub", "at_hash", "name", "email"} {
		tampers["claim "+name] = claimIs(name, []any{1})
	}
	for _, field := range []string{"access_token", "refresh_token", "id_token", "expires_in", "token_type", "scope"} {
		tampers["reply without "+field] = func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { delete(reply, field) }
		}
		tampers["reply with a strange "+field] = func(b *msauthtest.Behavior) {
			b.TokenReply = func(_ msauthtest.Kind, reply map[string]any) { reply[field] = []any{reply["access_token"]} }
		}
	}
	for name, tamper := range tampers {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				e := &ear{}
				s := testsite.NewInProcess(c.T, func(cfg *msauth.Config) {
					cfg.Page = func(w http.ResponseWriter, r *http.Request, p msauth.Page) {
						e.hear(p, p.Err)
						w.WriteHeader(p.Status)
						fmt.Fprintf(w, `<main id="msauth-%s">`, p.Kind)
					}
					cfg.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
						e.hear(in, *in)
						return nil
					}
				})
				s.Mux.Handle("/print", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					session, _ := msauth.FromContext(r.Context())
					_, err := session.Token(r.Context())
					e.hear(session, err, r.Context(), session.Client(r.Context()), session.TokenSource(r.Context()), session.Scopes())
					if session != nil {
						e.hear(*session, session.User)
						_, err = session.Client(r.Context()).Get("http://localhost:9/v1.0/nothing?x")
						e.hear(err)
					}
				})))
				s.Lifetime(50 * time.Minute)
				s.MS.Set(tamper)
				flow(s, c, e)
				s.MS.Set(func(b *msauthtest.Behavior) { *b = msauthtest.Behavior{} })
				overheard(s, c, e)
				c.logged(s, "confirm", 0)
			})
		})
	}
}

// Only once things work, something else stops to.
func TestCase133_SecretsOfARenewalThatFails(t *testing.T) {
	c := newCase(t)
	for name, failure := range transient {
		c.run(name, func(c *testCase) {
			c.bubble(func(c *testCase) {
				e := &ear{}
				s := testsite.NewInProcess(c.T)
				s.Lifetime(time.Hour)
				b, _ := testsite.AdaSession(c.T, s)
				s.Failing(failure)
				for range 15 {
					time.Sleep(30 * time.Minute)
					if res := b.Get("/?token", testsite.Script...); res.StatusCode != 200 { // the handler shows the error, or the token
						e.listen(s, res)
					}
					e.listen(s, b.Get("/a"))
					e.hear(s.Auth.Ready(c.Context()), s.Auth.Stats())
				}
				overheard(s, c, e)
				c.calls(s, msauthtest.TokenCode, 1)
			})
		})
	}
}

// A provider, or something before it, that sends back what it was sent.
func TestCase133_ProviderThatEchoes(t *testing.T) {
	c := newCase(t)
	for _, status := range []int{400, 401, 500} {
		for _, kind := range []msauthtest.Kind{msauthtest.TokenCode, msauthtest.TokenRefresh} {
			c.run(fmt.Sprint(kind, status), func(c *testCase) {
				c.bubble(func(c *testCase) {
					e := &ear{}
					s := testsite.NewInProcess(c.T)
					s.Lifetime(time.Hour)
					b := s.Browser(c.T)
					if kind == msauthtest.TokenRefresh {
						b.SignIn(msauthtest.Ada)
					}
					s.As(msauthtest.Ada)
					s.MS.Set(func(b *msauthtest.Behavior) {
						b.FailAlways[kind] = msauthtest.Failure{Handler: func(w http.ResponseWriter, r *http.Request) {
							w.Header().Set("Content-Type", "application/json")
							w.WriteHeader(status)
							f := r.PostForm
							fmt.Fprintf(w, `{"error":"invalid_grant","error_description":"%.60s %s %s %s","suberror":%q,"trace_id":%q}`,
								f.Get("code")+f.Get("refresh_token"), f.Get("code")+f.Get("refresh_token"), f.Get("client_secret"), f.Get("code_verifier"), f.Get("client_secret"), f.Get("code_verifier"))
						}}
					})
					for range 3 {
						e.listen(s, b.Get("/a"))
						if res := b.Get("/?token", testsite.Script...); res.StatusCode != 200 {
							e.listen(s, res)
						}
						e.hear(s.Auth.Ready(c.Context()))
						for range 20 {
							e.hear("quiet")
						}
						time.Sleep(time.Hour)
					}
					overheard(s, c, e)
					c.logged(s, "no such line", 0)
				})
			})
		}
	}
}
