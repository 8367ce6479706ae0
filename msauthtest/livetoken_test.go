package msauthtest_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/msauthtest"
)

const (
	missingParameter = "The provided request must include a '%' input parameter."
	expiredGrant     = "The user could not be authenticated or the grant is expired."
	mustMatch        = "The provided value for the 'redirect_uri' is not valid. The value must exactly match"
)

func TestLiveTokenRequestsThatAreRefused(t *testing.T) {
	t.Parallel()
	missing := func(name string) string { return strings.Replace(missingParameter, "%", name, 1) }
	const code, renewal = "code", "renewal"
	tests := []struct {
		name, grant string
		pairs       []string
		want        string
		text        string
	}{
		{"no secret", code, []string{"client_secret", "-"}, "invalid_client", missing("client_secret")},
		{"another secret", code, []string{"client_secret", "x"}, "invalid_client", "The provided value for the input parameter 'client_secret' is not valid."},
		{"no client", code, []string{"client_id", "-"}, "invalid_request", missing("client_id")},
		{"another client", code, []string{"client_id", "00000000603E0BFE"}, "invalid_client", "The client does not exist."},
		{"an assertion", code, []string{"client_secret", "-", "client_assertion", "x", "client_assertion_type", "y"}, "invalid_client", missing("client_secret")},
		{"no grant type", code, []string{"grant_type", "-"}, "invalid_request", missing("grant_type")},
		{"another grant type", code, []string{"grant_type", "password"}, "unsupported_grant_type", ""},
		{"no code", code, []string{"code", "-"}, "invalid_request", missing("code")},
		{"another code", code, []string{"code", "M123"}, "invalid_grant", "The provided value for the input parameter 'code' is not valid."},
		{"no redirect URI", code, []string{"redirect_uri", "-"}, "invalid_request", missing("redirect_uri")},
		{"another redirect URI", code, []string{"redirect_uri", redirectURI + "/"}, "invalid_grant", mustMatch},

		{"no refresh token", renewal, []string{"refresh_token", "-"}, "invalid_request", missing("refresh_token")},
		{"another refresh token", renewal, []string{"refresh_token", "MC123"}, "invalid_grant", expiredGrant},
		{"no redirect URI", renewal, []string{"redirect_uri", "-"}, "invalid_request", missing("redirect_uri")},
		{"another redirect URI", renewal, []string{"redirect_uri", redirectURI + "/"}, "invalid_grant", mustMatch},
		{"a scope that was not granted", renewal, []string{"scope", "wl.basic wl.emails"}, "invalid_grant", expiredGrant},
		{"a scope of Graph", renewal, []string{"scope", "User.Read"}, "invalid_scope", ""},
	}
	for _, tt := range tests {
		t.Run(tt.grant+": "+tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			form := a.codeForm(a.pick(msauthtest.Mia), tt.pairs...)
			if tt.grant == renewal {
				form = a.refreshForm(a.signIn(msauthtest.Mia)["refresh_token"], tt.pairs...)
			}
			doc := a.want(form, tt.want)
			text, _ := doc["error_description"].(string)
			if !strings.HasPrefix(text, tt.text) || text == "" || len(doc) != 2 {
				t.Errorf("%v, want %q", doc, tt.text)
			}
		})
	}
}

func TestLiveCodeIsGoodForOneAttempt(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	code := a.pick(msauthtest.Mia)
	a.want(a.codeForm(code), "")
	a.want(a.codeForm(code), "invalid_grant")

	code = a.pick(msauthtest.Mia)
	a.want(a.codeForm(code, "redirect_uri", "http://localhost:8080/other"), "invalid_grant")
	a.want(a.codeForm(code), "invalid_grant")
}

func TestLiveGrantsOfOtherProviders(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	a.want(a.codeForm(a.app.pick(msauthtest.Mia, "scope", "openid offline_access User.Read").Get("code")), "invalid_grant")
	rep := a.app.signIn(msauthtest.Mia, "scope", "openid offline_access User.Read")
	a.want(a.refreshForm(rep.RefreshToken), "invalid_grant")
	doc := a.signIn(msauthtest.Mia)
	if got := a.mustToken(a.app.refreshForm(doc["refresh_token"].(string))); got.Error != "invalid_grant" {
		t.Errorf("at Entra: %+v", got)
	}
	if res, _ := a.graph(a.ms.URL+"/v1.0/me", doc["access_token"].(string)); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("Graph with Live Connect's access token: %d", res.StatusCode)
	}
}

