package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

func TestDigestsAreWrittenWhileEverybodyIsAway(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const lifetime = 3 * time.Second // each run has to renew
	s.lifetime(lifetime)
	s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Mia)
	s.user("xia")
	// From here on no browser is open.
	for range 3 {
		time.Sleep(lifetime)
		s.ms.ResetCalls()
		s.wantRun(run{Users: 2, Written: 2})
		if n := s.ms.Count(msauthtest.TokenRefresh); n != 2 {
			t.Errorf("%d token calls for 2 users", n)
		}
		s.restart()
	}
	s.wantDigests(6)
	b := s.browser()
	b.post("/sign-in", "name", "zoe", "password", password).want(http.StatusOK, "As of", "Welcome, Ada.txt", "Documents", "<small>folder</small>", "Runs of the worker").
		lack("Welcome, Mia.txt")
	b.post("/sign-in", "name", "yan", "password", password).want(http.StatusOK, "Welcome, Mia.txt").lack("Welcome, Ada.txt")
}

func TestTokensAreRenewedOnlyWhenDue(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	for range 3 {
		s.wantRun(run{Users: 1, Written: 1})
	}
	if n := s.ms.Count(msauthtest.TokenRefresh); n != 0 {
		t.Errorf("%d token calls, want none", n)
	}
}

func TestTheNewestChangesComeFirst(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.connected("zoe", msauthtest.Ada)
	s.wantRun(run{Users: 1, Written: 1})
	list, err := s.digestsOf(t.Context(), &person{ID: 1}, 1)
	if err != nil || len(list) != 1 || len(list[0].Files) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	for i, f := range list[0].Files[1:] {
		if f.Modified.After(list[0].Files[i].Modified) {
			t.Errorf("%s comes before %s", list[0].Files[i].Name, f.Name)
		}
	}
}

func TestARefusedGrantIsToldAndMended(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.lifetime(time.Second)
	b := s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Bruno)
	s.lifetime(time.Hour)
	s.ms.Revoke(msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	s.wantRun(run{Users: 2, Written: 1, Waiting: 1})
	for _, path := range []string{"/digests", "/settings"} {
		b.get(path).want(http.StatusOK, "Your Microsoft account requires you to sign in again", "Sign in at Microsoft again", `action="/settings/connect"`)
	}
	s.ms.ResetCalls()
	s.wantRun(run{Users: 1, Written: 1}) // she is not asked for again
	s.restart()
	b.get("/digests").want(http.StatusOK, "requires you to sign in again")
	s.wantRun(run{Users: 1, Written: 1})

	s.as(msauthtest.Ada)
	b.post("/settings/connect").want(http.StatusOK, "Connected: ").lack("sign in again")
	s.wantRun(run{Users: 2, Written: 2})
	b.get("/digests").want(http.StatusOK, "As of").lack("sign in again")
}

// Graph refuses, so the token store does not know.
func TestARefusalByGraphIsToldAndMended(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	withdraw := s.ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada, ACRS: "c1"})
	time.Sleep(1100 * time.Millisecond)
	s.wantRun(run{Users: 1, Waiting: 1})
	b.get("/digests").want(http.StatusOK, "requires you to sign in again")
	s.restart()
	b.get("/digests").want(http.StatusOK, "requires you to sign in again")
	s.ms.ResetCalls()
	s.wantRun(run{}) // known, as those whom the store tells of
	if graph, token := s.ms.Count(msauthtest.Graph), s.ms.Count(msauthtest.TokenRefresh); graph != 0 || token != 0 {
		t.Errorf("asked %d times, renewed %d times for somebody who has to sign in first", graph, token)
	}
	withdraw()
	time.Sleep(1100 * time.Millisecond)
	b.post("/settings/connect").want(http.StatusOK, "Connected: ").lack("sign in again")
	s.wantRun(run{Users: 1, Written: 1})
}

func TestDrivesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.ms.Set(func(b *msauthtest.Behavior) {
		b.FailAlways[msauthtest.Graph] = msauthtest.Failure{Status: http.StatusForbidden, Error: "accessDenied"}
	})
	s.wantRun(run{Users: 1, Failed: 1})
	b.get("/digests").want(http.StatusOK, "The last digest was not written.", "This account has no OneDrive").lack("sign in again", "accessDenied")
	s.ms.Set(func(b *msauthtest.Behavior) { delete(b.FailAlways, msauthtest.Graph) })
	s.wantRun(run{Users: 1, Written: 1})
	b.get("/digests").want(http.StatusOK).lack("was not written.")
}

func TestTwoWorkersWriteEachDigestOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		s.ms.SetUser(msauthtest.User{SignInName: name + "@contoso.example"})
		s.connected(name, name+"@contoso.example")
	}
	set, err := readSettings(s.env.get)
	if err != nil {
		t.Fatal(err)
	}
	other, err := newApp(t.Context(), set, slog.New(slog.NewTextHandler(s.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer other.db.Close()
	for range 10 {
		s.due = s.due.Add(time.Minute)
		var wg sync.WaitGroup
		var written [3]int
		for i, w := range []*worker{s.worker, other.worker, other.worker} {
			if i == 2 { // too late
				wg.Wait()
			}
			wg.Go(func() {
				r := w.run(t.Context(), s.due)
				written[i] = r.Written
				if r.Written+r.Skipped != 4 || r.Failed != 0 {
					t.Errorf("%+v", r)
				}
			})
		}
		wg.Wait()
		if written[0]+written[1] != 4 || written[2] != 0 {
			t.Fatalf("%v digests written", written)
		}
	}
	s.wantDigests(40)
}

// If the database fails while a token is renewed, Microsoft is not blamed.
func TestWhoseFaultItIs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.lifetime(time.Second)
	s.connected("zoe", msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	if _, err := s.db.Exec(`CREATE TRIGGER broken BEFORE UPDATE ON msauth_tokens BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`); err != nil {
		t.Fatal(err)
	}
	if r := s.run(); !r.database || r.Failed != 1 {
		t.Errorf("the run says %+v", r)
	}
	if n := s.ms.Count(msauthtest.TokenRefresh); n != 0 {
		t.Errorf("%d token calls although nothing could be kept", n)
	}
}

func TestStoppingInTheMiddleOfARun(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.users(30)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	n := 0
	s.worker.recent = func(ctx context.Context, _ *msauth.Session) ([]file, error) {
		mu.Lock()
		n++
		hang := n > 10
		if n == 10+workers {
			time.AfterFunc(50*time.Millisecond, cancel)
		}
		mu.Unlock()
		if hang { // as long as Microsoft likes
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return nil, nil
	}
	ended := make(chan *run)
	go func() { ended <- s.worker.run(ctx, s.due) }()
	<-ctx.Done()
	select {
	case r := <-ended:
		if r.Written != 10 || r.Failed != 0 || r.Why != "The server was stopped." {
			t.Errorf("the run says %+v", r)
		}
	case <-time.After(time.Second):
		t.Fatal("the run does not end within a second")
	}
	s.wantDigests(10)
	if n := s.number(`SELECT count(*) FROM runs WHERE ended IS NOT NULL AND written = 10`); n != 1 {
		t.Error("the run is not noted")
	}
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) { return nil, nil }
	if r := s.worker.run(t.Context(), s.due); r.Written != 20 || r.Skipped != 10 {
		t.Errorf("after a restart in the same minute: %+v", r)
	}
}

func TestStoppingWhileMicrosoftHangs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.lifetime(time.Second)
	s.connected("zoe", msauthtest.Ada)
	time.Sleep(1100 * time.Millisecond)
	for _, kind := range []msauthtest.Kind{msauthtest.Graph, msauthtest.TokenRefresh} {
		s.ms.Set(func(b *msauthtest.Behavior) {
			clear(b.FailAlways)
			b.FailAlways[kind] = msauthtest.Failure{Hang: true}
		})
		time.Sleep(1100 * time.Millisecond)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		start := time.Now()
		s.due = s.due.Add(time.Minute)
		r := s.worker.run(ctx, s.due)
		cancel()
		if took := time.Since(start); took > 1300*time.Millisecond || r.Users != 0 {
			t.Errorf("%s hangs: after %v the run says %+v", kind, took, r)
		}
	}
	s.wantDigests(0)
}

func TestNothingIsWrittenForWhoDisconnectsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) {
		b.post("/settings/disconnect").want(http.StatusOK)
		return []file{{Name: "secret"}}, nil
	}
	s.wantRun(run{Users: 1, Skipped: 1})
	s.wantDigests(0)
}

// Nor is the reason for a missing digest stored, which would be shown for the next
// account.
func TestNoTroubleIsNotedForWhoDisconnectsMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	for _, then := range []string{"", msauthtest.Bruno} {
		s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) {
			b.post("/settings/disconnect").want(http.StatusOK)
			if then != "" {
				s.as(then)
				b.post("/settings/connect").want(http.StatusOK, then)
			}
			return nil, &graph.Error{Status: http.StatusServiceUnavailable}
		}
		s.wantRun(run{Users: 1, Failed: 1})
		if n := s.number(`SELECT count(*) FROM troubles`); n != 0 {
			t.Errorf("then %q: %d troubles are noted", then, n)
		}
		b.post("/settings/connect").want(http.StatusOK, "Connected: ").lack("was not written")
	}
}

