package contender

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/bench/fixture"
)

const authority = "https://login.microsoftonline.com"

// NewMsauth is this module. Its sessions are made by a sign-in through the
// callback, whose provider is a RoundTripper that gives out the account's
// tokens. change may alter the configuration.
func NewMsauth(a *fixture.Account, change ...func(*msauth.Config)) (*Contender, error) {
	p, cfg, err := newApp(a)
	if err != nil {
		return nil, err
	}
	for _, f := range change {
		f(&cfg)
	}
	auth, err := msauth.New(cfg)
	if err != nil {
		return nil, err
	}
	c := &Contender{Name: "msauth", Protect: auth.Require, SaveReads: true, Close: func() {}}
	if cfg.Shared != nil {
		if err := c.share(auth, p, cfg); err != nil {
			return nil, err
		}
	}
	w := httptest.NewRecorder()
	if err := p.signIn(auth, w, 0); err != nil {
		return nil, err
	}
	c.take(w)

	c.Identity = reader(auth, func(_ *http.Request, s *msauth.Session) (string, error) { return s.User.Name, nil })
	c.Token = reader(auth, func(r *http.Request, s *msauth.Session) (string, error) {
		t, err := s.Token(r.Context())
		if err != nil {
			return "", err
		}
		return t.AccessToken, nil
	})

	// A session is written at sign-in and where tokens were renewed. A cookie
	// whose tokens have been renewed already, by an earlier request, is the
	// one way to have it written again and again without asking the provider.
	// That lasts for two minutes.
	due := &Contender{}
	var made time.Time
	c.Save = func(w http.ResponseWriter, r *http.Request) error {
		if time.Since(made) > time.Minute {
			rec := httptest.NewRecorder()
			if err := p.signIn(auth, rec, 1); err != nil {
				return err
			}
			due.take(rec)
			time.Sleep(2 * time.Second)
			made = time.Now()
		}
		r.Header["Cookie"] = due.Cookies
		err := http.ErrNoCookie
		auth.Load(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if w.Header()["Set-Cookie"] != nil {
				err = nil
			}
		})).ServeHTTP(w, r)
		return err
	}
	return c, c.check(a)
}

// share has other processes, of which there is one, end sessions: a few hundred that
// were signed out of, and all of another account.
func (c *Contender) share(auth *msauth.Middleware, p *provider, cfg msauth.Config) error {
	c.Name = "msauth with Shared"
	c.Close = func() { _ = auth.Close(context.Background()) }
	other, err := msauth.New(cfg)
	if err != nil {
		return err
	}
	defer other.Close(context.Background())
	for range 300 {
		w := httptest.NewRecorder()
		if err := p.signIn(other, w, 0); err != nil {
			return err
		}
		gone := Contender{}
		gone.take(w)
		r := gone.Request()
		r.Method, r.RequestURI, r.URL.Path = http.MethodPost, "/auth/logout", "/auth/logout"
		other.Logout(httptest.NewRecorder(), r)
	}
	return other.SignOutUser(context.Background(), "https://id.example.com#somebody")
}

// newApp returns Microsoft for an account, and an app registered there.
func newApp(a *fixture.Account) (*provider, msauth.Config, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	p := &provider{account: a, key: key}
	cfg := msauth.Config{
		ClientID: a.ClientID, ClientSecret: "secret", BaseURL: "https://app.example.com/auth",
		Scopes: a.Asked, Keys: [][]byte{make([]byte, 32)},
		HTTPClient: &http.Client{Transport: p}, Logger: slog.New(slog.DiscardHandler),
	}
	rand.Read(cfg.Keys[0])
	return p, cfg, err
}

// Remembered returns how many bytes a process has in memory for each session that
// it has seen, and for each that somebody has signed out of there. n sessions are
// made for it.
func Remembered(a *fixture.Account, n int) (seen, signedOut float64, err error) {
	p, cfg, err := newApp(a)
	if err != nil {
		return 0, 0, err
	}
	before, err := msauth.New(cfg)
	if err != nil {
		return 0, 0, err
	}
	requests := make([]*http.Request, n)
	for i := range requests {
		c, w := Contender{}, httptest.NewRecorder()
		if err := p.signIn(before, w, 0); err != nil {
			return 0, 0, err
		}
		c.take(w)
		requests[i] = c.Request()
	}
	auth, err := msauth.New(cfg) // as after a restart: these it has not seen
	if err != nil {
		return 0, 0, err
	}
	page := auth.Require(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	each := func(method, path string, handler http.Handler, want int) (float64, error) {
		start := heapInUse()
		for _, r := range requests {
			r.Method, r.RequestURI, r.URL.Path = method, path, path
			w := httptest.NewRecorder()
			if handler.ServeHTTP(w, r); w.Code != want {
				return 0, fmt.Errorf("msauth: %s %s answers %d, want %d", method, path, w.Code, want)
			}
		}
		grown := float64(heapInUse() - start)
		runtime.KeepAlive(requests)
		return max(grown/float64(n), 0), nil
	}
	if _, err := each(http.MethodGet, "/files", page, http.StatusNoContent); err != nil { // what is made once
		return 0, 0, err
	}
	if seen, err = each(http.MethodGet, "/files", page, http.StatusNoContent); err != nil {
		return 0, 0, err
	}
	signedOut, err = each(http.MethodPost, "/auth/logout", auth, http.StatusSeeOther)
	runtime.KeepAlive(auth)
	return seen, signedOut, err
}

// heapInUse returns the bytes that are still in use after a collection.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// reader returns a function that calls read in a handler inside Load, which is
// made once, as in a program. The function is not for concurrent use.
func reader(auth *msauth.Middleware, read func(*http.Request, *msauth.Session) (string, error)) func(*http.Request) (string, error) {
	var (
		out  = plainWriter{}
		text string
		err  error
	)
	handler := auth.Load(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if s, ok := msauth.FromContext(r.Context()); ok {
			text, err = read(r, s)
		}
	}))
	return func(r *http.Request) (string, error) {
		clear(out)
		text, err = "", http.ErrNoCookie
		handler.ServeHTTP(out, r)
		return text, err
	}
}

