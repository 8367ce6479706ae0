package main

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// rows returns how much the site keeps of a user.
func (s *site) rows(user int) (n int) {
	s.t.Helper()
	return s.number(`SELECT (SELECT count(*) FROM users WHERE id = ?1) + (SELECT count(*) FROM sessions WHERE user = ?1) +
		(SELECT count(*) FROM digests WHERE user = ?1) + (SELECT count(*) FROM troubles WHERE user = ?1) +
		(SELECT count(*) FROM msauth_tokens WHERE user_key = CAST(?1 AS TEXT))`, user)
}

func TestTheFirstUserIsTheAdministrator(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	boss := s.user("boss")
	zoe := s.connected("zoe", msauthtest.Ada)
	boss.get("/people").want(http.StatusOK, "boss <small>administrator</small>", "zoe", "A Microsoft account is connected.", `aria-label="This person has left: zoe"`).
		lack(`href="/people/1/left"`)
	boss.get("/people/1/left").want(http.StatusConflict, "This is your own account")
	boss.post("/people/1/left").want(http.StatusConflict, "This is your own account")
	for _, id := range []string{"3", "x", "-1", "1%20OR%201", "99999999999999999999"} {
		boss.get("/people/"+id+"/left").want(http.StatusNotFound, "No such user")
		boss.post("/people/"+id+"/left").want(http.StatusNotFound, "No such user")
	}
	zoe.get("/settings").want(http.StatusOK).lack("/people")
	for _, path := range []string{"/people", "/people/1/left", "/people/2/left"} {
		zoe.get(path).want(http.StatusForbidden, "For the administrator only")
		if res := s.browser().get(path).want(http.StatusOK); res.Request.URL.Path != "/sign-in" {
			t.Errorf("%s leads to %s", path, res.Request.URL)
		}
	}
	zoe.post("/people/1/left").want(http.StatusForbidden, "For the administrator only")
	zoe.post("/people/2/left").want(http.StatusForbidden, "For the administrator only")
	if res := s.browser().post("/people/2/left"); res.Request.URL.Path != "/sign-in" {
		t.Errorf("signed out, the form leads to %s", res.Request.URL)
	}
	if s.rows(1) == 0 || s.rows(2) == 0 {
		t.Error("a user is gone")
	}
}

func TestLeaving(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	boss, zoe, yan := s.user("boss"), s.connected("zoe", msauthtest.Ada), s.connected("yan", msauthtest.Bruno)
	s.wantRun(run{Users: 2, Written: 2})
	phone := s.browser()
	phone.post("/sign-in", "name", "zoe", "password", password).want(http.StatusOK)
	kept, err := s.store.Load(t.Context(), "2")
	if err != nil || kept.Account == "" {
		t.Fatalf("%q, %v", kept.Account, err)
	}

	// Nothing happens before it is confirmed.
	boss.get("/people/2/left").want(http.StatusOK, "Has zoe left?", "in 2 browsers", "the worker no longer acts for them", "(1 so far)", "Yes, zoe has left", `href="/people">Cancel`)
	zoe.get("/digests").want(http.StatusOK, "As of")
	s.wantRun(run{Users: 2, Written: 2})

	boss.post("/people/2/left").want(http.StatusOK, "zoe has left", "Signed out of this site in 2 browsers.", "The access to the Microsoft account is deleted",
		"2 digests are deleted.", "Somebody else may take the name", "only the person, or their organization’s administrator").lack("incomplete")
	if n := s.rows(2); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	for _, b := range []*browser{zoe, phone} {
		if res := b.get("/digests").want(http.StatusOK, "New here?"); res.Request.URL.Path != "/sign-in" {
			t.Errorf("the person sees %s", res.Request.URL)
		}
	}
	zoe.post("/sign-in", "name", "zoe", "password", password).want(http.StatusUnprocessableEntity, "Wrong name or password")
	if _, err := s.auth.Offline(t.Context(), "2"); !errors.Is(err, msauth.ErrNoTokens) {
		t.Errorf("Offline: %v, want ErrNoTokens", err)
	}
	s.wantRun(run{Users: 1, Written: 1})
	if log := s.log.String(); !strings.Contains(log, "event=user_signed_out user="+kept.Account) || !strings.Contains(log, `msg="a user has left" user=2 by=1`) {
		t.Error("the log does not tell")
	}
	yan.get("/digests").want(http.StatusOK, "As of")
	boss.post("/people/2/left").want(http.StatusNotFound, "removed already")

	// Without an account, and under a name that somebody else has had.
	s.user("zoe").get("/digests").want(http.StatusOK, "No Microsoft account is connected")
	boss.get("/people/4/left").want(http.StatusOK, "in 1 browser,", "No Microsoft account is connected", "(there are none yet)")
	boss.post("/people/4/left").want(http.StatusOK, "No Microsoft account was connected.", "There were no digests.", "in 1 browser.")
}

func TestLeavingIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	boss, zoe := s.user("boss"), s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	before := s.rows(2)
	if before != 4 { // user, session, digest, tokens
		t.Fatalf("%d rows, want 4", before)
	}
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE DELETE ON users BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	boss.post("/people/2/left").want(http.StatusServiceUnavailable, "The database is not available", "Nothing has changed")
	if after := s.rows(2); after != before {
		t.Errorf("%d rows of %d are left", after, before)
	}
	zoe.get("/settings").want(http.StatusOK, "Connected: ")
	s.wantRun(run{Users: 1, Written: 1})
}

func TestLeavingThatMsauthDoesNotLearnOf(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	boss := s.user("boss")
	s.connected("zoe", msauthtest.Ada)
	a, err := newAppOn(s.db, s.store, lazyStore{s.store, new(atomic.Bool)}, s.set, s.app.log)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	s.handler = a.handler()
	s.mu.Unlock()
	boss.post("/people/2/left").want(http.StatusOK, "zoe has left", `id="incomplete"`, "within about an hour")
	if n := s.rows(2); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if !strings.Contains(s.log.String(), "the disk is full") {
		t.Error("the log does not tell")
	}
}

// Whoever is at Microsoft, to connect an account, comes back as nobody.
func TestLeavingWhileConnecting(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	boss, zoe := s.user("boss"), s.user("zoe")
	still := zoe.still()
	back := still.get(still.post("/settings/connect").Header.Get("Location")).Header.Get("Location")
	boss.post("/people/2/left").want(http.StatusOK, "No Microsoft account was connected.")
	zoe.get(back).want(http.StatusForbidden, "The account was not connected")
	if n := s.rows(2); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// If they come back in the same moment, their tokens are found and deleted.
func TestTokensOfNobodyAreDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	if _, err := s.db.Exec(`DELETE FROM sessions; DELETE FROM users`); err != nil {
		t.Fatal(err)
	}
	s.wantRun(run{Users: 1, Skipped: 1})
	if n := s.rows(1); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	s.wantRun(run{})
}
