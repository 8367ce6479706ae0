package main

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/example/live/internal/livetest"
	"example.com/msauth/msauthtest"
)

// wantHome checks what the home page says.
func wantHome(t *testing.T, page livetest.Page, status, title string) {
	t.Helper()
	if page.Status != http.StatusOK || page.Path != "/" || page.Element("status") != status || !strings.Contains(page.Text, "<h1>"+title+"</h1>") {
		t.Fatalf("%s: %d, status %q, want %q and %q in\n%s", page.Path, page.Status, page.Element("status"), status, title, page.Text)
	}
}

func TestEachStatus(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := livetest.NewInProcess(t, program)
		p := s.Person()
		page := p.Open("/")
		wantHome(t, page, "unknown", "Sign in")

		// Cancelled at Microsoft: back here, with 200, and nobody is signed in.
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.basic"} })
		page = p.Open(page.Link("sign-in"))
		wantHome(t, page, "notConnected", "You did not connect")
		if page.Link("sign-out") != "" {
			t.Error("somebody is signed in")
		}
		time.Sleep(30 * time.Second)
		page = p.Open("/")
		wantHome(t, page, "unknown", "Sign in")

		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = nil })
		page = p.Open(page.Link("sign-in"))
		wantHome(t, page, "connected", "You are signed in")
		uid := page.Element("uid")
		if len(uid) != 32 || page.Element("who") != uid || !strings.Contains(page.Text, "<code>wl.basic</code>") {
			t.Errorf("uid %q, signed in %q in\n%s", uid, page.Element("who"), page.Text)
		}

		// The tokens are renewed, and the page goes on.
		time.Sleep(2 * time.Hour)
		wantHome(t, p.Open("/"), "connected", "You are signed in")
		if got := s.MS.Count(msauthtest.TokenRefresh); got != 1 {
			t.Errorf("%d renewals, want 1", got)
		}

		// Microsoft refuses to renew them, and the session ends.
		s.MS.Revoke(msauthtest.Mia)
		time.Sleep(2 * time.Hour)
		page = p.Open("/")
		wantHome(t, page, "expired", "Your session has ended")
		page = p.Open(page.Link("sign-in"))
		wantHome(t, page, "connected", "You are signed in")
		if page.Element("uid") != uid {
			t.Errorf("uid %q, before %q", page.Element("uid"), uid)
		}

		// So it does when it has not been used for a day.
		time.Sleep(25 * time.Hour)
		wantHome(t, p.Open("/"), "expired", "Your session has ended")
		wantHome(t, p.Open("/"), "unknown", "Sign in")
	})
}

func TestSkyDriveAsksByALink(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	page := p.Open("/skydrive")
	if page.Status != http.StatusOK || page.Element("status") != "unknown" {
		t.Fatalf("%d %s", page.Status, page.Text)
	}
	p.Open(p.Open("/").Link("sign-in"))
	page = p.Open("/skydrive")
	if page.Element("status") != "notConnected" || !strings.Contains(page.Element("text"), "may not read your files") {
		t.Fatalf("signed in without the scope: %s", page.Text)
	}
	s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.skydrive"} })
	page = p.Open(page.Link("grant"))
	if page.Status != http.StatusOK || page.Path != "/skydrive" || page.Element("status") != "notConnected" || page.Element("who") == "" {
		t.Fatalf("declined: %d %s %s", page.Status, page.Path, page.Text)
	}
	s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = nil })
	page = p.Open(page.Link("grant"))
	if page.Path != "/skydrive" || page.Element("status") != "connected" || !strings.Contains(page.Text, "<code>wl.skydrive</code>") {
		t.Fatalf("granted: %s %s", page.Path, page.Text)
	}
}

