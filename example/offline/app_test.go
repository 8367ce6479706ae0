package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

func TestFormsSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.get("/").want(http.StatusOK, "Sign up", "Never enter your Microsoft password here")
	for _, path := range []string{"/settings", "/digests"} {
		if res := b.get(path).want(http.StatusOK); res.Request.URL.Path != "/sign-in" {
			t.Errorf("%s leads to %s", path, res.Request.URL)
		}
	}
	name := `required aria-invalid="true" aria-describedby="complaint">`
	word := `required aria-invalid="true" aria-describedby="complaint rule">`
	for _, tt := range []struct{ name, password, want, wrong, right string }{
		{"", password, "Please choose a name.", name, word},
		{"   ", password, "Please choose a name.", name, word},
		{strings.Repeat("ü", 41), password, "at most 40 characters", name, word},
		{"a\x00b", password, "without control characters", name, word},
		{"zoe", "short", "at least 12 characters", word, name},
		{"zoe", strings.Repeat("x", 1025), "shorter password", word, name},
	} {
		b.post("/sign-up", "name", tt.name, "password", tt.password).
			want(http.StatusUnprocessableEntity, tt.want, `role="alert"`, tt.wrong).lack(tt.right)
	}
	b.get("/sign-up").want(http.StatusOK, `<label for="password">Password</label>`, `aria-describedby="rule"`).lack("aria-invalid")

	b.post("/sign-up", "name", "Zoë", "password", password).want(http.StatusOK)
	other := s.browser()
	other.post("/sign-up", "name", "Zoë", "password", password).want(http.StatusUnprocessableEntity, "This name is taken", name).lack(word)
	res := other.post("/sign-in", "name", "Zoë", "password", "wrong password").want(http.StatusUnprocessableEntity, "Wrong name or password", `value="Zoë"`)
	if n := strings.Count(res.body, name); n != 2 {
		t.Errorf("%d fields are marked as wrong, want both", n)
	}
	other.post("/sign-in", "name", "nobody", "password", password).want(http.StatusUnprocessableEntity, "Wrong name or password")
	other.get("/settings").want(http.StatusOK, "New here?")
}

func TestSigningUpInAndOut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.browser()
	b.post("/sign-up", "name", " Zoë ", "password", password).want(http.StatusOK, "Zoë", "No account is connected.")
	b.get("/digests").want(http.StatusOK, "No Microsoft account is connected")

	other := s.browser()
	other.post("/sign-up", "name", "<b>", "password", password).want(http.StatusOK, "&lt;b&gt;").lack("<b>")
	other.post("/sign-out").want(http.StatusOK)
	other.post("/sign-in", "name", "Zoë", "password", password).want(http.StatusOK, "Zoë")

	// Each sign-in makes a new ID, which is worthless after signing out.
	value := func(b *browser) string {
		u, _ := url.Parse(s.URL)
		for _, c := range b.Jar.Cookies(u) {
			if c.Name == cookieName {
				return c.Value
			}
		}
		return ""
	}
	before := value(b)
	b.post("/sign-in", "name", "Zoë", "password", password).want(http.StatusOK)
	if after := value(b); before == "" || after == before {
		t.Error("the session has the same ID after signing in")
	}
	for _, stale := range []string{before, value(b)} {
		if stale != before {
			b.post("/sign-out").want(http.StatusOK, "Sign up")
		}
		stolen := s.browser()
		stolen.send(http.MethodGet, "/settings", nil, map[string]string{"Cookie": cookieName + "=" + stale}).want(http.StatusOK, "New here?")
	}
	s.restart()
	other.get("/settings").want(http.StatusOK, "Zoë")

	res := b.still().post("/sign-in", "name", "Zoë", "password", password)
	line := res.Header.Get("Set-Cookie")
	for _, want := range []string{"digests=", "; HttpOnly", "; SameSite=Lax", "; Path=/"} {
		if !strings.Contains(line, want) {
			t.Errorf("Set-Cookie lacks %q", want)
		}
	}
	public := &app{set: &settings{}}
	public.set.Auth.BaseURL = "https://digests.example.com/auth"
	if c := public.cookie("x", 60); c.Name != "__Host-digests" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" {
		t.Errorf("over https the cookie is %v", c)
	}
	file, err := os.ReadFile(s.env["DIGEST_DB"])
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"the password": password, "the cookie": value(other)} {
		if bytes.Contains(file, []byte(text)) {
			t.Errorf("%s is in the database", what)
		}
	}
}

func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	evil := map[string]string{"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
	for _, path := range []string{"/sign-up", "/sign-in", "/sign-out", "/settings/connect", "/settings/disconnect", "/people/2/left"} {
		b.send(http.MethodPost, path, url.Values{"name": {"eve"}, "password": {password}}, evil).want(http.StatusForbidden, "posted by another site")
		old := map[string]string{"Origin": "https://evil.example"}
		b.send(http.MethodPost, path, url.Values{"name": {"eve"}, "password": {password}}, old).want(http.StatusForbidden, "posted by another site")
	}
	b.get("/settings").want(http.StatusOK, "zoe", "Connected: ")
	b.get("/settings/connect").want(http.StatusNotFound)
}

