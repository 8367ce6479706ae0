package requests_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What a script of the site is told.
type sessionAnswer struct {
	SignedIn  bool      `json:"signed_in"`
	Name      string    `json:"name"`
	Username  string    `json:"username"`
	Ends      time.Time `json:"ends"`
	IdleEnds  time.Time `json:"idle_ends"`
	Person    uint64    `json:"person"`
	SignIn    uint64    `json:"sign_in"`
	LoginURL  string    `json:"login_url"`
	LogoutURL string    `json:"logout_url"`
}

// fetch is what a script's fetch sends.
var fetch = append([]string{"Sec-Fetch-Site", "same-origin"}, testsite.Script...)

// session asks for the session, as a script does.
func session(t *testing.T, b *testsite.Browser, method string, header ...string) (a sessionAnswer, res testsite.Seen) {
	t.Helper()
	res = b.Request(method, "/auth/session", append(fetch, header...)...)
	if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != "application/json" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, %v, %.200q", res.StatusCode, res.Header, res.Text)
	}
	if err := json.Unmarshal([]byte(res.Text), &a); err != nil {
		t.Fatalf("%q: %v", res.Text, err)
	}
	return a, res
}

func TestScriptsAreToldAboutTheSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Lifetime(time.Hour)
		b := s.Browser(t)
		if a, _ := session(t, b, http.MethodGet, "Referer", s.URL+"/files?x=1"); a.SignedIn || a.LoginURL != "/auth/login?return_to=%2Ffiles%3Fx%3D1" || a.LogoutURL != "" || a.Person != 0 {
			t.Errorf("nobody: %+v", a)
		}
		began := time.Now().UTC()
		b.SignIn(msauthtest.Ada)
		a, _ := session(t, b, http.MethodGet)
		want := sessionAnswer{
			true, "Ada Lindqvist", msauthtest.Ada, began.Add(7 * 24 * time.Hour).Truncate(time.Second), began.Add(24 * time.Hour).Truncate(time.Second),
			a.Person, a.SignIn, "/auth/login", "/auth/logout",
		}
		if a != want || a.Person == 0 || a.SignIn == 0 || a.SignIn == a.Person || a.Person >= 1<<53 {
			t.Errorf("%+v, want %+v", a, want)
		}

		// It is no use of the session: nothing is renewed or written, and the idle time
		// goes on.
		s.MS.ResetCalls()
		for range 23 {
			time.Sleep(time.Hour)
			now, res := session(t, b, http.MethodGet)
			if now.IdleEnds != want.IdleEnds || res.Header.Get("Set-Cookie") != "" {
				t.Fatalf("idle until %v, cookies %q", now.IdleEnds, res.Header["Set-Cookie"])
			}
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 0)

		// Staying signed in is one.
		time.Sleep(30 * time.Minute)
		now, res := session(t, b, http.MethodPost)
		if !now.IdleEnds.After(time.Now().Add(23*time.Hour)) || res.Header.Get("Set-Cookie") == "" {
			t.Errorf("after POST: idle until %v, cookies %q", now.IdleEnds, res.Header["Set-Cookie"])
		}
		s.WantCalls(t, msauthtest.TokenRefresh, 1)
		time.Sleep(24 * time.Hour)
		if a, _ := session(t, b, http.MethodGet); a.SignedIn {
			t.Error("signed in after the idle time")
		}
		if a, _ := session(t, b, http.MethodPost); a.SignedIn {
			t.Error("POST brings back a session that is over")
		}
		s.WantNoSecrets(t, "the log", s.Log.String())
	})
}

// A refusal of a session whose renewal is refused names that sign-in: /session, which
// renews nothing, goes on to name it too, and would seem to tell of another one.
func TestScriptsOfASessionWhoseRenewalIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testsite.NewInProcess(t)
		s.Lifetime(time.Hour)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		before, _ := session(t, b, http.MethodGet)
		s.MS.Revoke(msauthtest.Ada)
		time.Sleep(61 * time.Minute)
		s.Mux.Handle("/late", s.Auth.Load(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.Auth.Challenge(w, r, msauth.ErrSignInRequired)
		})))
		for _, path := range []string{"/", "/late"} {
			if p := b.WantProblem(b.Fetch(path), http.StatusUnauthorized); p.SignIn != before.SignIn {
				t.Errorf("%s: sign-in %d does not suffice, the session says %d", path, p.SignIn, before.SignIn)
			}
		}
		if now, _ := session(t, b, http.MethodGet); now != before {
			t.Errorf("%+v, before %+v", now, before)
		}
		if now, _ := session(t, b, http.MethodPost); now.SignedIn || now.SignIn != 0 {
			t.Errorf("POST: %+v", now)
		}
		b.Get("/auth/login")
		if now, _ := session(t, b, http.MethodGet); !now.SignedIn || now.SignIn == before.SignIn {
			t.Errorf("after the next sign-in %+v", now)
		}
	})
}