func TestCalendarAsksFirst(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.calendars"} })
	if page := p.Open("/calendar"); page.Status != http.StatusForbidden || !strings.Contains(page.Text, `id="msauth-declined"`) {
		t.Fatalf("declined: %d %s", page.Status, page.Text)
	}
	s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = nil })
	if page := p.Open("/calendar"); page.Status != http.StatusOK || page.Path != "/calendar" || !strings.Contains(page.Text, "<code>wl.calendars</code>") {
		t.Fatalf("granted: %d %s", page.Status, page.Text)
	}
}

func TestTheOtherPart(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	page := p.Open("/token")
	if page.Status != http.StatusOK || page.Path != "/token" || page.Element("named") != "" {
		t.Fatalf("%d %s", page.Status, page.Text)
	}
	uid := page.Element("who")
	call := func() {
		t.Helper()
		if page := p.Submit("/token"); page.Status != http.StatusOK || page.Element("named") != uid {
			t.Fatalf("%d %s, want uid %s", page.Status, page.Text, uid)
		}
	}
	call() // the token is signed with version 0, and version 1 has redeemed the code
	for _, c := range []struct {
		name, token string
		want        int
	}{
		{"of this app", s.MS.AuthenticationToken(msauthtest.Mia, "localhost", nil), http.StatusOK},
		{"of another host", s.MS.AuthenticationToken(msauthtest.Mia, "evil.example", nil), http.StatusUnauthorized},
		{"of another app", s.MS.AuthenticationToken(msauthtest.Mia, "localhost", func(_, claims map[string]any) { claims["urn:microsoft:appid"] = "0" }), http.StatusUnauthorized},
		{"that has expired", s.MS.AuthenticationToken(msauthtest.Mia, "localhost", func(_, claims map[string]any) {
			claims["exp"] = time.Now().Add(-time.Hour).Unix()
		}), http.StatusUnauthorized},
		{"of an unknown secret", s.MS.AuthenticationToken(msauthtest.Mia, "localhost", func(header, _ map[string]any) { header["kid"] = 7 }), http.StatusUnauthorized},
		{"that is none", "x", http.StatusUnauthorized},
		{"not at all", "", http.StatusUnauthorized},
	} {
		req, err := http.NewRequest(http.MethodPost, s.URL+"/other", nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := p.Client.Do(req) // the cookies help nobody
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != c.want {
			t.Errorf("a token %s: %s, want %d", c.name, res.Status, c.want)
		}
	}
}

// The new secret is activated: tokens are signed with it, and the old one is refused.
func TestTheSecretChanges(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	p.Open("/token")
	before := s.MS.AuthenticationToken(msauthtest.Mia, "localhost", nil)
	s.Newest.Activate()
	if page := p.Submit("/token"); page.Element("named") == "" { // the session's token is signed with the old one
		t.Errorf("%d %s", page.Status, page.Text)
	}
	other := s.Person()
	other.Open("/token")
	if page := other.Submit("/token"); page.Element("named") == "" {
		t.Errorf("%d %s", page.Status, page.Text)
	}
	if got, err := callOther(t.Context(), s.URL+"/other", before); err != nil || got.UID == "" {
		t.Errorf("a token from before: %v %v", got, err)
	}
}

// Renewals that bring no authentication token leave the old one, until it expires.
func TestNoAuthenticationToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := livetest.NewInProcess(t, program)
		s.MS.Set(func(b *msauthtest.Behavior) { b.OmitIDTokenOnRefresh = true })
		p := s.Person()
		p.Open("/token")
		for range 2 { // the session is in use
			time.Sleep(20 * time.Hour)
			wantHome(t, p.Open("/"), "connected", "You are signed in")
		}
		page := p.Submit("/token")
		if page.Status != http.StatusServiceUnavailable || !strings.Contains(page.Text, "This does not work right now") || page.Element("who") == "" {
			t.Errorf("%d %s", page.Status, page.Text)
		}
	})
}

func TestOtherSitesCannotPressTheButton(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	p.Open("/token")
	if page := p.SubmitFrom("https://evil.example", "/token"); page.Status != http.StatusForbidden {
		t.Errorf("%d, want 403", page.Status)
	}
}
