package msauth

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// testMiddleware is one that never asks anybody.
func testMiddleware(t *testing.T, changes ...func(*Config)) *Middleware {
	t.Helper()
	key := make([]byte, keyLength)
	randomBytes(key)
	cfg := Config{
		ClientID: "id", ClientSecret: "secret", BaseURL: "https://app.example.com/auth", Keys: [][]byte{key},
		HTTPClient: &http.Client{Transport: failingTransport{io.EOF}}, Logger: slog.New(slog.DiscardHandler),
	}
	for _, change := range changes {
		change(&cfg)
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// However refresh tokens lead from one to the next, looking for the newest ends.
func TestChainsOfRefreshTokensHaveAnEnd(t *testing.T) {
	t.Parallel()
	now := time.Now()
	soon := now.Add(time.Hour)
	g := func(refresh string, issued int64) *grant {
		return &grant{access: "A", refresh: secret(refresh), issued: issued, expiry: now.Unix() + 3600, refreshAt: now.Unix() + 3000}
	}
	tests := []struct {
		name    string
		fill    func(*renewals)
		renewed int64
		newest  secret
	}{
		{"by a server whose clock is ahead", func(r *renewals) {
			r.moved.put(r.key("R0"), "R1", soon)
			r.granted.put(r.key("R1"), g("R2", now.Unix()), soon)
		}, now.Unix() + 3, "R2"},
		{"very long", func(r *renewals) {
			for i := range 2_000 {
				r.moved.put(r.key(secret(fmt.Sprint("R", i))), secret(fmt.Sprint("R", i+1)), soon)
			}
		}, now.Unix(), "R2000"},
		{"over budget, and used for another API", func(r *renewals) {
			r.kept.put(r.key("R0"), g("R0", now.Unix()), soon)
			r.moved.put(r.key("R0"), "R1", soon)
		}, now.Unix(), "R1"},
		{"renewed, then over budget", func(r *renewals) {
			r.granted.put(r.key("R0"), g("R1", now.Unix()), soon)
			r.kept.put(r.key("R1"), g("R1", now.Unix()), soon)
			r.moved.put(r.key("R1"), "R2", soon)
		}, now.Unix() - 60, "R2"},
		{"in a circle", func(r *renewals) {
			r.moved.put(r.key("R0"), "R1", soon)
			r.moved.put(r.key("R1"), "R0", soon)
		}, now.Unix(), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := testMiddleware(t)
			test.fill(m.renewals)
			rec := &record{layout: &m.layout, refresh: "R0", access: "A", renewed: test.renewed, expiry: now.Unix() + 3600, refreshAt: now.Unix() + 3000}
			own, _, newest := m.renewals.ownOf(rec)
			if test.newest != "" && (newest != test.newest || own.refresh != newest) {
				t.Errorf("leads to %q, the grant to %q, want %q", string(newest), string(own.refresh), string(test.newest))
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			looked := 0
			_, err := m.renewals.renew(ctx, renewal{rec: rec, wish: wish{claims: "{}"}, due: func(*grant) bool { looked++; return true }})
			if looked > 10 || ctx.Err() != nil || err == nil {
				t.Errorf("looked %d times: %v", looked, err)
			}
		})
	}
}

// What is kept of sessions that are over budget is not pushed out by those that
// use several APIs.
func TestOtherAPIsTakeNoRoomFromSessionsOverBudget(t *testing.T) {
	t.Parallel()
	m := testMiddleware(t)
	r, now := m.renewals, time.Now()
	for i := range maxOutcomes {
		rec := &record{layout: &m.layout, refresh: secret(fmt.Sprint("S", i)), access: "A", renewed: now.Unix()}
		r.grantOther(renewal{wish: wish{scopes: "api://x/y"}, keepUntil: now.Add(24 * time.Hour)}, rec, rec.refresh,
			&grant{access: "X", refresh: secret(fmt.Sprint("T", i)), issued: now.Unix(), expiry: now.Unix() + 3600})
	}
	r.keep("R", &grant{access: "A", refresh: "R", expiry: now.Unix() + 3600}, now.Add(time.Hour))
	if g, _, _ := r.known("R"); g == nil {
		t.Error("a session over its budget has no access token any more")
	}
}

// During a deployment the version before has sealed states and links that mean
// something else.
func TestStatesAndLinksOfAnotherFormatAreRefused(t *testing.T) {
	t.Parallel()
	m := testMiddleware(t)
	s := m.attempts
	var a attempt
	binary.BigEndian.PutUint32(a.id[:4], uint32(time.Now().Unix()))
	for format := range byte(4) {
		e := encoder{b: []byte{format}}
		e.b = append(append(append(append(e.b, a.id[:]...), a.seed[:]...), a.binding[:]...), 0)
		e.text("/home")
		e.text("")
		e.text("state")
		if got, err := s.open(s.keys.seal(e.b, s.additional)); err == nil {
			t.Errorf("format %d: read as %+v", format, got.returnTo)
		}
	}
	e := encoder{}
	e.text("admin=yes")
	appendDemand(&e, demand{scopes: []string{"Mail.ReadWrite"}})
	for _, version := range []string{"v1", "v2"} {
		before := append([]byte("msauth login link "+version+"\x00"), m.registration[:]...)
		if o, err := m.loginOptions("sealed=" + m.linkKeys.seal(e.b, before)); err == nil {
			t.Errorf("%s: AppState %q, scopes %q", version, o.appState, o.demand.scopes)
		}
	}
}

// A challenge that was refused says nothing about the wish for a plain token, nor
// about another challenge; one that names a later time only is the same.
func TestWishesAreToldApartByTheirClaims(t *testing.T) {
	t.Parallel()
	var r renewals
	key := func(scopes, claims string) tokenKey { return r.wishKey(sessionID{1}, wish{scopes, claims}) }
	challenge := func(nbf string) string {
		return `{"access_token":{"nbf":{"essential":true,"value":"` + nbf + `"}}}`
	}
	acrs := `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	for _, pair := range [][2]tokenKey{
		{key("a", ""), key("a", acrs)}, {key("a", acrs), key("a", challenge("1"))}, {key("a", ""), key("b", "")},
		{key("", acrs), key("a", acrs)}, {key("a", ""), r.wishKey(sessionID{2}, wish{scopes: "a"})},
	} {
		if pair[0] == pair[1] {
			t.Error("two wishes are taken for one")
		}
	}
	if key("a", challenge("1")) != key("a", challenge("2")) {
		t.Error("a challenge that names a later time is taken for another")
	}
}

// What becomes known of older tokens does not cover up what is known of newer
// ones.
func TestOlderNewsDoesNotReplaceNewer(t *testing.T) {
	t.Parallel()
	var refused, other tokenKey
	refused[0], other[0] = 1, 2
	tests := []struct {
		name string
		news []notice
		want notice
	}{
		{"older", []notice{{of: 2, claims: "new"}, {of: 1, stepUp: true, claims: "old", deliver: true, rejected: refused}}, notice{of: 2, claims: "new"}},
		{"older, about a refusal", []notice{{of: 2, deliver: true}, {of: 1, rejected: refused}}, notice{of: 2, deliver: true}},
		{"newer", []notice{{of: 1, claims: "old"}, {of: 2, claims: "new"}}, notice{of: 2, claims: "new"}},
		{"newer, which adds", []notice{{of: 1, claims: "old", deliver: true, rejected: refused}, {of: 2, rejected: other}}, notice{of: 2, claims: "old", deliver: true, rejected: other}},
		{"of the same tokens", []notice{{of: 1, rejected: refused}, {of: 1, claims: "more"}, {of: 1, deliver: true}}, notice{of: 1, claims: "more", deliver: true, rejected: refused}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r := testMiddleware(t).renewals
			for _, n := range test.news {
				r.note(sessionID{}, n, time.Now().Add(time.Hour))
			}
			if got, _ := r.notices.get(sessionID{}); got != test.want {
				t.Errorf("%+v is known, want %+v", got, test.want)
			}
		})
	}
}

// A cookie that has been written says what was known when it was begun.
func TestWhatANewCookieDoesNotSayStaysKnown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := testMiddleware(t).renewals
		id, until := sessionID{1}, time.Now().Add(24*time.Hour)
		want := func(want notice) {
			t.Helper()
			if got, _ := r.notices.get(id); got != want {
				t.Errorf("%+v is known, want %+v", got, want)
			}
		}
		delivered := notice{of: 1, deliver: true}
		r.note(id, delivered, until)
		r.note(id, notice{of: 1, claims: "meanwhile", stepUp: true}, until)
		r.settle(id, delivered)
		want(notice{of: 1, claims: "meanwhile", stepUp: true, deliver: true})
		r.note(id, notice{of: 2, deliver: true}, until)
		r.settle(id, notice{of: 1, claims: "meanwhile", stepUp: true, deliver: true})
		want(notice{of: 2, claims: "meanwhile", stepUp: true, deliver: true})
		r.settle(id, notice{of: 2, claims: "meanwhile", stepUp: true, deliver: true})
		want(notice{})

		// Claims that single pages ask for are asked of the person for a while.
		claims := notice{of: 3, claims: "acrs", deliver: true}
		r.note(id, claims, until)
		r.settle(id, claims)
		want(notice{of: 3, claims: "acrs"})
		time.Sleep(demandRest - time.Second)
		want(notice{of: 3, claims: "acrs"})
		time.Sleep(2 * time.Second)
		want(notice{})
		r.settle(id, claims) // once more, by a request that was slower
		want(notice{})
	})
}

// discovery answers everything with a document.
type discovery string

func (d discovery) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(string(d))), Request: r,
	}, nil
}

// External ID is another issuer, but Microsoft's: tokens are for one API, and
// .default goes with no other scope.
func TestExternalIDIsAskedForDefaultAlone(t *testing.T) {
	t.Parallel()
	const base = "https://contoso.ciamlogin.com/40a0cffe-4fc9-448b-9790-232954984f24"
	m := testMiddleware(t, func(c *Config) {
		c.Issuer = base + "/v2.0"
		c.HTTPClient = &http.Client{Transport: discovery(`{"issuer":"` + base + `/v2.0","authorization_endpoint":"` + base + `/authorize","token_endpoint":"` + base +
			`/token","jwks_uri":"` + base + `/keys","response_types_supported":["code"],"id_token_signing_alg_values_supported":["RS256"]}`)}
	})
	w := httptest.NewRecorder()
	m.begin(w, httptest.NewRequest(http.MethodGet, "https://app.example.com/orders", nil), authorizeOptions{
		returnTo: "/orders", demand: demand{scopes: []string{"api://orders/.default"}}, granted: "openid profile email User.Read Files.Read",
	})
	u, err := url.Parse(w.Header().Get("Location"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := u.Query().Get("scope"), "openid profile email offline_access api://orders/.default"; got != want {
		t.Errorf("it asks for %q, want %q", got, want)
	}
}

// What workers learn is of no use to browsers, and must not push out what is.
func TestWorkersLeaveNoNoticesForBrowsers(t *testing.T) {
	t.Parallel()
	m := testMiddleware(t, func(c *Config) { c.Tokens = &shelf{} })
	for range maxOutcomes {
		rec := someRecord()
		randomBytes(rec.id[:])
		rec.userKey, rec.stored = "7", true
		(&heldTokens{m: m, rec: rec}).note(rec, wish{}, "rejected", nil)
	}
	rec := someRecord()
	randomBytes(rec.id[:])
	rec.used = time.Now().Unix()
	m.renewals.moveOn(renewal{keepUntil: m.comesUntil(rec)}, rec, rec.refresh, "next")
	if _, ok := m.renewals.noticeOf(rec); !ok {
		t.Error("the browser's notice is gone at once")
	}
}