func TestNumberOfThePerson(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	person := func(name string) uint64 {
		b := s.Browser(t)
		b.SignIn(name)
		a, _ := session(t, b, http.MethodGet)
		return a.Person
	}
	ada := person(msauthtest.Ada)
	if person(msauthtest.Ada) != ada || person(msauthtest.Mia) == ada {
		t.Error("the number does not tell people apart")
	}
}

// A copy of a session that was signed out tells nothing.
func TestScriptsOfASessionThatHasEnded(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	copied := b.CookieLine()
	if res := b.Still().Get("/auth/logout", testsite.SameOrigin...); res.StatusCode != http.StatusSeeOther {
		t.Fatalf("signing out: status %d", res.StatusCode)
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if a, _ := session(t, s.Browser(t), method, "Cookie", copied); a.SignedIn || a.Name != "" || a.Person != 0 || a.SignIn != 0 {
			t.Errorf("%s: %+v", method, a)
		}
	}
}

// Other sites learn nothing, and keep nobody signed in.
func TestSessionIsForScriptsOfTheSite(t *testing.T) {
	t.Parallel()
	s := testsite.New(t)
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	for _, test := range []struct {
		name   string
		header []string
		status int
	}{
		{"of another site", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"of another origin of the site", []string{"Sec-Fetch-Site", "same-site"}, 403},
		{"typed", []string{"Sec-Fetch-Site", "none"}, 403},
		{"of another site, with the header", []string{"Sec-Fetch-Site", "cross-site", "X-Msauth", "1"}, 403},
		{"of an old browser", []string{"Accept", "application/json"}, 403},
		{"of an old browser, with the header", []string{"Accept", "application/json", "X-Msauth", "1"}, 200},
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			res := b.Request(method, "/auth/session", test.header...)
			if res.StatusCode != test.status || test.status == 403 && res.Header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s: status %d, want %d", method, test.name, res.StatusCode, test.status)
			}
		}
	}
	if res := b.Request(http.MethodDelete, "/auth/session", fetch...); res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("DELETE: status %d", res.StatusCode)
	}
}

func TestSessionWhileTheStoreFails(t *testing.T) {
	t.Parallel()
	store := testsite.NewFiles(t)
	s := testsite.New(t, func(c *msauth.Config) { c.Store = store })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	store.Breaks("New", 0, http.ErrServerClosed)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		b.WantProblem(b.Request(method, "/auth/session", fetch...), http.StatusServiceUnavailable)
	}
	store.Works()
	if a, _ := session(t, b, http.MethodPost); !a.SignedIn {
		t.Error("nobody is signed in afterwards")
	}
}

// Two apps cannot tell by the number that they know the same person.
func TestNumbersOfTwoApps(t *testing.T) {
	t.Parallel()
	var numbers []uint64
	var keys []string
	for range 2 {
		s := testsite.New(t)
		b := s.Browser(t)
		b.SignIn(msauthtest.Ada)
		a, _ := session(t, b, http.MethodGet)
		numbers, keys = append(numbers, a.Person), append(keys, b.User().Key())
	}
	if keys[0] != keys[1] || numbers[0] == numbers[1] || numbers[0] == 0 {
		t.Errorf("numbers %d for the accounts %q", numbers, keys)
	}
}

func TestSessionWithoutIdleTimeSaysNone(t *testing.T) {
	t.Parallel()
	s := testsite.New(t, func(c *msauth.Config) { c.IdleTimeout = 7 * 24 * time.Hour })
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	if a, res := session(t, b, http.MethodGet); a.Ends.IsZero() || !a.IdleEnds.IsZero() {
		t.Errorf("%s", res.Text)
	}
}