// A user who signs in again while the old tokens are being refused does not have to
// sign in once more.
func TestSigningInAgainWhileMicrosoftIsAskedCounts(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) {
		time.Sleep(1100 * time.Millisecond)
		b.post("/settings/connect").want(http.StatusOK)
		time.Sleep(1100 * time.Millisecond)
		return nil, &msauth.AuthError{Class: msauth.ClassStepUp}
	}
	s.wantRun(run{Users: 1, Waiting: 1})
	b.get("/settings").want(http.StatusOK).lack("sign in again")
	s.worker.recent = func(context.Context, *msauth.Session) ([]file, error) { return nil, nil }
	s.wantRun(run{Users: 1, Written: 1})
}

// Tokens that no key opens are reported once, and signing in again replaces them.
func TestEntriesThatDoNotOpen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.env["MSAUTH_KEYS"] = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
	s.restart()
	b.get("/digests").want(http.StatusOK, "the site has lost its key")
	s.wantRun(run{Users: 1, Waiting: 1})
	since := s.number(`SELECT time FROM troubles`)
	for range 2 {
		s.wantRun(run{})
	}
	if n := strings.Count(s.log.String(), "digests: user failed"); n != 1 || s.number(`SELECT time FROM troubles`) != since {
		t.Errorf("said %d times", n)
	}
	b.get("/settings").want(http.StatusOK, "sign in again", "An account is connected.").lack("even while you are away")
	time.Sleep(1100 * time.Millisecond)
	b.post("/settings/connect").want(http.StatusOK, "Connected: ", "even while you are away").lack("sign in again")
	s.wantRun(run{Users: 1, Written: 1})
}

// A panic over one user's files affects only that user.
func TestAPanicIsOneUsersAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	b := s.connected("zoe", msauthtest.Ada)
	s.connected("yan", msauthtest.Bruno)
	s.worker.recent = func(_ context.Context, in *msauth.Session) ([]file, error) {
		if in.User.Username == msauthtest.Ada {
			panic("no such file")
		}
		return nil, nil
	}
	s.wantRun(run{Users: 2, Written: 1, Failed: 1})
	b.get("/digests").want(http.StatusOK, "Something went wrong on this site.").lack("no such file")
	if log := s.log.String(); !strings.Contains(log, "no such file") || !strings.Contains(log, "worker_test.go") {
		t.Error("the panic is not in the log")
	}
}

func TestTroubles(t *testing.T) {
	t.Parallel()
	auth := func(c msauth.Class) error { return &msauth.AuthError{Class: c, RetryAfter: time.Second} }
	for _, tt := range []struct {
		name                 string
		err                  error
		needsPerson, passing bool
		retryAfter           time.Duration
	}{
		{"revoked", auth(msauth.ClassSignIn), true, false, 0},
		{"step up", auth(msauth.ClassStepUp), true, false, 0},
		{"not allowed", auth(msauth.ClassNotAllowed), false, false, 0},
		{"retry", auth(msauth.ClassRetry), false, true, time.Second},
		{"app misconfigured", auth(msauth.ClassMisconfigured), false, true, time.Second},
		{"network", errors.New("connection refused"), false, true, 0},
		{"throttled", &graph.Error{Status: 429, RetryAfter: time.Minute}, false, true, time.Minute},
		{"no drive", &graph.Error{Status: 404}, false, false, 0},
		{"other status", &graph.Error{Status: 418}, false, false, 0},
		{"panic", errPanic, false, false, 0},
	} {
		got := troubleOf(tt.err)
		if got.needsPerson != tt.needsPerson || got.passing != tt.passing || got.retryAfter != tt.retryAfter || got.why == "" {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	for _, err := range []error{nil, msauth.ErrNoTokens} {
		if got := troubleOf(err); got != (trouble{}) {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

func TestKeyFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/digests.db.key"
	keys := make([]string, 20)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := readKey(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = string(key)
		})
	}
	wg.Wait()
	for _, key := range keys {
		if key != keys[0] || len(key) != 32 {
			t.Fatal("processes that start at once have different keys")
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	os.Chmod(path, 0o644)
	if _, err := readKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that all may read: %v", err)
	}
	os.Chmod(path, 0o600)
	os.WriteFile(path, []byte("short"), 0o600)
	if _, err := readKey(path); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("no key: %v", err)
	}
}