func TestLivePKCE(t *testing.T) {
	t.Parallel()
	challenged := []string{"code_challenge", challenge(verifier), "code_challenge_method", "S256"}
	tests := []struct {
		name     string
		honored  bool
		verifier string
		pairs    []string
		want     string
	}{
		{"ignored", false, "wrong", challenged, ""},
		{"ignored, none", false, "-", challenged, ""},
		{"honored", true, verifier, challenged, ""},
		{"honored, wrong", true, "wrong", challenged, "invalid_grant"},
		{"honored, none", true, "-", challenged, "invalid_grant"},
		{"honored, not used", true, "-", nil, ""},
		{"honored, without a challenge", true, verifier, nil, "invalid_grant"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			a.ms.Set(func(b *msauthtest.Behavior) { b.LivePKCE, b.AutoSignIn = tt.honored, msauthtest.Mia })
			res, _ := a.authorize(tt.pairs...)
			a.want(a.codeForm(a.answer(res).Get("code"), "code_verifier", tt.verifier), tt.want)
			if tt.pairs != nil && a.ms.Calls(msauthtest.Authorize)[0].Query.Get("code_challenge") != challenge(verifier) {
				t.Error("Calls lacks the challenge")
			}
		})
	}
}

// What makes the token endpoint of Entra refuse a renewal makes this one, too.
func TestLiveBehaviorOfRenewals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		change func(*msauthtest.Behavior)
		act    func(a *liveApp)
		want   string
	}{
		{"revoked", nil, func(a *liveApp) { a.ms.Revoke(msauthtest.Mia) }, "invalid_grant"},
		{"withdrawn", nil, func(a *liveApp) { a.ms.Withdraw(msauthtest.Mia, "wl.basic") }, "invalid_grant"},
		{"disabled", nil, func(a *liveApp) {
			u := a.ms.Users()[2]
			u.Disabled = true
			a.ms.SetUser(u)
		}, "invalid_grant"},
		{"now a work account", nil, func(a *liveApp) {
			u := a.ms.Users()[2]
			u.TenantID = msauthtest.TenantContoso
			a.ms.SetUser(u)
		}, "invalid_grant"},
		{"MFA", func(b *msauthtest.Behavior) { b.RequireMFA = true }, nil, "invalid_grant"},
		{"consent", func(b *msauthtest.Behavior) { b.RequireConsent = true }, nil, "invalid_grant"},
		{"a secret that has expired", nil, func(a *liveApp) { a.ms.Secret().Expire() }, "invalid_client"},
		{"Revoked", func(b *msauthtest.Behavior) {
			b.Revoked = msauthtest.Failure{Error: "unknown_user", Status: 400, Description: "gone"}
		}, func(a *liveApp) { a.ms.Revoke(msauthtest.Mia) }, "unknown_user"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			doc := a.signIn(msauthtest.Mia)
			if tt.change != nil {
				a.ms.Set(tt.change)
			}
			if tt.act != nil {
				tt.act(a)
			}
			refused := a.want(a.refreshForm(doc["refresh_token"]), tt.want)
			if len(refused) != 2 {
				t.Errorf("%v, want two members", refused)
			}
		})
	}
}

