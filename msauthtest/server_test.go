package msauthtest_test

import (
	"crypto/fips140"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"example.com/msauth/msauthtest"
)

const (
	redirectURI = "http://localhost:8080/auth/callback"
	verifier    = "a-verifier-of-43-characters-or-more-0123456789"
)

// An app is a client of the server, with the browser of one person.
type app struct {
	t       *testing.T
	ms      *msauthtest.Server
	browser *http.Client // keeps cookies, does not follow redirects
	tenant  string
	scope   string
}

func newServer(t *testing.T) *msauthtest.Server {
	t.Helper()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	return ms
}

func newApp(t *testing.T, ms *msauthtest.Server) *app {
	t.Helper()
	a := &app{t: t, ms: ms, tenant: "common", scope: "openid profile email offline_access User.Read Files.Read"}
	a.newBrowser(&http.Transport{})
	return a
}

// newBrowser returns a browser in which nobody is signed in.
func (a *app) newBrowser(rt http.RoundTripper) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.browser = &http.Client{
		Transport:     rt,
		Jar:           jar,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if tr, ok := rt.(*http.Transport); ok {
		a.t.Cleanup(tr.CloseIdleConnections)
	}
}

// with returns url.Values from pairs; a value of "-" deletes.
func with(base url.Values, pairs ...string) url.Values {
	v := maps.Clone(base)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "-" {
			v.Del(pairs[i])
		} else {
			v.Set(pairs[i], pairs[i+1])
		}
	}
	return v
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (a *app) endpoint(path string) string { return a.ms.URL + "/" + a.tenant + "/" + path }

func (a *app) authorizeQuery(pairs ...string) url.Values {
	return with(url.Values{
		"client_id":             {a.ms.ClientID},
		"redirect_uri":          {redirectURI},
		"response_type":         {"code"},
		"response_mode":         {"query"},
		"scope":                 {a.scope},
		"state":                 {"the state"},
		"nonce":                 {"the nonce"},
		"code_challenge":        {challenge(verifier)},
		"code_challenge_method": {"S256"},
	}, pairs...)
}

// authorize asks for a code and returns the answer and its body.
func (a *app) authorize(pairs ...string) (*http.Response, string) {
	a.t.Helper()
	return a.get(a.endpoint("oauth2/v2.0/authorize") + "?" + a.authorizeQuery(pairs...).Encode())
}

func (a *app) get(url string) (*http.Response, string) {
	a.t.Helper()
	res, err := a.browser.Get(url)
	if err != nil {
		a.t.Fatal(err)
	}
	return res, body(a.t, res)
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// answer reads the parameters of a redirect to the app.
func (a *app) answer(res *http.Response) url.Values {
	a.t.Helper()
	if res.StatusCode != http.StatusFound && res.StatusCode != http.StatusSeeOther {
		a.t.Fatalf("status %d, want a redirect", res.StatusCode)
	}
	location := res.Header.Get("Location")
	query, ok := strings.CutPrefix(location, redirectURI+"?")
	if !ok {
		a.t.Fatalf("redirect to %s, want to the app", location)
	}
	v, err := url.ParseQuery(query)
	if err != nil {
		a.t.Fatal(err)
	}
	return v
}

// pick signs a person in on the page.
func (a *app) pick(user string, pairs ...string) url.Values {
	a.t.Helper()
	return a.answer(a.post(url.Values{"user": {user}}, pairs...))
}

// post sends the form of the sign-in page.
func (a *app) post(form url.Values, pairs ...string) *http.Response {
	a.t.Helper()
	form.Set("request", a.authorizeQuery(pairs...).Encode())
	res, err := a.browser.PostForm(a.endpoint("signin"), form)
	if err != nil {
		a.t.Fatal(err)
	}
	res.Body.Close()
	return res
}

// A reply is one of the token endpoint.
type reply struct {
	Status       int `json:"-"`
	Header       http.Header
	TokenType    string          `json:"token_type"`
	Scope        string          `json:"scope"`
	ExpiresIn    json.RawMessage `json:"expires_in"`
	ExtExpiresIn json.RawMessage `json:"ext_expires_in"`
	RefreshIn    json.RawMessage `json:"refresh_in"`
	AccessToken  string          `json:"access_token"`
	RefreshToken string          `json:"refresh_token"`
	IDToken      string          `json:"id_token"`

	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	ErrorURI      string `json:"error_uri"`
	Suberror      string `json:"suberror"`
	Claims        string `json:"claims"`
}

func (a *app) token(form url.Values) (*reply, error) {
	a.t.Helper()
	res, err := a.browser.PostForm(a.endpoint("oauth2/v2.0/token"), form)
	if err != nil {
		return nil, err
	}
	text := body(a.t, res)
	rep := &reply{Status: res.StatusCode, Header: res.Header}
	if err := json.Unmarshal([]byte(text), rep); err != nil {
		a.t.Fatalf("token reply %d %q: %v", res.StatusCode, text, err)
	}
	return rep, nil
}

func (a *app) mustToken(form url.Values) *reply {
	a.t.Helper()
	rep, err := a.token(form)
	if err != nil {
		a.t.Fatal(err)
	}
	return rep
}

func (a *app) codeForm(code string, pairs ...string) url.Values {
	return with(url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {a.ms.ClientID},
		"client_secret": {a.ms.ClientSecret},
		"code":          {code},
		"redirect_uri":  {redirectURI},
		"code_verifier": {verifier},
	}, pairs...)
}

