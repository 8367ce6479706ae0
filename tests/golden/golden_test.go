package golden_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/sessions"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// What browsers, stores and people's mail hold was sealed by the version before.
// The values below testdata were, by the code of a commit before its
// packages were parted; each has to open, and to mean the same.
//
//	go test -run TestGolden -update-golden missing ./tests/golden
//
// makes those of new cases: with a version that is deployed. What else there is:
// "found" writes anew what is found, where that changes on purpose and the values
// still open, and "all" makes all values, after which those of before are tested
// no more.
//
// This file needs nothing of the other tests. Keys are derived for a day and
// values grow old, so each is made and read in a bubble, at the same time.
var updateGolden = flag.String("update-golden", "", "write below testdata: missing, found or all")

// goldenTime is when values are made.
var goldenTime = time.Date(2026, 3, 2, 9, 30, 0, 0, time.UTC)

const (
	goldenClient = "5f1c6c1e-0d3b-4a54-9a86-5d0f3f0f8a11"
	goldenSecret = "golden~client-secret-of-the-local-one~00"
	goldenSite   = "https://app.test"
)

func goldenKey(n int) []byte {
	sum := sha256.Sum256(fmt.Appendf(nil, "msauth golden key %d", n))
	return sum[:]
}

// A goldenCase makes a value of one format, and says what reading it finds.
type goldenCase struct {
	name   string
	config func(a *goldenApp)                 // of both
	maker  func(a *goldenApp)                 // of who makes it alone
	reader func(a *goldenApp)                 // of who reads it alone
	make   func(a *goldenApp, v *goldenValue) // cookies and stores are taken from a afterwards
	read   func(a *goldenApp, v *goldenValue) goldenFound
	probes []string // pages to look at afterwards
	// partly names values without which the rest still opens: what is found must
	// then be something else.
	partly []string
}

// A goldenValue is what is kept of a case.
type goldenValue struct {
	Made    time.Time                      `json:"made"`
	Cookies []string                       `json:"cookies,omitempty"` // Set-Cookie lines
	URL     string                         `json:"url,omitempty"`     // with state or sealed
	Form    string                         `json:"form,omitempty"`    // msauth_token
	Nonce   string                         `json:"nonce,omitempty"`
	Records map[string]string              `json:"records,omitempty"` // of Config.Store, by its id
	Entries map[string]msauth.StoredTokens `json:"entries,omitempty"` // of Config.Tokens
	Found   json.RawMessage                `json:"found"`

	expect []string // must be found; for who makes it
}

// A goldenFound is what reading a value finds.
type goldenFound interface{ opened() bool }

func (c *goldenCase) file() string {
	return filepath.Join("testdata", c.name+".json")
}

func TestGolden(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(goldenSessions(), goldenAttempts(), goldenLinks(), goldenForms(), goldenEntries(), goldenOwn())
	names := map[string]bool{}
	for _, c := range cases {
		names[c.file()] = true
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			switch _, err := os.Stat(c.file()); {
			case *updateGolden == "all", *updateGolden == "missing" && err != nil:
				c.write(t, c.seal(t))
			case *updateGolden == "found":
				c.write(t, c.load(t))
			}
			v := c.load(t)
			found := c.look(t, v)
			if text := goldenJSON(t, found); !found.opened() || text != goldenJSON(t, v.Found) {
				t.Fatalf("opened: %t; found\n%s\nwant\n%s", found.opened(), text, goldenJSON(t, v.Found))
			}
			for _, m := range v.mutations() {
				found := c.look(t, m.value)
				if goldenJSON(t, found) == goldenJSON(t, v.Found) {
					t.Errorf("%s: is taken for the value", m.what)
				}
				partly := slices.ContainsFunc(c.partly, func(of string) bool { return strings.Contains(m.what, of) })
				if found.opened() && !partly {
					t.Errorf("%s: opens: %s", m.what, goldenJSON(t, found))
				}
			}
		})
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !names[file] {
			t.Errorf("%s is of no case", file)
		}
	}
}

// seal makes the value.
func (c *goldenCase) seal(t *testing.T) *goldenValue {
	t.Helper()
	v := &goldenValue{}
	synctest.Test(t, func(t *testing.T) {
		a := newGoldenApp(t, c, goldenTime)
		if c.maker != nil {
			c.maker(a)
		}
		a.open()
		c.make(a, v)
		v.Made = time.Now().UTC()
		for _, name := range slices.Sorted(maps.Keys(a.jar)) {
			v.Cookies = append(v.Cookies, a.jar[name])
		}
		if a.records != nil {
			v.Records = a.records.copy().texts
		}
		if a.entries != nil && v.Entries == nil {
			v.Entries = a.entries.copy().entries
		}
	})
	return v
}

// write reads a value, and writes both.
func (c *goldenCase) write(t *testing.T, v *goldenValue) {
	t.Helper()
	found := c.look(t, v)
	text, err := json.Marshal(found)
	if err != nil || !found.opened() {
		t.Fatalf("%v; opened: %t: %s", err, found.opened(), text)
	}
	for _, want := range v.expect {
		if want == "" || !bytes.Contains(text, []byte(want)) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	v.Found = text
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := errors.Join(e.Encode(v), os.MkdirAll(filepath.Dir(c.file()), 0o755), os.WriteFile(c.file(), b.Bytes(), 0o644)); err != nil {
		t.Fatal(err)
	}
}

func (c *goldenCase) load(t *testing.T) *goldenValue {
	t.Helper()
	text, err := os.ReadFile(c.file())
	v := &goldenValue{}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		err = d.Decode(v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// look reads the value in a process of its own.
func (c *goldenCase) look(t *testing.T, v *goldenValue) (found goldenFound) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		a := newGoldenApp(t, c, v.Made)
		if c.reader != nil {
			c.reader(a)
		}
		for _, line := range v.Cookies {
			a.receive([]string{line})
		}
		if a.records != nil {
			maps.Copy(a.records.texts, v.Records)
		}
		if a.entries != nil {
			maps.Copy(a.entries.entries, v.Entries)
		}
		a.open()
		found = c.read(a, v)
	})
	return found
}

