package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/live/internal/livesite"
	"example.com/msauth/example/live/internal/livetest"
	"example.com/msauth/msauthtest"
)

// member is a browser in which a user of the site has signed in.
func member(s *livetest.Site, name string) *livetest.Person {
	p := s.Person()
	if page := p.Submit("/sign-in", "user", name); page.Element("who") != name {
		s.T.Fatalf("%s is not signed in: %d %s", name, page.Status, page.Text)
	}
	return p
}

func wantStatus(t *testing.T, page livetest.Page, want string) {
	t.Helper()
	if page.Status != http.StatusOK || page.Element("status") != want {
		t.Fatalf("%d, status %q, want %q in\n%s", page.Status, page.Element("status"), want, page.Text)
	}
}

func TestConnectingAnAccount(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := livetest.NewInProcess(t, program)
		p := member(s, "Carla")
		wantStatus(t, p.Open("/"), "not connected")
		wantStatus(t, p.Submit("/away"), "not connected")

		// Declined at Microsoft: a page, and nothing is connected.
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.basic"} })
		if page := p.Submit("/connect"); page.Status != http.StatusForbidden || !strings.Contains(page.Text, `id="msauth-declined"`) {
			t.Fatalf("declined: %d %s", page.Status, page.Text)
		}
		wantStatus(t, p.Open("/"), "not connected")

		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = nil })
		page := p.Submit("/connect")
		wantStatus(t, page, "connected")
		uid := page.Element("uid")
		if len(uid) != 32 || page.Element("who") != "Carla" {
			t.Errorf("uid %q of %q", uid, page.Element("who"))
		}

		// The person is away when the token is over.
		time.Sleep(2 * time.Hour)
		page = p.Submit("/away")
		wantStatus(t, page, "connected")
		if !strings.Contains(page.Text, `id="work"`) || s.MS.Count(msauthtest.TokenRefresh) != 1 {
			t.Errorf("nothing was done, or without a renewal: %s", page.Text)
		}

		// Microsoft refuses, which the worker notices.
		s.MS.Revoke(msauthtest.Mia)
		time.Sleep(2 * time.Hour)
		page = p.Submit("/away")
		wantStatus(t, page, "connect again")
		if strings.Contains(page.Text, `id="work"`) {
			t.Error("something was done")
		}
		wantStatus(t, p.Open("/"), "connect again")
		page = p.Submit("/connect")
		wantStatus(t, page, "connected")
		if page.Element("uid") != uid {
			t.Errorf("uid %q, before %q", page.Element("uid"), uid)
		}

		wantStatus(t, p.Submit("/disconnect"), "not connected")
		wantStatus(t, p.Submit("/away"), "not connected")
		if page := p.Submit("/sign-out"); page.Element("who") != "" {
			t.Error("still signed in")
		}
	})
}

func TestAnAccountIsConnectedToOneUser(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	wantStatus(t, member(s, "Carla").Submit("/connect"), "connected")
	deniz := member(s, "Deniz")
	if page := deniz.Submit("/connect"); page.Status != http.StatusForbidden {
		t.Errorf("%d %s", page.Status, page.Text)
	}
	wantStatus(t, deniz.Open("/"), "not connected")
}

func TestNobodyIsSignedInByMicrosoft(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	if page := p.Open("/auth/login"); page.Status != http.StatusForbidden {
		t.Errorf("%d %s", page.Status, page.Text)
	}
	for _, path := range []string{"/away", "/disconnect"} {
		if page := p.Submit(path); page.Path != "/" || page.Element("who") != "" {
			t.Errorf("%s by nobody: %d %s", path, page.Status, page.Text)
		}
	}
	if page := p.Submit("/connect"); page.Status != http.StatusForbidden || s.MS.Count(msauthtest.Authorize) != 1 {
		t.Errorf("%d %s", page.Status, page.Text)
	}
	if page := p.Submit("/sign-in", "user", "Mallory"); page.Status != http.StatusUnprocessableEntity {
		t.Errorf("%d %s", page.Status, page.Text)
	}
}

func TestOtherSitesCannotPressTheButtons(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := member(s, "Carla")
	wantStatus(t, p.Submit("/connect"), "connected")
	for _, path := range []string{"/sign-in", "/sign-out", "/connect", "/disconnect", "/away"} {
		if page := p.SubmitFrom("https://evil.example", path, "user", "Deniz"); page.Status != http.StatusForbidden {
			t.Errorf("%s: %d, want 403", path, page.Status)
		}
	}
	page := p.Open("/")
	wantStatus(t, page, "connected")
	if page.Element("who") != "Carla" {
		t.Errorf("signed in as %q", page.Element("who"))
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, map[string]string{"SITE_PASSWORD": "correct horse"})
	p := s.Person()
	for _, wrong := range []string{"", "correct", "correct horse battery"} {
		if page := p.Submit("/sign-in", "user", "Carla", "password", wrong); page.Status != http.StatusUnprocessableEntity || page.Element("complaint") == "" {
			t.Errorf("password %q: %d", wrong, page.Status)
		}
	}
	if page := p.Submit("/sign-in", "user", "Carla", "password", "correct horse"); page.Element("who") != "Carla" {
		t.Errorf("%d %s", page.Status, page.Text)
	}

	env := map[string]string{"LIVE_CLIENT_ID": "id", "LIVE_CLIENT_SECRET_0": "secret", "MSAUTH_BASE_URL": "https://site.example/auth"}
	set, err := livesite.ReadSettings(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := newSite(set, slog.New(slog.NewTextHandler(io.Discard, nil))); err == nil || !strings.Contains(err.Error(), "SITE_PASSWORD") {
		t.Errorf("in public without a password: %v", err)
	}
}

func TestMemory(t *testing.T) {
	t.Parallel()
	m := &memory{entries: map[string]msauth.StoredTokens{}}
	ctx := context.Background()
	first := msauth.StoredTokens{Version: 1, Account: "a"}
	for _, c := range []struct {
		name string
		err  error
		want error
	}{
		{"the first", m.Save(ctx, "x", 0, first), nil},
		{"over an entry that is not known", m.Save(ctx, "x", 0, first), msauth.ErrConflict},
		{"the account of another user", m.Save(ctx, "y", 0, msauth.StoredTokens{Version: 2, Account: "a"}), msauth.ErrAccountTaken},
		{"a newer one", m.Save(ctx, "x", 1, msauth.StoredTokens{Version: 3, Account: "a"}), nil},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, c.err, c.want)
		}
	}
	if got, err := m.Load(ctx, "x"); err != nil || got.Version != 3 {
		t.Errorf("%v %v", got, err)
	}
	if err := m.Delete(ctx, "x"); err != nil {
		t.Error(err)
	}
	if _, err := m.Load(ctx, "x"); !errors.Is(err, msauth.ErrNoTokens) {
		t.Errorf("%v, want ErrNoTokens", err)
	}
}
