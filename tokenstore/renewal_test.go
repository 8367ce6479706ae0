//go:build unix

package tokenstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tokenstore"
)

// A deployment is an app in several processes on one database, each with its
// own memory and its own connections.
type deployment struct {
	ms  *msauthtest.Server
	cfg msauth.Config
	b   backend
	dsn string
	web *msauth.Middleware
	url string
}

func deploy(t *testing.T, b backend) *deployment {
	t.Helper()
	d := &deployment{ms: msauthtest.NewServer(), b: b, dsn: b.empty(t)}
	t.Cleanup(d.ms.Close)
	server := httptest.NewUnstartedServer(nil)
	d.url = "http://" + server.Listener.Addr().String()
	d.cfg = msauth.Config{
		ClientID: d.ms.ClientID, ClientSecret: d.ms.ClientSecret, Authority: d.ms.URL,
		BaseURL: d.url + "/auth", Keys: [][]byte{key()}, Logger: slog.New(slog.DiscardHandler),
	}
	d.web = d.process(t)
	server.Config.Handler = d.web.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		if _, err := s.Token(r.Context()); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	}))
	server.Start()
	t.Cleanup(server.Close)
	return d
}

func key() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// store is one more process's.
func (d *deployment) store(t *testing.T) *tokenstore.Store {
	t.Helper()
	db := openDB(t, d.b.driver, d.dsn)
	db.SetMaxOpenConns(4) // as the package comment recommends for SQLite
	return openStore(t, db)
}

// process starts one more.
func (d *deployment) process(t *testing.T) *msauth.Middleware {
	t.Helper()
	cfg := d.cfg
	cfg.Tokens = d.store(t)
	auth, err := msauth.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return auth
}

// signIn signs a new person in and returns their browser and their user key.
func (d *deployment) signIn(t *testing.T, name string) (browser *http.Client, user string) {
	t.Helper()
	u := msauthtest.User{SignInName: name + "@contoso.example", ObjectID: fmt.Sprintf("%032x", []byte(name))}
	u.ObjectID = u.ObjectID[:8] + "-" + u.ObjectID[8:12] + "-" + u.ObjectID[12:16] + "-" + u.ObjectID[16:20] + "-" + u.ObjectID[20:32]
	d.ms.SetUser(u)
	d.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = u.SignInName })
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser = &http.Client{Jar: jar}
	if err := d.visit(browser); err != nil {
		t.Fatal(err)
	}
	return browser, msauthtest.TenantContoso + "." + u.ObjectID
}

// visit opens a page, as a navigation.
func (d *deployment) visit(browser *http.Client) error {
	req, err := http.NewRequest("GET", d.url+"/", nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/html")
	res, err := browser.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("the browser gets %s", res.Status)
	}
	return nil
}

func work(auth *msauth.Middleware, user string) error {
	s, err := auth.Offline(context.Background(), user)
	if err != nil {
		return err
	}
	_, err = s.Token(context.Background())
	return err
}

// Two workers and a browser, in a process each, renew the same person's tokens
// at the same moment, in long tests a thousand times: 50 people, each 20 times. The provider
// takes a refresh token that comes twice for theft.
func TestNobodyLosesATokenToAnother(t *testing.T) {
	notQuick(t)
	eachOf(t, []string{"sqlite", "postgres"}, func(t *testing.T, b backend) {
		people, rounds := times(12, 50), times(2, 20)
		d := deploy(t, b)
		const lifetime = 2 * time.Second
		d.ms.Set(func(b *msauthtest.Behavior) { b.Rotation, b.AccessTokenLifetime = msauthtest.RotateStrict, lifetime })
		workers := []*msauth.Middleware{d.process(t), d.process(t)}
		browsers, users := make([]*http.Client, people), make([]string, people)
		for i := range people {
			browsers[i], users[i] = d.signIn(t, fmt.Sprint("person number ", i, " "))
		}
		d.ms.ResetCalls()
		before := 0
		for range rounds {
			time.Sleep(lifetime) // everybody's have expired
			var wg sync.WaitGroup
			for i := range people {
				for _, worker := range workers {
					wg.Go(func() {
						// A token may be over before its turn comes: it lives
						// for two seconds, on a machine that has its hands full.
						if err := work(worker, users[i]); err != nil && !errors.Is(err, msauth.ErrTokenUnavailable) {
							t.Error(err)
						}
					})
				}
				wg.Go(func() {
					if err := d.visit(browsers[i]); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			if n := d.ms.Count(msauthtest.TokenRefresh); n < before+people {
				t.Fatalf("%d token requests of %d people: nothing was tested", n-before, people)
			} else {
				before = n
			}
		}
		used := map[string]bool{}
		for _, call := range d.ms.Calls(msauthtest.TokenRefresh) {
			token := call.Form.Get("refresh_token")
			if used[token] || call.Status != http.StatusOK {
				t.Fatalf("a refresh token is used again, or status %d", call.Status)
			}
			used[token] = true
		}
		if n := d.ms.Count(msauthtest.Authorize); n != 0 {
			t.Errorf("%d people had to sign in again", n)
		}
	})
}

// eachOf runs test with the backends of these names.
func eachOf(t *testing.T, names []string, test func(t *testing.T, b backend)) {
	t.Parallel()
	for _, b := range backends {
		if slices.Contains(names, b.name) {
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				test(t, b)
			})
		}
	}
}

// What is in the database says nothing to whoever copies it, and outlives its
// key.
func TestTheDatabaseHoldsNoTokenAndItsKeyCanChange(t *testing.T) {
	eachOf(t, []string{"sqlite", "postgres"}, func(t *testing.T, b backend) {
		d := deploy(t, b)
		var users []string
		for i := range 5 {
			_, user := d.signIn(t, fmt.Sprint("somebody, number ", i))
			users = append(users, user)
		}
		dump := b.dump(t, d.dsn)
		if !bytes.Contains(dump, []byte(users[0])) {
			t.Fatal("the dump does not show the entries")
		}
		for _, secret := range d.ms.Secrets() {
			for part := range strings.SplitSeq(secret, ".") {
				if len(part) > 16 && bytes.Contains(dump, []byte(part)) {
					t.Fatalf("a secret of %d bytes is in the database", len(secret))
				}
			}
		}

		old := d.cfg.Keys[0]
		d.cfg.Keys = [][]byte{key(), old}
		both, store := d.process(t), d.store(t)
		for user, err := range store.Users(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			if err := both.Reseal(t.Context(), user); err != nil {
				t.Fatal(err)
			}
		}
		d.cfg.Keys = d.cfg.Keys[:1]
		alone := d.process(t)
		for _, user := range users {
			if err := work(alone, user); err != nil {
				t.Error(err)
			}
		}
	})
}