func goldenJSON(t *testing.T, of any) string {
	t.Helper()
	text, err := json.Marshal(of)
	var b bytes.Buffer
	if err == nil {
		err = json.Indent(&b, text, "", " ")
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// A goldenMutation is a value with one character changed, or in another place.
type goldenMutation struct {
	what  string
	value *goldenValue
}

func (v *goldenValue) mutations() (all []goldenMutation) {
	with := func(what string, change func(m *goldenValue)) {
		m := *v
		m.Cookies, m.Records, m.Entries = slices.Clone(v.Cookies), maps.Clone(v.Records), maps.Clone(v.Entries)
		change(&m)
		all = append(all, goldenMutation{what, &m})
	}
	for i, line := range v.Cookies {
		pair, attributes, _ := strings.Cut(line, ";")
		name, value, _ := strings.Cut(pair, "=")
		for at, text := range goldenFlips(value) {
			with(fmt.Sprintf("cookie %s, byte %d", name, at), func(m *goldenValue) { m.Cookies[i] = name + "=" + text + ";" + attributes })
		}
	}
	if sealed := goldenSealed.FindStringSubmatchIndex(v.URL); sealed != nil {
		for at, text := range goldenFlips(v.URL[sealed[2]:sealed[3]]) {
			with(fmt.Sprintf("URL, byte %d", at), func(m *goldenValue) { m.URL = v.URL[:sealed[2]] + text + v.URL[sealed[3]:] })
		}
	}
	for at, text := range goldenFlips(v.Form) {
		with(fmt.Sprintf("form, byte %d", at), func(m *goldenValue) { m.Form = text })
	}
	for id, record := range v.Records {
		for at, text := range goldenFlips(record) {
			with(fmt.Sprintf("record, byte %d", at), func(m *goldenValue) { m.Records[id] = text })
		}
	}
	for user, e := range v.Entries {
		for _, at := range goldenPlaces(len(e.Sealed)) {
			with(fmt.Sprintf("entry, byte %d", at), func(m *goldenValue) {
				changed := e
				changed.Sealed = bytes.Clone(e.Sealed)
				changed.Sealed[at] ^= 1
				m.Entries[user] = changed
			})
		}
	}
	return all
}

var goldenSealed = regexp.MustCompile(`[?&](?:state|sealed)=([A-Za-z0-9_-]+)`)

func goldenPlaces(n int) (places []int) {
	for i := range 8 {
		places = append(places, i*n/8)
	}
	if n == 0 {
		return nil
	}
	return slices.Compact(append(places, n-1))
}

// goldenFlips are a text with one character in place of another, by its place.
func goldenFlips(text string) map[int]string {
	flips := map[int]string{}
	for _, at := range goldenPlaces(len(text)) {
		other := byte('A')
		if text[at] == other {
			other = 'B'
		}
		flips[at] = text[:at] + string(other) + text[at+1:]
	}
	return flips
}

// A goldenApp is one process of an app, and a browser that visits it.
type goldenApp struct {
	t       *testing.T
	of      *goldenCase
	ms      *msauthtest.Server
	cfg     msauth.Config
	auth    *msauth.Middleware
	handler http.Handler
	log     *bytes.Buffer
	host    string
	person  string
	jar     map[string]string // Set-Cookie lines
	records *goldenRecords
	entries *goldenTokens

	userKey string            // what OnSignIn says
	seen    *goldenSeen       // by all clones
	issued  map[string]string // by the provider, the latest
	swap    map[string]string // refresh tokens, on their way to the provider
}

// A goldenSeen is what the app was shown last.
type goldenSeen struct {
	signIn *goldenHook
	page   msauth.Page
}

// A goldenHook is what Config.OnSignIn sees.
type goldenHook struct {
	AppState, ReturnTo, UserKey string
	Connecting                  bool
	Account                     string
}

func newGoldenApp(t *testing.T, c *goldenCase, at time.Time) *goldenApp {
	t.Helper()
	time.Sleep(time.Until(at))
	a := &goldenApp{
		t: t, of: c, ms: msauthtest.New("http://localhost:9"), log: &bytes.Buffer{}, host: "app.test",
		person: msauthtest.Ada, jar: map[string]string{}, issued: map[string]string{}, seen: &goldenSeen{},
	}
	a.ms.ClientID, a.ms.ClientSecret = goldenClient, goldenSecret
	a.ms.Set(func(b *msauthtest.Behavior) {
		b.AutoSignIn = msauthtest.Ada
		b.AccessTokenLifetime = time.Hour
		b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { a.issued["nonce"], _ = claims["nonce"].(string) }
		b.TokenReply = a.note
	})
	a.cfg = msauth.Config{
		ClientID: goldenClient, ClientSecret: goldenSecret, Authority: a.ms.URL, BaseURL: goldenSite + "/auth",
		Keys: [][]byte{goldenKey(1)}, HTTPClient: &http.Client{Transport: a},
		Logger: slog.New(slog.NewTextHandler(a.log, nil)),
		OnSignIn: func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			in.AppData = "row 7 of Zoë's table"
			a.seen.signIn = &goldenHook{in.AppState, in.ReturnTo, in.UserKey, in.Connecting, in.Session.User.Key()}
			if a.userKey != "" {
				in.UserKey = a.userKey
			}
			return nil
		},
		Page: func(w http.ResponseWriter, _ *http.Request, p msauth.Page) {
			a.seen.page = p
			w.WriteHeader(p.Status)
			fmt.Fprint(w, p.Kind)
		},
	}
	if c.config != nil {
		c.config(a)
	}
	return a
}

func (a *goldenApp) note(_ msauthtest.Kind, reply map[string]any) {
	for _, name := range []string{"access_token", "refresh_token", "id_token"} {
		a.issued[name], _ = reply[name].(string)
	}
}

// behave adds to what the provider does.
func (a *goldenApp) behave(f func(b *msauthtest.Behavior)) { a.ms.Set(f) }

// store keeps sessions on the server, keep refresh tokens.
func (a *goldenApp) store() {
	a.records = &goldenRecords{texts: map[string]string{}}
	a.cfg.Store = a.records
}

func (a *goldenApp) keep() {
	a.entries = &goldenTokens{entries: map[string]msauth.StoredTokens{}}
	a.cfg.Tokens = a.entries
}

// open starts the process.
func (a *goldenApp) open() {
	a.t.Helper()
	auth, err := msauth.New(a.cfg)
	if err != nil {
		a.t.Fatal(err)
	}
	a.auth = auth
	report := http.HandlerFunc(a.report)
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/public", auth.Load(report))
	mux.Handle("/", auth.Require(report))
	mux.Handle("/scopes", auth.RequireScopes("Calendars.Read", "Mail.Send")(report))
	mux.Handle("/fresh", auth.RequireFreshSignIn(5*time.Minute)(report))
	mux.Handle("/context", auth.RequireAuthContext("c1")(report))
	mux.Handle("/role", auth.RequireRole("Auditor")(report))
	challenge := func(err error) http.Handler {
		return auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !auth.Challenge(w, r, err) {
				a.t.Error("no challenge")
			}
		}))
	}
	mux.Handle("/challenge", challenge(&msauth.AuthError{
		Class: msauth.ClassStepUp, Scopes: []string{"Files.Read"},
		Claims: `{"access_token":{"nbf":{"essential":true,"value":"1772443800"}}}`,
	}))
	mux.Handle("/again", challenge(msauth.ErrSignInRequired))
	if a.cfg.User != nil {
		mux.Handle("/connect", auth.Connect("/settings?tab=accounts", "Files.Read"))
	}
	a.handler = mux
}

// clone is another process of the app, with the same browser and stores as of
// now.
func (a *goldenApp) clone() *goldenApp {
	c := *a
	c.jar, c.swap = maps.Clone(a.jar), nil
	if a.records != nil {
		c.records = a.records.copy()
		c.cfg.Store = c.records
	}
	if a.entries != nil {
		c.entries = a.entries.copy()
		c.cfg.Tokens = c.entries
	}
	c.cfg.HTTPClient = &http.Client{Transport: &c}
	c.open()
	return &c
}

// RoundTrip brings requests to the provider.
func (a *goldenApp) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil && len(a.swap) > 0 {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		for from, to := range a.swap {
			body = bytes.ReplaceAll(body, []byte(url.QueryEscape(from)), []byte(url.QueryEscape(to)))
		}
		r = r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
	return a.ms.Transport().RoundTrip(r)
}