func TestLiveRotation(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	doc := a.signIn(msauthtest.Mia)
	first := doc["refresh_token"]
	a.want(a.refreshForm(first), "")
	a.want(a.refreshForm(first), "") // it stays valid

	a.ms.Set(func(b *msauthtest.Behavior) { b.Rotation = msauthtest.RotateSame })
	if again := a.want(a.refreshForm(first), ""); again["refresh_token"] != first {
		t.Errorf("RotateSame: %v", again)
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.Rotation, b.OmitRefreshToken = "", true })
	if again := a.want(a.refreshForm(first), ""); again["refresh_token"] != nil {
		t.Errorf("OmitRefreshToken: %v", again)
	}
	a.ms.Set(func(b *msauthtest.Behavior) { b.Rotation, b.OmitRefreshToken = msauthtest.RotateStrict, false })
	first = a.signIn(msauthtest.Mia)["refresh_token"]
	next := a.want(a.refreshForm(first), "")["refresh_token"]
	a.want(a.refreshForm(first), "invalid_grant")
	a.want(a.refreshForm(next), "invalid_grant")

	// Of many at once, one is answered.
	first = a.signIn(msauthtest.Mia)["refresh_token"]
	var group sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		group.Go(func() {
			if status, _ := a.token(a.refreshForm(first)); status == http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	group.Wait()
	if good != 1 {
		t.Errorf("%d renewals with one token, want 1", good)
	}
}

func TestLiveLifetimes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ms := msauthtest.New("http://localhost:9")
		a := &liveApp{newApp(t, ms), ms.LiveAuthority()}
		a.scope = "wl.signin wl.offline_access"
		a.newBrowser(ms.Transport())
		code := a.pick(msauthtest.Mia)
		time.Sleep(11 * time.Minute)
		a.want(a.codeForm(code), "invalid_grant")

		ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 90 * time.Second })
		doc := a.signIn(msauthtest.Mia)
		if doc["expires_in"] != 90.0 {
			t.Errorf("expires_in: %v", doc["expires_in"])
		}
		if exp := payload(t, doc["authentication_token"].(string))["exp"]; exp != float64(time.Now().Add(24*time.Hour).Unix()) {
			t.Errorf("exp: %v", exp)
		}
		time.Sleep(89 * 24 * time.Hour)
		a.want(a.refreshForm(doc["refresh_token"]), "")
		time.Sleep(2 * 24 * time.Hour)
		a.want(a.refreshForm(doc["refresh_token"]), "invalid_grant")
	})
}

// Failures are those of the other endpoints, in Live Connect's words.
func TestLiveFailures(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		failure   msauthtest.Failure
		status    int
		wantError string
		want      string
	}{
		{"an error", msauthtest.Failure{Error: "invalid_grant"}, 400, "invalid_grant", expiredGrant},
		{"an error and a number", msauthtest.Failure{Error: "invalid_grant", Codes: []int{50196}}, 400, "invalid_grant", expiredGrant},
		{"a number", msauthtest.Failure{Codes: []int{50173}}, 400, "invalid_grant", expiredGrant},
		{"the client", msauthtest.Failure{Error: "invalid_client"}, 400, "invalid_client", "The provided value for the input parameter 'client_secret' is not valid."},
		{"a text", msauthtest.Failure{Error: "invalid_grant", Codes: []int{50173}, Description: "so it is"}, 400, "invalid_grant", "so it is"},
		{"a text and an unknown number", msauthtest.Failure{Error: "invalid_grant", Codes: []int{1}, Description: "so it is"}, 400, "invalid_grant", "so it is"},
		{"server", msauthtest.Failure{Error: "server_error"}, 500, "server_error", "The server encountered an unexpected error."},
		{"busy", msauthtest.Failure{Error: "temporarily_unavailable"}, 503, "temporarily_unavailable", "The server is temporarily unavailable."},
		{"with status 200", msauthtest.Failure{Error: "invalid_grant", Status: 200}, 200, "invalid_grant", expiredGrant},
		{"another error", msauthtest.Failure{Error: "slow_down"}, 400, "slow_down", "The provided request is not valid."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newLive(t)
			a.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.TokenRefresh] = tt.failure })
			doc := a.signIn(msauthtest.Mia)
			status, doc := a.token(a.refreshForm(doc["refresh_token"]))
			text, _ := doc["error_description"].(string)
			if status != tt.status || doc["error"] != tt.wantError || !strings.HasPrefix(text, tt.want) || len(doc) != 2 {
				t.Errorf("%d %v", status, doc)
			}
		})
	}
}