func TestConnecting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.user("zoe")
	res := b.get("/settings").want(http.StatusOK, "No account is connected.", "Connect your Microsoft account")
	if policy := res.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self' "+s.ms.URL+";") {
		t.Errorf("the policy %q does not let the form go to Microsoft", policy)
	}
	res = b.post("/settings/connect").want(http.StatusOK, "Connected: ", "Ada Lindqvist", "myapps.microsoft.com")
	if res.Request.URL.Path != "/settings" {
		t.Errorf("the way ends at %s", res.Request.URL)
	}
	asked := s.ms.Calls(msauthtest.Authorize)[0].Query
	if !strings.Contains(asked.Get("scope"), "Files.Read") || asked.Get("prompt") != "select_account" {
		t.Errorf("asked for %q with prompt %q", asked.Get("scope"), asked.Get("prompt"))
	}
	b.get("/digests").want(http.StatusOK, "There is no digest yet")
	b.post("/settings/connect").want(http.StatusOK, "Connected: ") // again does no harm

	// Signing in with Microsoft is refused, so no tokens are stored.
	s.browser().get("/auth/login").want(http.StatusForbidden)
	if n := s.number(`SELECT count(*) FROM msauth_tokens`); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	s.browser().post("/settings/connect").want(http.StatusForbidden, "Sign in to this site first")
}

func TestOneMicrosoftAccountIsOneUsers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	b := s.user("yan")
	b.post("/settings/connect").want(http.StatusForbidden, "already connected", "Somebody else has connected it to their user account")
	b.get("/settings").want(http.StatusOK, "No account is connected.")
	s.as(msauthtest.Bruno)
	b.post("/settings/connect").want(http.StatusOK, msauthtest.Bruno)
	s.as(msauthtest.Grace)
	b.post("/settings/connect").want(http.StatusForbidden, "Another Microsoft account is connected")
	b.get("/settings").want(http.StatusOK, msauthtest.Bruno)
}

func TestWhoComesBackMustBeWhoBegan(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		then func(b *browser)
		ends int
		want string
	}{
		{"another user", func(b *browser) { b.post("/sign-in", "name", "yan", "password", password).want(http.StatusOK, "yan") }, http.StatusForbidden, "The account was not connected"},
		{"nobody", func(b *browser) { b.post("/sign-out").want(http.StatusOK) }, http.StatusForbidden, "The account was not connected"},
		{"the same user, signed in again", func(b *browser) { b.post("/sign-in", "name", "zoe", "password", password).want(http.StatusOK) }, http.StatusOK, "Connected: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.user("yan")
			b := s.user("zoe")
			still := b.still()
			back := still.get(still.post("/settings/connect").Header.Get("Location")).Header.Get("Location")
			tt.then(b)
			b.get(back).want(tt.ends, tt.want)
		})
	}
}

func TestDisconnecting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b, other := s.connected("zoe", msauthtest.Ada), s.connected("yan", msauthtest.Bruno)
	s.wantRun(run{Users: 2, Written: 2})
	b.post("/settings/disconnect").want(http.StatusOK, "No account is connected.")
	s.wantDigests(1)
	if n := s.number(`SELECT count(*) FROM msauth_tokens`); n != 1 {
		t.Errorf("%d entries are left, want 1", n)
	}
	s.wantRun(run{Users: 1, Written: 1})
	b.get("/digests").want(http.StatusOK, "No Microsoft account is connected").lack("As of")
	other.get("/digests").want(http.StatusOK, "As of")
	// Another user can connect the account now.
	s.connected("xia", msauthtest.Ada)
	b.post("/settings/connect").want(http.StatusForbidden, "already connected")
}

// Disconnecting deletes all or, if the transaction fails, nothing.
func TestDisconnectingIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE DELETE ON digests BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	b.post("/settings/disconnect").want(http.StatusServiceUnavailable, "The database is not available", "Nothing has changed")
	s.wantDigests(1)
	b.get("/settings").want(http.StatusOK, "Connected: ")
	if _, err := s.db.Exec(`DROP TRIGGER broken`); err != nil {
		t.Fatal(err)
	}
	b.post("/settings/disconnect").want(http.StatusOK, "No account is connected.")
	s.wantDigests(0)
}

// lazyStore is a token store that fails the first time that an entry is gone.
type lazyStore struct {
	msauth.TokenStore
	failed *atomic.Bool
}

func (s lazyStore) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	t, err := s.TokenStore.Load(ctx, user)
	if errors.Is(err, msauth.ErrNoTokens) && s.failed.CompareAndSwap(false, true) {
		err = errors.New("the disk is full")
	}
	return t, err
}

// After the tokens and digests are deleted, the page does not say that nothing has
// changed.
func TestDisconnectingThatMsauthDoesNotLearnOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	a, err := newAppOn(s.db, s.store, lazyStore{s.store, new(atomic.Bool)}, s.set, s.app.log)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.handler = a.handler()
	s.mu.Unlock()
	b.post("/settings/disconnect").want(http.StatusOK, "No account is connected.")
	s.wantDigests(0)
	if !strings.Contains(s.log.String(), "the disk is full") {
		t.Error("the log does not tell")
	}
}