// A goldenAnswer is one of the app.
type goldenAnswer struct {
	status   int
	location string
	header   http.Header
	body     string
	page     msauth.Page
}

func (a *goldenApp) do(method, target, body string, header ...string) goldenAnswer {
	a.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = a.host
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(a.jar)) {
		pair, _, _ := strings.Cut(a.jar[name], ";")
		pairs = append(pairs, pair)
	}
	if len(pairs) > 0 {
		r.Header.Set("Cookie", strings.Join(pairs, "; "))
	}
	a.seen.page = msauth.Page{}
	w := httptest.NewRecorder()
	a.handler.ServeHTTP(w, r)
	a.receive(w.Header()["Set-Cookie"])
	return goldenAnswer{w.Code, w.Header().Get("Location"), w.Header(), w.Body.String(), a.seen.page}
}

func (a *goldenApp) receive(lines []string) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		switch {
		case err != nil:
			a.t.Errorf("Set-Cookie %q: %v", line, err)
		case c.MaxAge < 0:
			delete(a.jar, c.Name)
		default:
			a.jar[c.Name] = line
		}
	}
}

// get is a navigation, fetch a script's request.
func (a *goldenApp) get(target string) goldenAnswer {
	a.t.Helper()
	return a.do(http.MethodGet, target, "", "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document", "Accept", "text/html")
}

func (a *goldenApp) fetch(target string) goldenAnswer {
	a.t.Helper()
	return a.do(http.MethodGet, target, "", "Sec-Fetch-Mode", "cors", "Sec-Fetch-Dest", "empty", "Accept", "application/json")
}

// loginURL is what a script's request is told.
func (a *goldenApp) loginURL(target string) string {
	a.t.Helper()
	got := a.fetch(target)
	var problem struct {
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(got.body), &problem); err != nil || got.status != http.StatusUnauthorized || problem.LoginURL == "" {
		a.t.Fatalf("%s: status %d, %v: %s; log:\n%s", target, got.status, err, got.body, a.log)
	}
	u, err := url.Parse(problem.LoginURL)
	if err != nil {
		a.t.Fatal(err)
	}
	return u.RequestURI()
}

// atMicrosoft opens an address there, and returns where it leads on this site.
func (a *goldenApp) atMicrosoft(address string) string {
	a.t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		a.t.Fatal(err)
	}
	a.behave(func(b *msauthtest.Behavior) { b.AutoSignIn = a.person })
	back, err := a.ms.Transport().RoundTrip(r)
	if err != nil {
		a.t.Fatal(err)
	}
	u, err := url.Parse(back.Header.Get("Location"))
	if err != nil || !strings.HasSuffix(u.Path, "/callback") {
		a.t.Fatalf("%v, Microsoft answers %s to %q", err, back.Status, back.Header.Get("Location"))
	}
	return u.RequestURI()
}

// begin opens a page that leads to Microsoft.
func (a *goldenApp) begin(target string) (address string) {
	a.t.Helper()
	got := a.get(target)
	if got.page.Kind == "wait" {
		return got.page.Links[0].URL
	}
	if got.status != http.StatusSeeOther || strings.HasPrefix(got.location, "/") {
		a.t.Fatalf("%s: status %d to %q; log:\n%s", target, got.status, got.location, a.log)
	}
	return got.location
}

// signInAt signs in by way of a page.
func (a *goldenApp) signInAt(target string) {
	a.t.Helper()
	if got := a.get(a.atMicrosoft(a.begin(target))); got.status != http.StatusSeeOther {
		a.t.Fatalf("callback: status %d, %s; log:\n%s", got.status, got.page.Kind, a.log)
	}
	a.get("/public") // the first page forgets that a sign-in has just been
}

// goldenAsked are the parameters for Microsoft that follow from what is sealed.
var goldenAsked = []string{"scope", "claims", "max_age", "prompt", "login_hint", "logout_hint", "id_token_hint"}

// told is an answer in a few words, without what is random.
func (a *goldenApp) told(got goldenAnswer) string {
	a.t.Helper()
	to, err := url.Parse(got.location)
	if err != nil {
		a.t.Fatal(err)
	}
	if q := to.Query(); to.Host != "" {
		maps.DeleteFunc(q, func(name string, _ []string) bool { return !slices.Contains(goldenAsked, name) })
		to.RawQuery = goldenPolicy.ReplaceAllString(q.Encode(), "...$1")
	}
	return strings.Join(strings.Fields(fmt.Sprint(got.status, " ", got.page.Kind, " ", to)), " ")
}

