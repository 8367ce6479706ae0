package session

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
)

// testSettings are those of an app whose sessions last a day.
func testSettings(tb testing.TB, layout *Layout) StoreSettings {
	return StoreSettings{
		Cookies: testCookies(tb), Layout: layout, Registration: Registration{1}, Ended: NewRevoked(24 * time.Hour), MaxAge: 24 * time.Hour,
		Log:     slog.New(slog.DiscardHandler),
		Keep:    func(seal.Secret, *provider.TokenSet, time.Time) {},
		LeadsTo: func(refresh, other seal.Secret) bool { return refresh == other },
	}
}

// create has a store create a session, and returns what the answer sets.
func create(tb testing.TB, s Store, r *http.Request, rec *Record) http.Header {
	tb.Helper()
	w := httptest.NewRecorder()
	if err := s.Create(w, r, rec, 0); err != nil {
		tb.Fatal(err)
	}
	return w.Header()
}

// same reports whether two records are of the same session and have the same
// tokens.
func same(a, b *Record) bool {
	return a != nil && b != nil && a.Unpack() == nil && b.Unpack() == nil && a.ID == b.ID && a.Access == b.Access && a.Refresh == b.Refresh && a.User.Same(&b.User)
}

func TestSessionInCookies(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	s := NewStore(testSettings(t, rec.Layout), nil, testRing(t))
	set := create(t, s, request(), rec)

	got, sent, err := load(s, request(set))
	if err != nil || !sent || got.Unpacked() || !same(got, rec) {
		t.Errorf("loaded %+v, %v, %v", got, sent, err)
	}
	if got, sent, err := load(s, request()); got != nil || sent || err != nil {
		t.Errorf("of no cookie %+v, %v, %v", got, sent, err)
	}
	bad := request()
	bad.AddCookie(&http.Cookie{Name: testCookies(t).Name, Value: "1x"})
	if got, sent, err := load(s, bad); got != nil || !sent || err != nil {
		t.Errorf("of a bad cookie %+v, %v, %v", got, sent, err)
	}
	tooMany := request(set)
	tooMany.AddCookie(&http.Cookie{Name: testCookies(t).Name + "-5", Value: "x"})
	if plain, _, _ := load(s, request(set)); plain.Surplus {
		t.Error("a cookie too many is seen where there is none")
	}
	if got, _, _ := load(s, tooMany); got == nil || !got.Surplus {
		t.Errorf("with a cookie too many %+v", got)
	}
	if s.Reload(request(set)) != nil || s.Changed(request(set), got) {
		t.Error("only the browser has the session, yet it can be read again")
	}

	// A session that was used is written again, without its tokens having been
	// unpacked.
	used, _, _ := load(s, request(set))
	used.Used++
	w := httptest.NewRecorder()
	if gone, err := s.Update(w, request(set), used); gone || err != nil {
		t.Fatal(gone, err)
	}
	if got, _, _ := load(s, request(set, w.Header())); got == nil || got.Used != rec.Used+1 || !same(got, rec) {
		t.Errorf("updated to %+v", got)
	}

	w = httptest.NewRecorder()
	if err := s.Remove(w, request(set)); err != nil {
		t.Fatal(err)
	}
	if left := request(set, w.Header()).Cookies(); len(left) > 0 {
		t.Errorf("removed, yet %v are left", left)
	}
}

// A sign-out in a handler comes after cookies were set for the same answer.
func TestRemovingWhatTheAnswerHasSet(t *testing.T) {
	t.Parallel()
	rec := someRecord()
	s := NewStore(testSettings(t, rec.Layout), nil, testRing(t))
	w := httptest.NewRecorder()
	if _, err := s.Update(w, request(), rec); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove(w, request()); err != nil {
		t.Fatal(err)
	}
	if left := request(w.Header()).Cookies(); len(left) > 0 {
		t.Errorf("signed out, yet %v are left", left)
	}
}

