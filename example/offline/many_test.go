package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// times is how often something is tried: usually, and by make test-long, which
// sets MSAUTH_TEST_LONG.
func times(usual, long int) int {
	if os.Getenv("MSAUTH_TEST_LONG") != "" {
		return long
	}
	return usual
}

// users makes n users who have connected accounts. Only msauth can seal tokens, so
// each goes through a sign-in, in this process and without pages.
func (s *site) users(n int) {
	s.t.Helper()
	c := s.set.Auth
	c.Tokens = s.store
	c.User = func(r *http.Request) string { return r.Header.Get("X-User") }
	c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
		in.ShareAccount = true
		return nil
	}
	c.Logger = slog.New(slog.DiscardHandler)
	c.HTTPClient = &http.Client{Transport: s.ms.Transport()}
	auth, err := msauth.New(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.as(msauthtest.Mia) // whose access tokens take no signature
	connect := auth.Connect("/")
	for i := range n {
		var id int64
		err := s.db.QueryRow(`INSERT INTO users (name, password, created) VALUES (?, '', ?) RETURNING id`,
			fmt.Sprint("many ", i), time.Now().UnixMilli()).Scan(&id)
		if err != nil {
			s.t.Fatal(err)
		}
		jar, _ := cookiejar.New(nil)
		client := &http.Client{Jar: jar, Transport: inProcess{site: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("X-User", fmt.Sprint(id))
			switch r.URL.Path {
			case "/connect":
				connect.ServeHTTP(w, r)
			case "/":
			default:
				auth.ServeHTTP(w, r)
			}
		}), microsoft: s.ms.Transport(), host: s.ms.URL}}
		req, err := http.NewRequest(http.MethodPost, s.URL+"/connect", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		req.Header.Set("Origin", s.URL) // as browsers do
		res, err := client.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			s.t.Fatalf("connecting: status %d at %s", res.StatusCode, res.Request.URL.Path)
		}
	}
}

// inProcess sends requests to handlers, without a network.
type inProcess struct {
	site      http.Handler
	microsoft http.RoundTripper
	host      string // of Microsoft
}

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme+"://"+r.URL.Host == p.host {
		return p.microsoft.RoundTrip(r)
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI = r.URL.Host, r.URL.RequestURI()
	w := httptest.NewRecorder()
	p.site.ServeHTTP(w, in)
	res := w.Result()
	res.Request = r
	return res, nil
}

// counting counts the calls of the token store.
type counting struct {
	msauth.TokenStore
	loads, saves atomic.Int64
}

func (c *counting) Load(ctx context.Context, user string) (msauth.StoredTokens, error) {
	c.loads.Add(1)
	return c.TokenStore.Load(ctx, user)
}

func (c *counting) Save(ctx context.Context, user string, old int64, t msauth.StoredTokens) error {
	c.saves.Add(1)
	return c.TokenStore.Save(ctx, user, old, t)
}

// If no tokens are due, a run reads the store once for each user and the list once
// for each 500 users, and sends only the requests for the digests to Microsoft.
func TestARunOverManyUsers(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	many := times(600, 10_000) // more than a page of the list
	s := newSite(t)
	// Faster: making the users does not wait for the disk.
	s.db.SetMaxOpenConns(1)
	if _, err := s.db.Exec(`PRAGMA synchronous = OFF`); err != nil {
		t.Fatal(err)
	}
	s.ms.Set(func(b *msauthtest.Behavior) { b.AccessTokenLifetime = 24 * time.Hour })
	start := time.Now()
	s.users(many)
	t.Logf("%d users in %v", many, time.Since(start))
	s.db.SetMaxOpenConns(2 * workers)

	counted := &counting{TokenStore: s.store}
	a, err := newAppOn(s.db, s.store, counted, s.set, s.app.log)
	if err != nil {
		t.Fatal(err)
	}
	var asked, together, most atomic.Int64
	a.worker.recent = func(ctx context.Context, in *msauth.Session) ([]file, error) {
		asked.Add(1)
		most.Store(max(most.Load(), together.Add(1)))
		defer together.Add(-1)
		if _, err := in.Token(ctx); err != nil {
			return nil, err
		}
		return []file{{Name: "a"}}, nil
	}
	s.ms.ResetCalls()
	s.due = s.due.Add(time.Minute)
	r := a.worker.run(t.Context(), s.due)
	t.Logf("the run took %v", r.Ended.Sub(r.Started))
	if r.Users != many || r.Written != many {
		t.Errorf("the run says %+v", r)
	}
	if n := counted.loads.Load(); n != int64(many) {
		t.Errorf("%d reads for %d users", n, many)
	}
	if n := counted.saves.Load(); n != 0 {
		t.Errorf("%d saves although nothing was due", n)
	}
	for _, kind := range []msauthtest.Kind{msauthtest.TokenRefresh, msauthtest.TokenOther, msauthtest.Discovery, msauthtest.Keys} {
		if n := s.ms.Count(kind); n != 0 {
			t.Errorf("%d requests of kind %s", n, kind)
		}
	}
	if asked.Load() != int64(many) || most.Load() > workers {
		t.Errorf("asked for %d users, %d at a time", asked.Load(), most.Load())
	}
	s.wantDigests(many)

	// The same minute again: no user is read.
	counted.loads.Store(0)
	if r := a.worker.run(t.Context(), s.due); r.Skipped != many || counted.loads.Load() != 0 {
		t.Errorf("again: %+v, %d reads", r, counted.loads.Load())
	}

	// All queries use an index.
	for _, query := range []string{
		`SELECT user, due FROM digests WHERE due = 1`,
		`SELECT due, files FROM digests WHERE user = 1 ORDER BY due DESC LIMIT 5`,
		`SELECT time, needs_person, why FROM troubles WHERE user = 1`,
		`SELECT id, due FROM runs ORDER BY id DESC LIMIT 10`,
		cleaning[0], cleaning[1], cleaning[2],
	} {
		plan := s.plan(strings.ReplaceAll(query, "?", "1"))
		if strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN") && !strings.Contains(plan, "SCAN runs") {
			t.Errorf("%s: %s", query, plan)
		}
	}
}

// plan returns the query plan of a query.
func (s *site) plan(query string) string {
	s.t.Helper()
	rows, err := s.db.Query("EXPLAIN QUERY PLAN " + query)
	if err != nil {
		s.t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			s.t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	return strings.Join(plan, "; ")
}