// goldenPolicy is the id of a policy in the provider's challenges, another each
// time.
var goldenPolicy = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f-]+(%22%5D%7D%7D%2C%22id_token)`)

// probe visits the pages of a case.
func (a *goldenApp) probe() map[string]string {
	a.t.Helper()
	found := map[string]string{}
	for _, page := range a.of.probes {
		found[page] = a.told(a.clone().get(page))
	}
	return found
}

// A goldenSession is what a handler sees.
type goldenSession struct {
	User                                      msauth.User
	Key                                       string
	Personal                                  bool
	AppData                                   string
	Scopes                                    []string
	SignedIn, Renewed, Expiry, AuthTime, Ends time.Time
	Token, Error, Claims                      string
}

func reportGolden(ctx context.Context, s *msauth.Session) *goldenSession {
	g := &goldenSession{
		User: s.User, Key: s.User.Key(), Personal: s.User.Personal(), AppData: s.AppData, Scopes: s.Scopes(),
		SignedIn: s.SignedIn().UTC(), Renewed: s.Renewed().UTC(), Expiry: s.Expiry().UTC(), AuthTime: s.AuthTime().UTC(), Ends: s.Ends().UTC(),
	}
	token, err := s.Token(ctx)
	if err == nil {
		g.Token = token.AccessToken
	}
	g.Error, g.Claims = goldenError(err)
	return g
}

func goldenError(err error) (kind, claims string) {
	if failure, ok := errors.AsType[*msauth.AuthError](err); ok {
		claims = failure.Claims
	}
	switch {
	case err == nil:
		return "", claims
	case errors.Is(err, msauth.ErrSignInRequired):
		return "sign in required", claims
	case errors.Is(err, msauth.ErrTokenUnavailable):
		return "token unavailable", claims
	}
	return err.Error(), claims
}

func (a *goldenApp) report(w http.ResponseWriter, r *http.Request) {
	var g *goldenSession
	if s, ok := msauth.FromContext(r.Context()); ok {
		g = reportGolden(r.Context(), s)
	}
	if err := json.NewEncoder(w).Encode(g); err != nil {
		a.t.Error(err)
	}
}

func (a *goldenApp) session() (g *goldenSession) {
	a.t.Helper()
	got := a.get("/public")
	if err := json.Unmarshal([]byte(got.body), &g); err != nil || got.status != http.StatusOK {
		a.t.Fatalf("status %d, %v: %s; log:\n%s", got.status, err, got.body, a.log)
	}
	return g
}

// A goldenRecords is a gorilla store in memory. It gives a record its id at the
// first save, as most do.
type goldenRecords struct{ texts map[string]string }

func (s *goldenRecords) copy() *goldenRecords { return &goldenRecords{maps.Clone(s.texts)} }

func (s *goldenRecords) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

func (s *goldenRecords) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	session.IsNew, session.Options = true, &sessions.Options{Path: "/"}
	if c, err := r.Cookie(name); err == nil {
		if text, ok := s.texts[c.Value]; ok {
			session.ID, session.IsNew = c.Value, false
			session.Values["msauth"] = text
		}
	}
	return session, nil
}

func (s *goldenRecords) Save(_ *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	if session.Options.MaxAge < 0 {
		delete(s.texts, session.ID)
	} else {
		if session.ID == "" {
			session.ID = fmt.Sprintf("record-%d", 1+len(s.texts))
		}
		s.texts[session.ID], _ = session.Values["msauth"].(string)
	}
	http.SetCookie(w, sessions.NewCookie(session.Name(), session.ID, session.Options))
	return nil
}

// A goldenTokens is a TokenStore in memory.
type goldenTokens struct {
	mu      sync.Mutex
	entries map[string]msauth.StoredTokens
}

func (s *goldenTokens) copy() *goldenTokens {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &goldenTokens{entries: maps.Clone(s.entries)}
}

func (s *goldenTokens) Load(_ context.Context, user string) (msauth.StoredTokens, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e, ok := s.entries[user]; ok {
		return e, nil
	}
	return msauth.StoredTokens{}, msauth.ErrNoTokens
}

func (s *goldenTokens) Save(_ context.Context, user string, old int64, e msauth.StoredTokens) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[user].Version != old {
		return msauth.ErrConflict
	}
	s.entries[user] = e
	return nil
}

func (s *goldenTokens) Delete(_ context.Context, user string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, user)
	return nil
}

// down lets no renewal succeed.
func (a *goldenApp) down(is bool) {
	a.behave(func(b *msauthtest.Behavior) {
		if delete(b.FailAlways, msauthtest.TokenRefresh); is {
			b.FailAlways[msauthtest.TokenRefresh] = msauthtest.Failure{Status: http.StatusServiceUnavailable}
		}
	})
}

// usedRefreshToken is the one of the latest renewal, "" if there was none.
func (a *goldenApp) usedRefreshToken() string {
	calls := a.ms.Calls(msauthtest.TokenRefresh)
	if len(calls) == 0 {
		return ""
	}
	return calls[len(calls)-1].Form.Get("refresh_token")
}

// A goldenVisit is what a session is found to be.
type goldenVisit struct {
	Session    *goldenSession
	Names      []string          // of the cookies
	Navigation string            // to a page that needs somebody
	Probes     map[string]string `json:",omitempty"`
	SignOut    string            // where that leads
	Refresh    string            // the refresh token
	Renewals   []string          `json:",omitempty"` // with the right nonce, and another
	Registered []string          // what the registration is called
}

func (v *goldenVisit) opened() bool { return v.Session != nil }

var goldenKeyIDs = regexp.MustCompile(`key_ids="?([0-9a-f ]+)`)

