package live_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What stands from here to the first test is that of docs/live-sdk.md.

// atLiveConnect is new LiveAuthClient(clientId, clientSecretMap, redirectUrl,
// refreshTokenHandler).
func atLiveConnect(clientID, newSecret, oldSecret string, key []byte, handler msauth.TokenStore) msauth.Config {
	return msauth.Config{
		Authority: "https://login.live.com",
		ClientID:  clientID,
		Credentials: []msauth.Credential{ // clientSecretMap: the newest calls, both verify
			msauth.Secret(newSecret).WithVersion(1),
			msauth.Secret(oldSecret).WithVersion(0),
		},
		BaseURL: "https://app.example.com/auth", // the redirect URI is this and "/callback"
		Scopes:  []string{"wl.basic"},           // wl.signin and wl.offline_access are always requested
		Keys:    [][]byte{key},
		Tokens:  handler,
	}
}

// account is a page that branches on LiveLoginResult.Status.
func account(auth *msauth.Middleware) http.Handler {
	return auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // InitializeWebSessionAsync
		login := html.EscapeString(auth.LoginURL(msauth.LoginOptions{ // GetLoginUrl
			ReturnTo: "/account", ReturnDeclined: true, UILocales: "fr-CA",
		}))
		switch auth.Status(r) {
		case msauth.StatusConnected:
			s, _ := msauth.FromContext(r.Context())
			// CurrentUserId, and a link for GetLogoutUrl and ClearSession
			fmt.Fprintf(w, `<p>You are %s. <a href="%s">Sign out</a>`, html.EscapeString(s.User.Subject), auth.LogoutURL())
		case msauth.StatusExpired:
			fmt.Fprintf(w, `<p>Your session has ended. <a href="%s">Sign in again</a>`, login)
		case msauth.StatusNotConnected: // access_denied
			fmt.Fprintf(w, `<p>You did not connect your account. <a href="%s">Connect it</a>`, login)
		default:
			fmt.Fprintf(w, `<p><a href="%s">Sign in</a>`, login)
		}
	}))
}