// plainWriter is a ResponseWriter for handlers that write nothing.
type plainWriter http.Header

func (w plainWriter) Header() http.Header       { return http.Header(w) }
func (plainWriter) Write(b []byte) (int, error) { return len(b), nil }
func (plainWriter) WriteHeader(int)             {}

// provider is Microsoft for one account.
type provider struct {
	account *fixture.Account
	key     *rsa.PrivateKey
	nonce   string
	renewIn int // seconds, 0 for the usual time
}

// signIn leads through login and callback. renewIn is after how many seconds
// the tokens are to be renewed.
func (p *provider) signIn(auth *msauth.Middleware, w http.ResponseWriter, renewIn int) error {
	p.renewIn = renewIn
	login := httptest.NewRecorder()
	auth.Login(login, httptest.NewRequest(http.MethodGet, "https://app.example.com/auth/login", nil))
	to, err := url.Parse(login.Header().Get("Location"))
	if err != nil || login.Code != http.StatusSeeOther {
		return fmt.Errorf("msauth: login answers %d", login.Code)
	}
	p.nonce = to.Query().Get("nonce")
	callback := httptest.NewRequest(http.MethodGet, "https://app.example.com/auth/callback?"+
		url.Values{"code": {"code"}, "state": {to.Query().Get("state")}}.Encode(), nil)
	for _, line := range login.Header()["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		callback.Header.Add("Cookie", pair)
	}
	rec := httptest.NewRecorder()
	auth.Callback(rec, callback)
	if rec.Code != http.StatusSeeOther {
		return fmt.Errorf("msauth: the callback answers %d: %s", rec.Code, rec.Body)
	}
	for name, lines := range rec.Header() {
		w.Header()[name] = lines
	}
	return nil
}

// RoundTrip implements [http.RoundTripper].
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	var reply map[string]any
	switch {
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		base := authority + "/common"
		reply = map[string]any{
			"issuer":                 authority + "/{tenantid}/v2.0",
			"authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"token_endpoint":         base + "/oauth2/v2.0/token",
			"end_session_endpoint":   base + "/oauth2/v2.0/logout",
			"jwks_uri":               base + "/discovery/v2.0/keys",
		}
	case strings.HasSuffix(r.URL.Path, "/keys"):
		reply = map[string]any{"keys": []any{map[string]any{
			"kty": "RSA", "use": "sig", "kid": p.account.KeyID(),
			"n": base64.RawURLEncoding.EncodeToString(p.key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(p.key.E)).Bytes()),
		}}}
	case strings.HasSuffix(r.URL.Path, "/token"):
		if err := r.ParseForm(); err != nil {
			return nil, err
		}
		reply = map[string]any{
			"token_type": "Bearer", "scope": p.account.Scopes, "expires_in": 4000,
			"access_token": p.account.Access, "refresh_token": p.account.Refresh,
		}
		if r.PostForm.Get("grant_type") == "authorization_code" {
			if p.renewIn > 0 {
				// Another refresh token, or the renewed one would seem to be
				// the one that is being renewed.
				reply["refresh_in"], reply["refresh_token"] = p.renewIn, "before "+p.account.Refresh
			}
			reply["id_token"] = p.account.IDToken(authority, p.nonce, time.Now(), p.sign)
		}
	default:
		return nil, errors.New("unexpected request to " + r.URL.Path)
	}
	return &http.Response{
		StatusCode: http.StatusOK, Request: r, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(mustJSON(reply))),
	}, nil
}

func (p *provider) sign(text []byte) []byte {
	digest := sha256.Sum256(text)
	signature, err := rsa.SignPKCS1v15(nil, p.key, crypto.SHA256, digest[:])
	if err != nil {
		panic(err)
	}
	return signature
}