func readGoldenSession(a *goldenApp, v *goldenValue) goldenFound {
	a.down(true)
	names := slices.Sorted(maps.Keys(a.jar))
	found := &goldenVisit{Names: names, Session: a.clone().session()}
	if found.Session == nil {
		return found
	}
	found.Registered = []string{a.auth.StoredUser("7"), a.auth.StoredAccount("x.y")}
	if ids := goldenKeyIDs.FindStringSubmatch(a.log.String()); ids != nil {
		found.Registered = append(found.Registered, strings.TrimSpace(ids[1]))
	}
	found.Navigation = a.told(a.clone().get("/"))
	found.Probes = a.probe()
	found.SignOut = a.told(a.clone().do(http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site", "same-origin"))

	right, wrong := a.clone(), a.clone()
	time.Sleep(time.Until(found.Session.Expiry) + time.Minute)
	a.ms.ResetCalls()
	a.get("/public")
	if found.Refresh = a.usedRefreshToken(); found.Refresh == "" {
		return found
	}
	if v.Nonce == "" {
		return found
	}
	// The session goes on with what another sign-in has brought. A renewed ID
	// token may name the nonce of the sign-in, and no other.
	a.down(false)
	other := a.clone()
	other.jar = map[string]string{}
	other.signInAt("/")
	for i, nonce := range []string{v.Nonce, "another"} {
		b := []*goldenApp{right, wrong}[i]
		b.swap = map[string]string{found.Refresh: other.usedToken()}
		b.behave(func(b *msauthtest.Behavior) {
			b.IDToken = func(_ msauthtest.Kind, claims map[string]any) { claims["nonce"] = nonce }
		})
		s := b.session()
		found.Renewals = append(found.Renewals, fmt.Sprintf("%t %t %s", s != nil, s != nil && s.Renewed.After(found.Session.Renewed), s.failure()))
	}
	return found
}

func (s *goldenSession) failure() string {
	if s == nil {
		return ""
	}
	return s.Error
}

// usedToken is the refresh token that the provider gave last.
func (a *goldenApp) usedToken() string { return a.issued["refresh_token"] }

// goldenSignIn signs somebody in and expects the tokens to be found again.
func goldenSignIn(tokens ...string) func(a *goldenApp, v *goldenValue) {
	return func(a *goldenApp, v *goldenValue) {
		a.signInAt("/")
		v.expectIssued(a, tokens...)
	}
}

func (v *goldenValue) expectIssued(a *goldenApp, tokens ...string) {
	for _, name := range tokens {
		v.expect = append(v.expect, a.issued[name])
	}
}

// rich is a person with all that a session can hold, and an access token with
// every claim and word that has a short form.
func goldenRich(a *goldenApp) {
	u := msauthtest.User{
		SignInName: "zoë.o'neill@contoso.example", Name: "Zoë Ana O'Neill", GivenName: "Zoë", FamilyName: "O'Neill",
		Email: "zoe@contoso.example", TenantID: msauthtest.TenantContoso, ObjectID: "0f6d2c1b-7a55-4f0e-8d39-2b1c9a7e6f43",
		Roles: []string{"Auditor", "Site.Admin"},
	}
	for i := range 60 {
		u.Groups = append(u.Groups, fmt.Sprintf("%08x-1111-4222-8333-%012x", 0xa0000000+uint32(i), 7*i))
	}
	a.ms.SetUser(u)
	a.person = u.SignInName
	a.cfg.CookieBudget = 7168
	a.cfg.Claims = []string{"department", "level", "manager", "remote", "tags"}
	a.cfg.Scopes = []string{"User.Read", "Files.ReadWrite.All", "Mail.Send", "Custom.Scope"}
	token := goldenToken()
	a.behave(func(b *msauthtest.Behavior) {
		before := b.IDToken
		b.IDToken = func(kind msauthtest.Kind, claims map[string]any) {
			before(kind, claims)
			maps.Copy(claims, map[string]any{
				"department": "Bridges & Tunnels", "level": 7, "manager": nil, "remote": true,
				"tags": []any{"a", 1.5, map[string]any{"b": "c"}}, "acrs": []string{"c1", "c25"},
			})
		}
		b.TokenReply = func(kind msauthtest.Kind, reply map[string]any) {
			reply["access_token"] = token
			a.note(kind, reply)
		}
	})
}

// goldenWords and goldenClaims are those that had a short form when the values
// were made.
const (
	goldenWords = `openid profile email User.Read 9188040d-6c67-4c5b-b112-36a304b66dad offline_access
		https://graph.microsoft.com 00000003-0000-0000-c000-000000000000 RS256
		Files.Read Files.Read.All Files.ReadWrite Files.ReadWrite.All Mail.Read Mail.ReadWrite Mail.Send
		Calendars.Read Calendars.ReadWrite Contacts.Read User.ReadBasic.All Group.Read.All Directory.Read.All
		Sites.Read.All Tasks.Read Tasks.ReadWrite Notes.Read People.Read Presence.Read Chat.Read
		Contacts.ReadWrite Notes.ReadWrite Sites.ReadWrite.All User.Read.All User.ReadWrite
		b79fbf4d-3ef9-4689-8143-76b194e85509
		dvc_mngd dvc_cmp dvc_dmjd inknownntwk kmsi urn:user:registersecurityinfo user fido wia 1.0 2.0`
	goldenClaims = `typ alg kid x5t nonce aud iss iat nbf exp acct acr acrs aio amr
		app_displayname appid appidacr auth_time azp azpacr capolids_latebind cnf controls
		controls_auds ctry deviceid domain_dns_name domain_netbios_name email endpoint enfpolids
		family_name fwd given_name groups hasgroups idp idtyp in_corp inviter ipaddr login_hint
		name oid onprem_sam_account_name onprem_sid platf preferred_username puid pwd_exp pwd_url rh
		roles scp secaud sid signin_state src1 sub tenant_ctry tenant_display_name
		tenant_region_scope tenant_region_sub_scope tid unique_name upn uti ver verified_primary_email
		verified_secondary_email vnet wids xms_acd xms_act_fct xms_az_nwperimid xms_cae xms_cc
		xms_edov xms_filter_index xms_ftd xms_idrel xms_mirid xms_pdl xms_pftexp xms_pl xms_rd
		xms_ssm xms_st xms_sub_fct xms_tcdt xms_tdbr xms_tdbr_sub xms_tnt_fct xms_tpl zone groups_src
		_claim_names _claim_sources client_id jti sec typ_hint at_hash c_hash locale picture
		middle_name nickname phone_number zoneinfo updated_at email_verified phone_number_verified`
)

// goldenToken is a signed token to look at, with every kind of value.
func goldenToken() string {
	words := strings.Fields(goldenWords)
	values := []string{
		`"%s"`, `"%s"`, // the second is the text before, where words come in pairs
		`1772443%03d`, `null`, `true`, `false`, `-12.50e3`, `[]`, `["%s",["x"],{}]`, `{"%s":{"deep":[1,2,null]}}`,
		`"5b1c6c1e-0d3b-4a54-9a86-5d0f3f0f8a%02x"`, `"\u00fc\n\"q\""`, `"%s openid profile"`, `"a.%s.b"`,
		`"c29tZSBiYXNlNjR1cmwgdGhhdCBpcyBsb25n"`, `"c29tZSBiYXNlNjQ/dGhhdCBpcyBsb25n+w=="`, `"-c29tZSBiYXNlNjQ*dGhhdCBpcyBsb25n!w$$"`, `"40A0CFFE-4FC9-448B-9790-232954984F24"`,
	}
	var members []string
	add := func(name, value string) { members = append(members, `"`+name+`":`+value) }
	for i, name := range strings.Fields(goldenClaims) {
		switch value := values[i%len(values)]; {
		case strings.Contains(value, "%s"):
			add(name, fmt.Sprintf(value, words[i%len(words)]))
		case strings.Contains(value, "%0"):
			add(name, fmt.Sprintf(value, i))
		default:
			add(name, value)
		}
	}
	for i, word := range words {
		add(fmt.Sprintf("w%d", i), `"`+word+`"`)
	}
	add("twice", `"same"`)
	add("again", `"same"`)
	payload := "{" + strings.Join(members, ",") + "}"
	b64 := base64.RawURLEncoding
	return b64.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","kid":"golden","x5t":"golden"}`)) + "." + b64.EncodeToString([]byte(payload)) + "." + b64.EncodeToString(bytes.Repeat([]byte("signature"), 28))
}

func goldenIssuer(p func(s *msauthtest.Server) msauthtest.Provider) func(a *goldenApp) {
	return func(a *goldenApp) {
		at := p(a.ms)
		a.cfg.Authority, a.cfg.Issuer = "", at.Issuer
		if at.Published != at.Issuer {
			a.cfg.MicrosoftIssuer = at.Published
		}
		a.cfg.CookieBudget = 7168
	}
}

// goldenSessions are sessions in cookies and in stores.
func goldenSessions() []*goldenCase {
	both := []string{"access_token", "refresh_token"}
	cases := []*goldenCase{
		{name: "session-work", make: func(a *goldenApp, v *goldenValue) {
			goldenSignIn(both...)(a, v)
			v.Nonce = a.issued["nonce"]
		}},
		{name: "session-personal", config: func(a *goldenApp) { a.person = msauthtest.Mia }, make: goldenSignIn(both...)},
		{
			name: "session-pieces", config: goldenRich, probes: []string{"/context", "/role", "/scopes"},
			make: func(a *goldenApp, v *goldenValue) {
				goldenSignIn(both...)(a, v)
				v.expect = append(v.expect, "Site.Admin", "a000003b-1111-4222-8333-00000000019d", "Bridges \\u0026 Tunnels", "Zoë Ana O'Neill")
				if len(a.jar) < 2 {
					a.t.Errorf("%d cookies, want several", len(a.jar))
				}
			},
		},
		{
			name: "session-lean", config: func(a *goldenApp) { a.cfg.CookieBudget = 2700 },
			make: goldenSignIn("refresh_token"),
		},
		{name: "session-overage", config: func(a *goldenApp) { a.person = msauthtest.Grace }, make: goldenSignIn(both...)},
		{
			name: "session-step-up",
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFA = true })
				time.Sleep(61 * time.Minute)
				a.get("/public")
				v.expect = []string{"sign in required", `"Claims":"{\"access_token\":{\"capolids\"`}
			},
		},
		{
			// Eight sign-ins, each right after the one before: no ninth.
			name: "session-rounds", probes: []string{"/auth/login"},
			make: func(a *goldenApp, v *goldenValue) {
				for range 8 {
					a.signInAt("/auth/login")
				}
				v.expectIssued(a, both...)
				v.expect = append(v.expect, "400 loop")
			},
		},
		{
			// Nobody has entered anything: the session ends with the first sign-in.
			name:   "session-since",
			config: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.OmitAuthTime = true }) },
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				time.Sleep(5 * time.Hour)
				a.signInAt("/auth/login")
				v.expectIssued(a, both...)
				v.expect = append(v.expect, `"Ends":"2026-03-09T09:30:00Z"`)
			},
		},
		{
			name: "session-context", probes: []string{"/context", "/fresh", "/scopes"},
			make: func(a *goldenApp, v *goldenValue) { a.signInAt("/context"); v.expectIssued(a, both...) },
		},
		{
			// What was asked for was not given: it is not asked for again.
			name: "session-asked", probes: []string{"/scopes"},
			make: func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.WithholdScopes = []string{"Calendars.Read"} })
				a.signInAt("/scopes")
				v.expectIssued(a, both...)
				v.expect = append(v.expect, "403 not-granted")
			},
		},
		{
			name: "session-plain-provider", config: goldenIssuer((*msauthtest.Server).Plain),
			make: goldenSignIn("access_token", "refresh_token", "id_token"),
		},
		{name: "session-b2c", config: goldenIssuer((*msauthtest.Server).B2C), make: goldenSignIn("refresh_token")},
		{name: "session-external-id", config: goldenIssuer((*msauthtest.Server).ExternalID), make: goldenSignIn(both...)},
		{
			name: "session-plain-http", make: goldenSignIn(both...),
			config: func(a *goldenApp) { a.host, a.cfg.BaseURL = "localhost:8080", "http://localhost:8080/auth" },
		},
		{
			name: "session-named", make: goldenSignIn(both...),
			config: func(a *goldenApp) {
				a.cfg.CookieName, a.cfg.SessionCookie, a.cfg.Tenant = "golden", true, msauthtest.TenantContoso
			},
		},
		{
			name: "session-old-key", make: goldenSignIn(both...),
			reader: func(a *goldenApp) { a.cfg.Keys = [][]byte{goldenKey(2), goldenKey(1)} },
		},
		{
			name: "session-of-a-user", config: func(a *goldenApp) { a.keep(); a.userKey = "user-7" },
			make: goldenSignIn(both...), partly: []string{"entry"},
		},
		{name: "stored-work", config: (*goldenApp).store, make: goldenSignIn(both...)},
		{name: "stored-personal", config: func(a *goldenApp) { a.store(); a.person = msauthtest.Mia }, make: goldenSignIn(both...)},
		{name: "stored-large", config: func(a *goldenApp) { a.store(); goldenRich(a) }, make: goldenSignIn(both...), probes: []string{"/context", "/role"}},
		{
			name: "stored-before-ids", config: (*goldenApp).store,
			make: func(a *goldenApp, v *goldenValue) {
				goldenSignIn(both...)(a, v)
				a.records.sealAsBefore(a)
			},
		},
	}
	for _, c := range cases {
		c.read = readGoldenSession
	}
	return cases
}

