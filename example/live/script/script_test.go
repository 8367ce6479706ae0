package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/example/live/internal/livetest"
	"example.com/msauth/msauthtest"
)

// wantStatus checks what the script is told, and returns the user.
func wantStatus(t *testing.T, p *livetest.Person, want string) (user string) {
	t.Helper()
	page := p.Fetch("/api/status")
	var answer struct{ Status, User string }
	if err := json.Unmarshal([]byte(page.Text), &answer); err != nil || page.Status != http.StatusOK || answer.Status != want || (answer.User != "") != (want == "connected") {
		t.Fatalf("%d %s (%v), want status %q", page.Status, page.Text, err, want)
	}
	return answer.User
}

func TestStatusForTheScript(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := livetest.NewInProcess(t, program)
		p := s.Person()
		wantStatus(t, p, "unknown")
		page := p.Open("/")
		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = []string{"wl.basic"} })
		if back := p.Open(page.Link("sign-in")); back.Status != http.StatusOK || back.Path != "/" {
			t.Fatalf("declined: %d %s", back.Status, back.Path)
		}
		wantStatus(t, p, "notConnected")
		wantStatus(t, p, "notConnected")

		s.MS.Set(func(b *msauthtest.Behavior) { b.RefuseScopes = nil })
		p.Open(page.Link("sign-in"))
		if user := wantStatus(t, p, "connected"); len(user) != 32 {
			t.Errorf("user %q", user)
		}
		// The tokens cannot be renewed. The page itself does not take the status away.
		s.MS.Revoke(msauthtest.Mia)
		time.Sleep(2 * time.Hour)
		p.Open("/")
		wantStatus(t, p, "expired")
		wantStatus(t, p, "expired")
		p.Open(page.Link("sign-in"))
		wantStatus(t, p, "connected")
	})
}

func TestMe(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	p := s.Person()
	page := p.Fetch("/api/me")
	var problem struct {
		LoginURL string `json:"login_url"`
	}
	if err := json.Unmarshal([]byte(page.Text), &problem); err != nil || page.Status != http.StatusUnauthorized || problem.LoginURL == "" ||
		page.Header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d %s (%v)", page.Status, page.Text, err)
	}
	if back := p.Open(problem.LoginURL); back.Status != http.StatusOK || back.Path != "/" {
		t.Errorf("login_url leads to %s: %d", back.Path, back.Status)
	}
	page = p.Fetch("/api/me")
	var me struct {
		User   string
		Scopes []string
		Ends   time.Time
	}
	if err := json.Unmarshal([]byte(page.Text), &me); err != nil || page.Status != http.StatusOK || len(me.User) != 32 || len(me.Scopes) == 0 || time.Until(me.Ends) < time.Hour {
		t.Errorf("%d %s (%v)", page.Status, page.Text, err)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	s := livetest.New(t, program, nil)
	page := s.Person().Open("/")
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "script-src 'self';") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if strings.Count(page.Text, "<script") != 1 || !strings.Contains(page.Text, `<script src="/static/script.js`) {
		t.Errorf("scripts in the page:\n%s", page.Text)
	}
}