// session prints what LiveConnectSession had.
func session(w http.ResponseWriter, r *http.Request) {
	s, _ := msauth.FromContext(r.Context())
	access, err := s.Token(r.Context()) // AccessToken, renewed if need be
	if err != nil {
		http.Error(w, "Try again in a moment.", http.StatusServiceUnavailable)
		return
	}
	identity, err := s.AuthenticationToken() // AuthenticationToken
	if err != nil {
		http.Error(w, "Sign in again.", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, len(access.AccessToken), len(identity), s.Expiry(), s.Scopes()) // Expires, Scopes
}

// caller is GetUserId(authenticationToken), in another part of the site: an app or
// another server sends the token, as a bearer token for example.
func caller(auth *msauth.Middleware, r *http.Request) (user string, err error) {
	token, found := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !found {
		return "", errors.New("no authentication token")
	}
	u, err := auth.VerifyAuthenticationToken(r.Context(), token)
	return u.Key(), err
}

// contacts is a page that asks for one scope more, on the first visit.
func contacts(auth *msauth.Middleware, page http.Handler) http.Handler {
	return auth.RequireScopes("wl.contacts_emails")(page) // GetLoginUrl with more scopes
}

// work is what a timer does for somebody who is away: InitializeSessionAsync, which
// renews with RetrieveRefreshTokenAsync and SaveRefreshTokenAsync of the handler.
func work(ctx context.Context, auth *msauth.Middleware, user string) (*http.Client, error) {
	s, err := auth.Offline(ctx, user)
	if err != nil {
		return nil, err // msauth.ErrSignInRequired is LiveConnectSessionStatus.Expired
	}
	return s.Client(ctx), nil
}

// Every call of the Live SDK, at https://login.live.com: the address is the real one,
// and the stand-in answers there.
func TestEachCallOfTheLiveSDK(t *testing.T) {
	t.Parallel()
	newSecret := "a-new-client-secret-that-must-not-be-shown"
	s := testsite.NewInProcess(t, func(c *msauth.Config) {
		live := atLiveConnect(c.ClientID, newSecret, c.ClientSecret, c.Keys[0], testsite.NewTokens())
		live.BaseURL, live.HTTPClient, live.Logger = c.BaseURL, c.HTTPClient, c.Logger
		*c = live
	})
	s.MS.AddSecret(newSecret)
	s.Mux.Handle("/account", account(s.Auth))
	s.Mux.Handle("/session", s.Auth.Require(http.HandlerFunc(session)))
	s.Mux.Handle("/contacts", contacts(s.Auth, http.HandlerFunc(testsite.Hello)))
	b := s.Browser(t)

	page := b.Get("/account").Text
	link, _, _ := strings.Cut(strings.TrimPrefix(page, `<p><a href="`), `"`)
	link = html.UnescapeString(link)
	if !strings.HasSuffix(page, ">Sign in</a>") {
		t.Fatalf("page %q", page)
	}
	to := b.Still().Get(link).Header.Get("Location")
	if !strings.HasPrefix(to, "https://login.live.com/oauth20_authorize.srf?") || !strings.Contains(to, "locale=fr-CA") {
		t.Errorf("sent to %s", to)
	}
	s.As(msauthtest.Mia)
	s.MS.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Authorize] = []msauthtest.Failure{accessDenied} })
	if res := b.Get(link); res.StatusCode != http.StatusOK || !strings.HasPrefix(res.Text, "<p>You did not connect your account.") {
		t.Errorf("declined: status %d, page %q", res.StatusCode, res.Text)
	}
	res := b.Get(link)
	if res.Request.URL.Path != "/account" || !strings.HasPrefix(res.Text, "<p>You are ") || !strings.HasSuffix(res.Text, `<a href="/auth/logout">Sign out</a>`) {
		t.Fatalf("page %q at %s; log:\n%s", res.Text, res.Request.URL, s.Log)
	}
	uid := strings.TrimPrefix(res.Text, "<p>You are ")[:32]
	if got := s.MS.Calls(msauthtest.TokenCode)[0].Form.Get("client_secret"); got != newSecret {
		t.Error("the old secret calls")
	}
	if res := b.Get("/session"); res.StatusCode != http.StatusOK || !strings.HasSuffix(res.Text, "wl.basic]\n") {
		t.Errorf("session: status %d, %q; log:\n%s", res.StatusCode, res.Text, s.Log)
	}

	r, _ := http.NewRequest(http.MethodGet, "/", nil)
	if _, err := caller(s.Auth, r); err == nil {
		t.Error("nobody is somebody")
	}
	r.Header.Set("Authorization", "Bearer "+s.MS.AuthenticationToken(msauthtest.Mia, "app.test", nil))
	key, err := caller(s.Auth, r)
	if err != nil || key != "https://login.live.com#"+uid {
		t.Errorf("user %q, %v", key, err)
	}

	if res := b.Get("/contacts"); res.StatusCode != http.StatusOK || res.Text != "hello " {
		t.Errorf("more scopes: status %d, page %q", res.StatusCode, res.Text)
	}
	if _, err := work(t.Context(), s.Auth, key); err != nil {
		t.Error(err)
	}
	out := b.Still().Get("/auth/logout", testsite.SameOrigin...).Header.Get("Location")
	if !strings.HasPrefix(out, "https://login.live.com/oauth20_logout.srf?client_id=") || !strings.Contains(out, "&redirect_uri=https%3A%2F%2Fapp.test%2Fauth%2Fsigned-out") {
		t.Errorf("sent to %s", out)
	}
	if res := b.Get(out); res.Kind() != "signed-out" {
		t.Errorf("status %d, page %.100q at %s", res.StatusCode, res.Text, res.Request.URL)
	}
	if page := b.Get("/account").Text; !strings.HasSuffix(page, ">Sign in</a>") {
		t.Errorf("page %q", page)
	}
	for _, kind := range []msauthtest.Kind{msauthtest.Discovery, msauthtest.Keys} {
		s.WantCalls(t, kind, 0)
	}
	s.WantNoSecrets(t, "the log", s.Log.String())
}