// sealAsBefore seals the records in the form of before they were sealed for
// their ids, which nothing writes any more: with the registration alone.
func (s *goldenRecords) sealAsBefore(a *goldenApp) {
	a.t.Helper()
	key, err := hkdf.Key(sha256.New, goldenKey(1), nil, "msauth stored session v1", 32)
	if err != nil {
		a.t.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		a.t.Fatal(err)
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		a.t.Fatal(err)
	}
	registration, err := hex.DecodeString(strings.Split(a.auth.StoredUser(""), ":")[1])
	if err != nil {
		a.t.Fatal(err)
	}
	name := slices.Collect(maps.Keys(a.jar))[0]
	for id, text := range s.texts {
		box, err := base64.RawURLEncoding.DecodeString(text)
		if err != nil {
			a.t.Fatal(err)
		}
		plain, err := gcm.Open(nil, nil, box, []byte("v2\x00"+name+"\x00"+string(registration)+id))
		if err != nil {
			a.t.Fatal(err)
		}
		s.texts[id] = base64.RawURLEncoding.EncodeToString(gcm.Seal(nil, nil, plain, []byte(name+"\x00"+string(registration))))
	}
}

// A record in another's place, and an entry in another user's, do not open.
func TestGoldenInAnotherPlace(t *testing.T) {
	t.Parallel()
	if *updateGolden != "" {
		t.Skip("the values are being written")
	}
	for _, c := range goldenSessions() {
		if c.name != "stored-work" {
			continue
		}
		v := c.load(t)
		for id, record := range v.Records {
			v.Records = map[string]string{"record-9": record}
			v.Cookies[0] = strings.Replace(v.Cookies[0], id, "record-9", 1)
		}
		if found := c.look(t, v); found.opened() {
			t.Errorf("%s: opens under another id", c.name)
		}
	}
	for _, c := range goldenEntries() {
		if c.name != "entry-work" {
			continue
		}
		v := c.load(t)
		for user, e := range v.Entries {
			v.Entries = map[string]msauth.StoredTokens{strings.Replace(user, "user-7", "user-8", 1): e}
		}
		c.read = func(a *goldenApp, _ *goldenValue) goldenFound { return a.offline("user-8") }
		if found := c.look(t, v); found.opened() {
			t.Errorf("%s: opens for another user", c.name)
		}
	}
}

// A goldenReturn is how a sign-in ends.
type goldenReturn struct {
	Asked    string `json:",omitempty"` // of Microsoft, of a link
	Bare     string `json:",omitempty"` // the callback without cookies
	Callback string
	Verifier string
	Return   string `json:",omitempty"` // by way of /auth/continue
	Again    string // the callback once more
	SignIn   *goldenHook
	Account  string            // of the session
	Entries  []string          `json:",omitempty"`
	Probes   map[string]string `json:",omitempty"`
	ended    bool
}

func (r *goldenReturn) opened() bool { return r.ended }

// readGoldenAttempt finishes a sign-in.
func readGoldenAttempt(a *goldenApp, v *goldenValue) goldenFound {
	return a.finish(v.URL, &goldenReturn{})
}

func (a *goldenApp) finish(address string, found *goldenReturn) *goldenReturn {
	a.t.Helper()
	back := a.atMicrosoft(address)
	bare := a.clone()
	bare.jar = map[string]string{}
	found.Bare = a.told(bare.get(back))
	a.ms.ResetCalls()
	got := a.get(back)
	found.Callback = a.told(got)
	if calls := a.ms.Calls(msauthtest.TokenCode); len(calls) > 0 {
		// The provider has compared it with the challenge.
		found.Verifier = calls[0].Form.Get("code_verifier")
		found.ended = true
	}
	if strings.HasSuffix(got.location, "/auth/continue") {
		found.Return = a.told(a.get(got.location))
	}
	found.SignIn = a.seen.signIn
	if s := a.clone().session(); s != nil {
		found.Account = s.Key
	}
	found.Again = a.told(a.clone().get(back))
	if a.entries != nil {
		found.Entries = slices.Sorted(maps.Keys(a.entries.entries))
	}
	found.Probes = a.probe()
	return found
}

var goldenLong = "/reports/q3?filter=" + strings.Repeat("north-east~", 80) + "&page=2"

