//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// With this variable the test binary is a worker that never pauses.
const workerVariable = "OFFLINE_TEST_WORKER"

func TestMain(m *testing.M) {
	if os.Getenv(workerVariable) != "" {
		if err := workOn(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func workOn() error {
	set, err := readSettings(os.Getenv)
	if err != nil {
		return err
	}
	a, err := newApp(context.Background(), set, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for {
		fmt.Println("run")
		a.worker.run(context.Background(), time.Now())
	}
}

// startWorker starts a worker in another process. It closes began when the first
// run begins.
func (s *site) startWorker() (cmd *exec.Cmd, began chan struct{}) {
	s.t.Helper()
	cmd = exec.Command(os.Args[0])
	cmd.Stderr = os.Stderr
	cmd.Env = []string{workerVariable + "=1"}
	for name, value := range s.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	began = make(chan struct{})
	go func() {
		for first, lines := true, bufio.NewScanner(out); lines.Scan(); first = false {
			if first {
				close(began)
			}
		}
	}()
	return cmd, began
}

// A worker that is killed at any moment leaves complete digests, and tokens that can
// be used or that require the user to sign in again. If the provider keeps old
// refresh tokens valid, as Microsoft does, no user has to. It is one long function
// because its steps share the counters.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	kills := times(8, 200)
	for name, rotation := range map[string]msauthtest.Rotation{"old tokens stay valid": msauthtest.RotateKeepOld, "strict rotation": msauthtest.RotateStrict} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ms.Set(func(b *msauthtest.Behavior) {
				b.Rotation = rotation
				b.AccessTokenLifetime = time.Second // the least: many processes have to renew
			})
			people := []string{"a@contoso.example", "b@contoso.example", "c@contoso.example", "d@contoso.example"}
			browsers := make([]*browser, len(people))
			for i, person := range people {
				s.ms.SetUser(msauthtest.User{SignInName: person})
				browsers[i] = s.connected(person, person)
			}
			lost, leases := 0, 0
			// Where processes are slow they are killed later, and more of them.
			window, renewals := 60*time.Millisecond, 0
			for n := 0; n < kills || n < 5*kills && (leases == 0 || renewals < kills/4); n++ {
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
				cmd, began := s.startWorker()
				ended := make(chan struct{})
				go func() {
					cmd.Wait()
					close(ended)
				}()
				if rand.IntN(10) > 0 { // else while it starts
					select {
					case <-began:
					case <-ended:
						t.Fatal("the worker ended by itself")
					}
				}
				time.Sleep(rand.N(window))
				cmd.Process.Kill()
				<-ended
				if cmd.ProcessState.ExitCode() > 0 {
					t.Fatal("the worker ended by itself")
				}
				before := renewals
				if renewals = s.ms.Count(msauthtest.TokenRefresh); renewals == before {
					window += 10 * time.Millisecond
				}
				// Nobody else can renew until the lease runs out: as if a
				// minute had passed.
				for i, person := range people {
					e := s.entry(fmt.Sprint(i + 1))
					if !e.Lease.IsZero() {
						leases++
						s.clearLease(fmt.Sprint(i+1), e)
					}
					if e.SignInRequired {
						lost++
						s.as(person)
						browsers[i].post("/settings/connect").want(http.StatusOK, "Connected: ", person)
					}
				}
			}
			if lost > 0 && rotation == msauthtest.RotateKeepOld {
				t.Errorf("%d times somebody was lost", lost)
			}
			// In a new process, all stored tokens can be opened, and are used or
			// refused.
			s.lifetime(time.Hour)
			s.restart()
			time.Sleep(1100 * time.Millisecond)
			for i, person := range people {
				user := fmt.Sprint(i + 1)
				session, err := s.auth.Offline(t.Context(), user)
				if err == nil {
					_, err = session.Token(t.Context())
				}
				if errors.Is(err, msauth.ErrSignInRequired) && rotation == msauthtest.RotateStrict {
					if !s.entry(user).SignInRequired {
						t.Errorf("%s: the entry does not say so", person)
					}
					lost++
					s.as(person)
					browsers[i].post("/settings/connect").want(http.StatusOK, "Connected: ", person)
				} else if err != nil {
					t.Errorf("%s is lost: %v", person, err)
				}
			}
			s.wantRun(run{Users: len(people), Written: len(people)})
			rows, err := s.db.Query(`SELECT files FROM digests`)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			digests := 0
			for rows.Next() {
				var text string
				var files []file
				if err := rows.Scan(&text); err != nil {
					t.Fatal(err)
				}
				if err := json.Unmarshal([]byte(text), &files); err != nil || len(files) == 0 {
					t.Fatalf("half a digest: %q, %v", text, err)
				}
				digests++
			}
			var result string
			if err := s.db.QueryRow(`PRAGMA integrity_check`).Scan(&result); err != nil || result != "ok" {
				t.Errorf("integrity_check: %s, %v", result, err)
			}
			renewals = s.ms.Count(msauthtest.TokenRefresh)
			t.Logf("%d kills, %d digests, %d token calls; %d leases left behind, %d times somebody was lost", kills, digests, renewals, leases, lost)
			if leases == 0 || renewals < kills/4 {
				t.Error("nothing was tested")
			}
		})
	}
}

func (s *site) entry(user string) msauth.StoredTokens {
	s.t.Helper()
	e, err := s.store.Load(s.t.Context(), s.app.auth.StoredUser(user))
	if err != nil {
		s.t.Fatal(err)
	}
	return e
}

// clearLease makes the lease of an entry expire.
func (s *site) clearLease(user string, e msauth.StoredTokens) {
	s.t.Helper()
	old := e.Version
	e.Version, e.Lease = 0, time.Time{}
	if err := s.store.Save(s.t.Context(), s.app.auth.StoredUser(user), old, e); err != nil {
		s.t.Fatal(err)
	}
}