func (a *app) refreshForm(token string, pairs ...string) url.Values {
	return with(url.Values{
		"grant_type":    {"refresh_token"},
		"client_id":     {a.ms.ClientID},
		"client_secret": {a.ms.ClientSecret},
		"refresh_token": {token},
	}, pairs...)
}

// signIn goes through a whole sign-in.
func (a *app) signIn(user string, pairs ...string) *reply {
	a.t.Helper()
	rep := a.mustToken(a.codeForm(a.pick(user, pairs...).Get("code")))
	if rep.Status != http.StatusOK {
		a.t.Fatalf("sign-in: %d %s", rep.Status, rep.Description)
	}
	return rep
}

func (a *app) renew(rep *reply, pairs ...string) *reply {
	a.t.Helper()
	return a.mustToken(a.refreshForm(rep.RefreshToken, pairs...))
}

// json gets a document.
func (a *app) json(url string, into any) {
	a.t.Helper()
	res, text := a.get(url)
	if res.StatusCode != http.StatusOK {
		a.t.Fatalf("%s: %d %s", url, res.StatusCode, text)
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		a.t.Fatal(err)
	}
}

func (a *app) keySet() jose.JSONWebKeySet {
	a.t.Helper()
	var raw struct {
		Keys []map[string]any `json:"keys"`
	}
	a.json(a.endpoint("discovery/v2.0/keys"), &raw)
	if fips140.Enabled() { // go-jose takes the SHA-1 thumbprint of certificates
		for _, k := range raw.Keys {
			delete(k, "x5c")
		}
	}
	text, err := json.Marshal(raw)
	if err != nil {
		a.t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil {
		a.t.Fatal(err)
	}
	return set
}

// verify checks a token with the published keys and returns its claims.
func (a *app) verify(token string) (map[string]any, error) {
	a.t.Helper()
	sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return nil, err
	}
	payload, err := sig.Verify(a.keySet())
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	return claims, json.Unmarshal(payload, &claims)
}

func (a *app) claims(token string) map[string]any {
	a.t.Helper()
	claims, err := a.verify(token)
	if err != nil {
		a.t.Fatal(err)
	}
	return claims
}

func wantCode(t *testing.T, rep *reply, status int, oauthError string, code int) {
	t.Helper()
	if rep.Status != status || rep.Error != oauthError || !slices.Equal(rep.Codes, []int{code}) {
		t.Fatalf("got %d %s %v (%s), want %d %s [%d]", rep.Status, rep.Error, rep.Codes, rep.Description, status, oauthError, code)
	}
}