// goldenAttempts are sign-ins that are under way.
func goldenAttempts() []*goldenCase {
	at := func(page string) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) { v.URL = a.begin(page) }
	}
	connecting := func(a *goldenApp) {
		a.keep()
		a.cfg.User = func(*http.Request) string { return "zoë" }
	}
	cases := []*goldenCase{
		{name: "attempt-page", make: func(a *goldenApp, v *goldenValue) {
			at("/files/a?b=c&d=%C3%A9")(a, v)
			v.expect = []string{"/files/a?b=c\\u0026d=%C3%A9"}
		}},
		{name: "attempt-long-address", partly: []string{"-to, byte"}, make: func(a *goldenApp, v *goldenValue) {
			at(goldenLong)(a, v)
			v.expect = []string{strings.ReplaceAll(goldenLong, "&", "\\u0026")}
		}},
		{name: "attempt-personal", config: func(a *goldenApp) { a.person = msauthtest.Mia }, make: at("/")},
		{name: "attempt-plain-provider", config: goldenIssuer((*msauthtest.Server).Plain), make: at("/a")},
		{name: "attempt-app-state", make: func(a *goldenApp, v *goldenValue) {
			v.URL = a.begin(a.auth.LoginURL(msauth.LoginOptions{
				ReturnTo: "/inbox", AppState: "invitation 42 für Zoë", Scopes: []string{"Mail.Send", "Files.Read"},
			}))
			v.expect = []string{"invitation 42 für Zoë", "/inbox"}
		}},
		{name: "attempt-fresh", make: at("/fresh"), probes: []string{"/fresh"}},
		{
			// Microsoft does not say how fresh it is: the state still knows.
			name: "attempt-fresh-unproved", make: at("/fresh"),
			reader: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.OmitAuthTime = true }) },
		},
		{name: "attempt-context", make: at("/context"), probes: []string{"/context"}},
		{
			// Asked in vain, which the session remembers of the state.
			name: "attempt-context-in-vain", make: at("/context"), probes: []string{"/context"},
			reader: func(a *goldenApp) { a.behave(func(b *msauthtest.Behavior) { b.IgnoreClaims = true }) },
		},
		{
			// The code is refused with a challenge, which joins what was asked for.
			name: "attempt-context-refused", make: at("/context"),
			reader: func(a *goldenApp) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode, b.IgnoreClaims = true, true })
			},
		},
		{
			// For the second time, which is once too often.
			name: "attempt-challenged",
			make: func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode = true })
				v.URL = a.get(a.atMicrosoft(a.begin("/a"))).location
				v.expect = []string{"403 not-enough"}
			},
			reader: func(a *goldenApp) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFAForCode, b.IgnoreClaims = true, true })
			},
		},
		{
			name: "attempt-retried",
			make: func(a *goldenApp, v *goldenValue) {
				back := a.atMicrosoft(a.begin("/a"))
				a.jar = map[string]string{}
				v.URL = a.begin(a.get(back).page.Links[0].URL)
				v.expect = []string{"400 cookies-blocked"}
			},
		},
		{
			name: "attempt-other-host",
			make: func(a *goldenApp, v *goldenValue) {
				a.host = "www.app.test"
				v.URL = a.begin("/a")
				v.expect = []string{"400 wrong-host"}
			},
		},
		{
			name: "attempt-rounds", probes: []string{"/auth/login"},
			make: func(a *goldenApp, v *goldenValue) {
				for range 7 {
					a.signInAt("/auth/login")
				}
				v.URL = a.begin("/auth/login")
				v.expect = []string{"400 loop"}
				maps.DeleteFunc(a.jar, func(name, _ string) bool { return !strings.Contains(name, "-login-") })
			},
		},
		{
			name: "attempt-connect", config: connecting,
			make: func(a *goldenApp, v *goldenValue) {
				v.URL = a.do(http.MethodPost, "/connect", "", "Sec-Fetch-Site", "same-origin").location
				v.expect = []string{"zoë", "/settings?tab=accounts", `"Connecting":true`}
			},
		},
	}
	for _, c := range cases {
		c.read = readGoldenAttempt
	}
	return append(cases, &goldenCase{
		// The session and the long address, which only its own sign-in may use.
		name: "attempt-continue", partly: []string{"cookie"},
		make: func(a *goldenApp, v *goldenValue) {
			if got := a.get(a.atMicrosoft(a.begin(goldenLong))); got.location != "/auth/continue" {
				a.t.Fatalf("status %d to %q; log:\n%s", got.status, got.location, a.log)
			}
			a.get("/public")
			v.expect = []string{strings.ReplaceAll(goldenLong, "&", "\\u0026")}
		},
		read: func(a *goldenApp, _ *goldenValue) goldenFound {
			return goldenLine(a.told(a.get("/auth/continue")))
		},
	})
}

// A goldenLine is an answer.
type goldenLine string

func (l goldenLine) opened() bool { return strings.HasPrefix(string(l), "303 ") }

// readGoldenLink opens a login link, and goes all the way.
func readGoldenLink(a *goldenApp, v *goldenValue) goldenFound {
	got := a.get(v.URL)
	found := &goldenReturn{Asked: a.told(got)}
	if got.status != http.StatusSeeOther {
		return found
	}
	a.finish(got.location, found)
	found.Verifier = "" // of an attempt of today
	return found
}

// goldenLinks are login links with something sealed.
func goldenLinks() []*goldenCase {
	told := func(page string, signedIn bool) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			if signedIn {
				a.signInAt("/")
			}
			v.URL = a.loginURL(page)
		}
	}
	cases := []*goldenCase{
		{name: "link-app-state", make: func(a *goldenApp, v *goldenValue) {
			v.URL = a.auth.LoginURL(msauth.LoginOptions{
				ReturnTo: "/inbox?x=1", AppState: "invitation 42 für Zoë", Scopes: []string{"Mail.Send", "api://orders/Orders.Read"},
				LoginHint: msauthtest.Ada, Prompt: "login",
			})
			v.expect = []string{"invitation 42 für Zoë", "Mail.Send", "/inbox?x=1", "prompt=login"}
		}},
		{name: "link-scopes", make: told("/scopes", false), probes: []string{"/scopes"}},
		{name: "link-fresh", make: told("/fresh", false), probes: []string{"/fresh"}},
		{name: "link-context", make: told("/context", false), probes: []string{"/context"}},
		{name: "link-challenge", make: told("/challenge", true), partly: []string{"cookie"}},
		{name: "link-again", make: told("/again", true), probes: []string{"/again"}, partly: []string{"cookie"}},
		{name: "link-retry", make: func(a *goldenApp, v *goldenValue) {
			back := a.atMicrosoft(a.begin("/a?b"))
			a.jar = map[string]string{}
			v.URL = a.get(back).page.Links[0].URL
			v.expect = []string{"400 cookies-blocked"}
		}},
	}
	for _, c := range cases {
		if c.read = readGoldenLink; strings.HasSuffix(c.name, "app-state") {
			c.config = func(a *goldenApp) {
				a.ms.AddAPI(msauthtest.API{ID: "api://orders", Scopes: []string{"Orders.Read"}})
			}
		}
	}
	return cases
}

// goldenForms are the tokens of forms that ask.
func goldenForms() []*goldenCase {
	post := func(page string, header ...string) func(*goldenApp, *goldenValue) goldenFound {
		return func(a *goldenApp, v *goldenValue) goldenFound {
			return goldenLine(a.told(a.do(http.MethodPost, page, url.Values{"msauth_token": {v.Form}}.Encode(), header...)))
		}
	}
	ask := func(page string, header ...string) func(*goldenApp, *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			got := a.do(http.MethodPost, page, "", header...)
			if len(got.page.Links) == 0 || got.page.Links[0].Token == "" {
				a.t.Fatalf("status %d, %s; log:\n%s", got.status, got.page.Kind, a.log)
			}
			v.Form = got.page.Links[0].Token
		}
	}
	sameSite := []string{"Sec-Fetch-Site", "same-site"}
	worker := []string{"Sec-Fetch-Site", "same-origin", "Sec-Fetch-Mode", "same-origin", "Sec-Fetch-Dest", "document", "Upgrade-Insecure-Requests", "1"}
	return []*goldenCase{
		{
			name: "form-sign-out", read: post("/auth/logout", sameSite...),
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				ask("/auth/logout", sameSite...)(a, v)
			},
		},
		{
			// Of a browser whose session cannot be read.
			name: "form-sign-out-unreadable", read: post("/auth/logout", sameSite...),
			make: func(a *goldenApp, v *goldenValue) {
				a.signInAt("/")
				for name := range a.jar {
					a.jar[name] = name + "=1AAAAAAAAunreadable; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax"
				}
				ask("/auth/logout", sameSite...)(a, v)
			},
		},
		{
			name: "form-connect", read: post("/connect", worker...), make: ask("/connect", worker...),
			config: func(a *goldenApp) {
				a.keep()
				a.cfg.User = func(*http.Request) string { return "zoë" }
			},
		},
	}
}