// If the session cannot be stored, neither is the user, and the previous session
// stays: nothing has changed, as the page says.
func TestSigningUpAndInIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.user("zoe")
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE INSERT ON sessions BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	b.post("/sign-in", "name", "zoe", "password", password).want(http.StatusServiceUnavailable, "Nothing has changed")
	b.get("/settings").want(http.StatusOK, "zoe", "No account is connected.")
	other := s.browser()
	other.post("/sign-up", "name", "yan", "password", password).want(http.StatusServiceUnavailable, "Nothing has changed")
	if _, err := s.db.Exec(`DROP TRIGGER broken`); err != nil {
		t.Fatal(err)
	}
	other.post("/sign-up", "name", "yan", "password", password).want(http.StatusOK, "yan", "No account is connected.")
}

// An account can be disconnected even if it is no longer allowed.
func TestAnAccountThatIsNotAdmittedCanBeDisconnected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.set.Auth.AllowedTenants = []string{"00000000-1111-2222-3333-444444444444"}
	a, err := newAppOn(s.db, s.store, s.store, s.set, s.app.log)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.app, s.handler = a, a.handler()
	s.mu.Unlock()
	s.wantRun(run{Users: 1, Failed: 1})
	b.get("/digests").want(http.StatusOK, "no longer allowed to use this site")
	b.get("/settings").want(http.StatusOK, "An account is connected.", "no longer allowed to use this site").lack("even while you are away", "ago;")
	b.post("/settings/disconnect").want(http.StatusOK, "No account is connected.")
}

// Requests to another name of this computer are redirected to the one that
// Microsoft redirects to.
func TestPeopleAreSentToWhereTheyCanConnect(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	_, port, _ := strings.Cut(strings.TrimPrefix(s.URL, "http://"), ":")
	b := s.browser().still()
	res := b.get("http://127.0.0.1:" + port + "/sign-in?a=b").want(http.StatusFound)
	if got, want := res.Header.Get("Location"), s.URL+"/sign-in?a=b"; got != want {
		t.Errorf("led to %q, want %q", got, want)
	}
	b.get("/sign-in?a=b").want(http.StatusOK)
	b.get("http://127.0.0.1:" + port + "/healthz").want(http.StatusOK)
	for _, host := range []string{"digests.example:" + port, "127.0.0.1:1"} { // what a proxy may name
		req, err := http.NewRequest(http.MethodGet, s.URL+"/sign-in", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		res, err := b.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			t.Errorf("as %s: status %d", host, res.StatusCode)
		}
	}
}

// After a change of keys the stored tokens are sealed with the new one, so that the
// old one can be removed.
func TestKeysCanBeChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first, second := "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
	s.env["MSAUTH_KEYS"] = first
	s.restart()
	b := s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Bruno)
	const done = "keys: all accounts are sealed with the first key"
	start := func() {
		t.Helper()
		s.restart()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			s.work(ctx)
		}()
		for range 100 {
			if strings.Contains(s.log.String(), "keys: ") {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		cancel()
		<-ended
	}
	s.env["MSAUTH_KEYS"] = second + "," + first
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE UPDATE ON msauth_tokens WHEN old.user_key = '2'
		BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	if start(); !strings.Contains(s.log.String(), "keep the others") || strings.Contains(s.log.String(), done) {
		t.Error("one was not sealed, and the log does not say so")
	}
	if _, err := s.db.Exec(`DROP TRIGGER broken`); err != nil {
		t.Fatal(err)
	}
	s.log.Reset()
	if start(); !strings.Contains(s.log.String(), done) {
		t.Error("the log does not say that it is done")
	}
	s.env["MSAUTH_KEYS"] = second
	s.log.Reset()
	s.restart()
	b.get("/settings").want(http.StatusOK, "Connected: ").lack("sign in again")
	s.wantRun(run{Users: 2, Written: 2})
}

func TestADatabaseThatIsDownIsSaidInWords(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.user("zoe")
	s.db.Close()
	for _, path := range []string{"/", "/settings", "/digests"} {
		b.get(path).want(http.StatusServiceUnavailable, "The database is not available", "Try again").lack("sql:")
	}
	b.get("/healthz").want(http.StatusOK)
	s.start()
	b.get("/settings").want(http.StatusOK, "zoe")
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	hash, err := hashPassword(t.Context(), password)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("hash %.40s...", hash)
	}
	for try, want := range map[string]bool{password: true, password + " ": false, "": false} {
		if ok, err := verifyPassword(t.Context(), hash, try); ok != want || err != nil {
			t.Errorf("%q: %t, %v", try, ok, err)
		}
	}
	for _, spoilt := range []string{"", "$", hash[:40], strings.Replace(hash, "m=", "n=", 1)} {
		if ok, err := verifyPassword(t.Context(), spoilt, password); ok || err == nil {
			t.Errorf("%q: %t, %v", spoilt, ok, err)
		}
	}
}