func TestLiveFailuresInPlaceOfAnswers(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	// A suberror and claims are sent if a test asks for them.
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Error: "interaction_required", Suberror: "basic_action", Claims: "{}"}}
	})
	if doc := a.want(a.codeForm("x"), "interaction_required"); doc["suberror"] != "basic_action" || doc["claims"] != "{}" {
		t.Errorf("reply: %v", doc)
	}

	// A reply that is lost has rotated the refresh token.
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Rotation = msauthtest.RotateStrict
		b.Fail[msauthtest.TokenRefresh] = []msauthtest.Failure{{LoseReply: true}}
	})
	lost := a.refreshForm(a.signIn(msauthtest.Mia)["refresh_token"])
	if _, err := a.browser.PostForm(a.base+"/oauth20_token.srf", lost); err == nil {
		t.Error("LoseReply: an answer")
	}
	a.want(lost, "invalid_grant")

	a.ms.Revoke(msauthtest.Mia) // nobody is signed in, for what follows
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Rotation = ""
		b.AnswerIssuer, b.AuthorizeAnswer = true, func(answer url.Values) { answer.Set("x", "y") }
		b.AutoSignIn = msauthtest.Mia
	})
	if res, _ := a.authorize(); a.answer(res).Get("x") != "y" || a.answer(res).Has("iss") {
		t.Errorf("answer: %v", a.answer(res))
	}
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.Fail[msauthtest.Authorize] = []msauthtest.Failure{{Error: "server_error"}, {Status: 503}, {Error: "access_denied"}}
		b.Fail[msauthtest.TokenCode] = []msauthtest.Failure{{Close: true}, {Status: 502, Body: "<html>", Header: http.Header{"Content-Type": {"text/html"}}}}
	})
	for _, want := range []string{"server_error", "", "access_denied"} {
		res, _ := a.authorize()
		switch {
		case want == "" && res.StatusCode != 503:
			t.Errorf("authorize: %d, want 503", res.StatusCode)
		case want != "" && a.answer(res).Get("error") != want:
			t.Errorf("authorize: %v, want %s", a.answer(res), want)
		}
	}
	if _, err := a.browser.PostForm(a.base+"/oauth20_token.srf", a.codeForm("x")); err == nil {
		t.Error("Close: an answer")
	}
	res, err := a.browser.PostForm(a.base+"/oauth20_token.srf", a.codeForm("x"))
	if err != nil || res.StatusCode != 502 || body(t, res) != "<html>" {
		t.Errorf("Body: %v %v", res, err)
	}
}

// The forms in which replies have been seen, or might come.
func TestLiveReplies(t *testing.T) {
	t.Parallel()
	a := newLive(t)
	send := func() (*http.Response, string) {
		res, err := a.browser.PostForm(a.base+"/oauth20_token.srf", a.codeForm(a.pick(msauthtest.Mia)))
		if err != nil {
			t.Fatal(err)
		}
		return res, body(t, res)
	}
	res, text := send()
	if res.Header.Get("Content-Type") != "application/json; charset=utf-8" || res.Header.Get("Cache-Control") != "no-store" || !json.Valid([]byte(text)) {
		t.Errorf("%v %s", res.Header, text)
	}
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.ExpiresIn = "3600"
		b.TokenReply = func(grant msauthtest.Kind, reply map[string]any) {
			if grant == msauthtest.TokenCode {
				reply["scope"] = strings.ReplaceAll(reply["scope"].(string), " ", ",")
				delete(reply, "authentication_token")
				delete(reply, "refresh_token")
			}
		}
	})
	if doc := a.signIn(msauthtest.Mia); doc["expires_in"] != "3600" || doc["scope"] != "wl.signin,wl.basic,wl.offline_access" || doc["authentication_token"] != nil || doc["refresh_token"] != nil {
		t.Errorf("reply: %v", doc)
	}
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.LiveReply = func(w http.ResponseWriter, grant msauthtest.Kind, status int, reply map[string]any) {
			form := url.Values{}
			for name, value := range reply {
				text, _ := value.(string)
				form.Set(name, text)
			}
			w.Header().Set("Content-Type", "application/x-www-form-urlencoded")
			w.WriteHeader(http.StatusAccepted)
			w.Write([]byte(form.Encode()))
		}
	})
	res, text = send()
	if form, err := url.ParseQuery(text); err != nil || res.StatusCode != 202 || form.Get("token_type") != "bearer" || form.Get("expires_in") != "3600" {
		t.Errorf("LiveReply: %d %s", res.StatusCode, text)
	}
	res, err := a.browser.PostForm(a.base+"/oauth20_token.srf", a.codeForm("x"))
	if err != nil {
		t.Fatal(err)
	}
	if text := body(t, res); res.StatusCode != 202 || !strings.Contains(text, "error=invalid_grant") {
		t.Errorf("LiveReply of an error: %d %s", res.StatusCode, text)
	}
}