// A goldenOffline is what is found of an entry of Config.Tokens.
type goldenOffline struct {
	Session       *goldenSession
	Error, Claims string
	Refresh       string
	Waited        bool // for somebody's lease
	refused       bool // as it should be
}

func (o *goldenOffline) opened() bool { return o.Session != nil || o.refused }

func (a *goldenApp) offline(user string) *goldenOffline {
	a.down(true)
	s, err := a.auth.Offline(context.Background(), user)
	found := &goldenOffline{}
	if found.Error, found.Claims = goldenError(err); err == nil {
		began := time.Now()
		found.Session = reportGolden(context.Background(), s)
		found.Waited = time.Since(began) > time.Minute
		if found.Session.Token != "" {
			time.Sleep(time.Until(found.Session.Expiry) + time.Minute)
			_, _ = s.Token(context.Background())
		}
		found.Refresh = a.usedRefreshToken()
	}
	return found
}

// goldenEntries are what Config.Tokens keeps.
func goldenEntries() []*goldenCase {
	both := []string{"access_token", "refresh_token"}
	config := func(a *goldenApp) { a.keep(); a.userKey = "user-7" }
	signIn := func(then func(a *goldenApp, v *goldenValue), tokens ...string) func(a *goldenApp, v *goldenValue) {
		return func(a *goldenApp, v *goldenValue) {
			goldenSignIn(tokens...)(a, v)
			then(a, v)
			a.jar = map[string]string{}
		}
	}
	nothing := func(*goldenApp, *goldenValue) {}
	cases := []*goldenCase{
		{name: "entry-work", config: config, make: signIn(nothing, both...)},
		{name: "entry-personal", config: func(a *goldenApp) { config(a); a.person = msauthtest.Mia }, make: signIn(nothing, both...)},
		{name: "entry-large", config: func(a *goldenApp) { config(a); goldenRich(a) }, make: signIn(nothing, both...)},
		{
			name: "entry-old-key", config: config, make: signIn(nothing, both...),
			reader: func(a *goldenApp) { a.cfg.Keys = [][]byte{goldenKey(2), goldenKey(1)} },
		},
		{
			// Of before the registration was part of the names.
			name: "entry-bare-name", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				prefix := a.auth.StoredUser("")
				v.Entries = map[string]msauth.StoredTokens{}
				for user, e := range a.entries.entries {
					e.Account = strings.TrimPrefix(e.Account, prefix)
					v.Entries[strings.TrimPrefix(user, prefix)] = e
				}
			}, both...),
		},
		{
			// Somebody renews it.
			name: "entry-leased", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				time.Sleep(61 * time.Minute)
				a.behave(func(b *msauthtest.Behavior) { b.Delay[msauthtest.TokenRefresh] = 10 * time.Second })
				s, err := a.auth.Offline(context.Background(), "user-7")
				if err != nil {
					a.t.Fatal(err)
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = s.Token(context.Background())
				}()
				time.Sleep(time.Second)
				v.Entries = a.entries.copy().entries
				for _, e := range v.Entries {
					if time.Until(e.Lease) < time.Minute {
						a.t.Errorf("lease until %v", e.Lease)
					}
				}
				<-done
				v.expect = append(v.expect, `"Waited":true`)
			}, "refresh_token"),
		},
		{
			name: "entry-step-up", config: config,
			make: signIn(func(a *goldenApp, v *goldenValue) {
				a.behave(func(b *msauthtest.Behavior) { b.RequireMFA = true })
				time.Sleep(61 * time.Minute)
				s, err := a.auth.Offline(context.Background(), "user-7")
				if err == nil {
					_, err = s.Token(context.Background())
				}
				failure, ok := errors.AsType[*msauth.AuthError](err)
				if !ok || failure.Claims == "" {
					a.t.Fatalf("Token: %v", err)
				}
				v.expect = []string{"sign in required"}
			}),
			read: func(a *goldenApp, _ *goldenValue) goldenFound {
				found := a.offline("user-7")
				found.refused = found.Claims != ""
				return found
			},
		},
	}
	for _, c := range cases {
		if c.read == nil {
			c.read = func(a *goldenApp, _ *goldenValue) goldenFound { return a.offline("user-7") }
		}
	}
	return cases
}

// A goldenValues is an app's own session.
type goldenValues struct {
	IsNew  bool
	Values map[string]any
	Later  bool // is there when its age is over
	Others bool // is there for another owner
}

func (v *goldenValues) opened() bool { return !v.IsNew }

// goldenOwn are sessions of an app's own in a CookieStore.
func goldenOwn() []*goldenCase {
	open := func(a *goldenApp, owner string) *sessions.Session {
		store, err := msauth.NewCookieStore(goldenKey(1))
		if err != nil {
			a.t.Fatal(err)
		}
		store.Owner = owner
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, line := range a.jar {
			pair, _, _ := strings.Cut(line, ";")
			r.Header.Set("Cookie", strings.TrimPrefix(r.Header.Get("Cookie")+"; "+pair, "; "))
		}
		session, err := store.Get(r, "own")
		if err != nil {
			a.t.Fatal(err)
		}
		return session
	}
	of := func(name, owner string, values map[any]any) *goldenCase {
		return &goldenCase{
			name: name,
			make: func(a *goldenApp, v *goldenValue) {
				session := open(a, owner)
				maps.Copy(session.Values, values)
				w := httptest.NewRecorder()
				if err := session.Save(httptest.NewRequest(http.MethodGet, "/", nil), w); err != nil {
					a.t.Fatal(err)
				}
				a.receive(w.Header()["Set-Cookie"])
			},
			read: func(a *goldenApp, _ *goldenValue) goldenFound {
				session := open(a, owner)
				found := &goldenValues{IsNew: session.IsNew, Values: map[string]any{}}
				for key, value := range session.Values {
					found.Values[fmt.Sprintf("%T %v", key, key)] = fmt.Sprintf("%T %v", value, value)
				}
				found.Others = !open(a, owner+"x").IsNew
				time.Sleep(7*24*time.Hour + time.Second)
				found.Later = !open(a, owner).IsNew
				return found
			},
		}
	}
	large := strings.Repeat("a long list of things in a basket, ", 120)
	return []*goldenCase{
		of("own-small", "", map[any]any{"user": "zoë", "n": 42, 7: "seven", "yes": true, "f": 1.5, "b": []byte("bytes")}),
		of("own-pieces", "", map[any]any{"basket": large, "n": 1}),
		of("own-owner", "shop", map[any]any{"user": "zoë"}),
	}
}