func TestAgeOfSessionCookies(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rec := someRecord()
		for _, test := range []struct {
			name          string
			after         time.Duration
			sessionCookie bool
			want          int
		}{
			{"new", 0, false, 86_400},
			{"forgotten with the browser", 0, true, 0},
			{"later", time.Hour, false, 82_800},
			{"at its end", 24 * time.Hour, false, 1},
		} {
			time.Sleep(time.Until(time.Unix(rec.SignedIn, 0).Add(test.after)))
			settings := testSettings(t, rec.Layout)
			settings.SessionCookie = test.sessionCookie
			h := create(t, NewStore(settings, nil, testRing(t)), request(), rec)
			c, err := http.ParseSetCookie(h.Get("Set-Cookie"))
			if err != nil || c.MaxAge != test.want {
				t.Errorf("%s: Max-Age=%d, %v, want %d", test.name, c.MaxAge, err, test.want)
			}
		}
	})
}

// What the cookies have no room for is left out in order; a session that loses
// its access token is remembered, as the refresh token would otherwise be used
// at the next request; and without its refresh token it is nothing.
func TestSessionOverBudget(t *testing.T) {
	t.Parallel()
	groups := make([]string, 300)
	for i := range groups {
		groups[i] = fmt.Sprintf("0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e%04x", i)
	}
	for _, test := range []struct {
		name    string
		change  func(r *Record)
		wantLog string
		wantErr bool
	}{
		{"fits", func(*Record) {}, "", false},
		{"a large access token", func(r *Record) { r.Access = random(4000) }, `left_out="access token"`, false},
		{"many groups", func(r *Record) { r.User.Groups = groups }, `left_out="access token, groups"`, false},
		{"large claims", func(r *Record) { r.extra = `{"x":"` + string(random(4000)) + `"}` }, `left_out="access token, groups, claims"`, false},
		{"a large refresh token", func(r *Record) { r.Refresh = random(4000) }, "", true},
	} {
		rec := someRecord()
		test.change(rec)
		var log bytes.Buffer
		var kept *provider.TokenSet
		settings := testSettings(t, rec.Layout)
		settings.Log = slog.New(slog.NewTextHandler(&log, nil))
		settings.Keep = func(refresh seal.Secret, g *provider.TokenSet, until time.Time) {
			if kept = g; refresh != rec.Refresh || until.Unix() != rec.Expiry {
				t.Errorf("%s: kept for %q until %v", test.name, string(refresh), until)
			}
		}
		s := NewStore(settings, nil, testRing(t))
		w := httptest.NewRecorder()
		err := s.Create(w, request(), rec, 0)
		if test.wantErr {
			if !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrStoreLimit) || len(w.Header()) > 0 {
				t.Errorf("%s: %v, sets %d cookies", test.name, err, len(w.Header()["Set-Cookie"]))
			}
			continue
		}
		if err != nil || !strings.Contains(log.String(), test.wantLog) || (log.Len() > 0) != (test.wantLog != "") {
			t.Errorf("%s: %v, logs %q", test.name, err, &log)
		}
		if (kept != nil) != (test.wantLog != "") || kept != nil && kept.Access != rec.Access {
			t.Errorf("%s: keeps %+v", test.name, kept)
		}
		got, _, _ := load(s, request(w.Header()))
		if got == nil || got.Unpack() != nil || got.Refresh != rec.Refresh || got.Shed != (test.wantLog != "") || got.Shed == (got.Access != "") {
			t.Errorf("%s: loaded as %+v", test.name, got)
		}
		if rec.Shed || len(rec.User.Groups) == 0 {
			t.Errorf("%s: the record itself has lost something", test.name)
		}
		log.Reset()
		if _, err := s.Update(httptest.NewRecorder(), request(w.Header()), rec); err != nil || log.Len() > 0 {
			t.Errorf("%s: every renewal logs it again: %v, %q", test.name, err, &log)
		}
	}
}
