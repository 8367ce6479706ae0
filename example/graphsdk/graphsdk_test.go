package graphsdk_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	msgraphsdk "github.com/microsoftgraph/msgraph-sdk-go"
	"github.com/microsoftgraph/msgraph-sdk-go/models"

	"example.com/msauth"
	"example.com/msauth/example/graphsdk"
	"example.com/msauth/msauthtest"
)

// site is an app under Require whose handlers use one client of the SDK, with a
// local Microsoft.
type site struct {
	*httptest.Server
	ms     *msauthtest.Server
	graph  string
	client *msgraphsdk.GraphServiceClient

	mu    sync.Mutex
	tasks map[string]func(*http.Request) // what handlers do, by path
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Server: httptest.NewUnstartedServer(nil), ms: msauthtest.NewServer(), tasks: map[string]func(*http.Request){}}
	t.Cleanup(s.ms.Close)
	s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
	s.graph = s.ms.URL + "/v1.0"
	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID:     s.ms.ClientID,
		ClientSecret: s.ms.ClientSecret,
		Authority:    s.ms.URL,
		BaseURL:      "https://" + s.Listener.Addr().String() + "/auth",
		Keys:         [][]byte{key},
		Scopes:       []string{"User.Read", "Files.ReadWrite"},
		Logger:       slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.client = newClient(t, s.graph)
	s.Config.Handler = auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		task := s.tasks[r.URL.Path]
		s.mu.Unlock()
		task(r)
	}))
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// clients are made one after the other: see NewClient.
var clients sync.Mutex

func newClient(t *testing.T, graph string) *msgraphsdk.GraphServiceClient {
	t.Helper()
	clients.Lock()
	defer clients.Unlock()
	client, err := graphsdk.NewClient(graph)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// browser returns a new browser, in which nobody is signed in.
func (s *site) browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: s.Client().Transport, Jar: jar}
}

// visit opens a page whose handler does the task, in the request's context.
func (s *site) visit(t *testing.T, browser *http.Client, task func(ctx context.Context, session *msauth.Session)) {
	t.Helper()
	done := false
	path := "/" + rand.Text()
	s.mu.Lock()
	s.tasks[path] = func(r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		task(r.Context(), session)
		done = true
	}
	s.mu.Unlock()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	req.Header.Set("Accept", "text/html")
	res, err := browser.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if text, _ := io.ReadAll(res.Body); !done {
		t.Fatalf("not signed in: %s\n%s", res.Status, text)
	}
}

// tokensStayed checks that tokens were sent only to Graph.
func (s *site) tokensStayed(t *testing.T, kinds ...msauthtest.Kind) {
	t.Helper()
	for _, call := range s.ms.Calls(msauthtest.Graph) {
		if !strings.HasPrefix(call.Header.Get("Authorization"), "Bearer ") {
			t.Errorf("%s %s without a token", call.Method, call.Path)
		}
	}
	for _, kind := range kinds {
		calls := s.ms.Calls(kind)
		if len(calls) == 0 {
			t.Errorf("no call of kind %s", kind)
		}
		for _, call := range calls {
			if call.Header.Get("Authorization") != "" || call.Status >= 400 {
				t.Errorf("%s %s: %d, with a token: %t", call.Method, call.Path, call.Status, call.Header.Get("Authorization") != "")
			}
		}
	}
}

func names(items []models.DriveItemable) (all []string) {
	for _, item := range items {
		all = append(all, *item.GetName())
	}
	return all
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// One long function, because each step works with the files that the steps before
// have made.
func TestEverythingThatLiveConnectClientDid(t *testing.T) {
	t.Parallel()
	for _, person := range []string{msauthtest.Ada, msauthtest.Mia} { // work and personal
		t.Run(person, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
			s.visit(t, s.browser(t), func(ctx context.Context, session *msauth.Session) {
				ok := func(err error) {
					t.Helper()
					if err != nil {
						t.Errorf("%v (code %q)", err, graphsdk.Code(err))
						panic(http.ErrAbortHandler)
					}
				}
				me, err := graphsdk.Me(ctx, s.client)
				ok(err)
				if got := *me.GetDisplayName(); got != session.User.Name {
					t.Errorf("me is %q, want %q", got, session.User.Name)
				}
				photo, err := graphsdk.Photo(ctx, s.client)
				ok(err)
				if got := http.DetectContentType(photo); got != "image/jpeg" {
					t.Errorf("photo: %s", got)
				}
				drive, err := graphsdk.DriveID(ctx, s.client)
				ok(err)
				top, err := graphsdk.List(ctx, s.client, drive, "root")
				ok(err)
				if got := names(top); !slices.Contains(got, "Documents") || !slices.Contains(got, "Shopping list.txt") {
					t.Errorf("top: %q", got)
				}

				plans, err := graphsdk.CreateFolder(ctx, s.client, drive, "root", "Plans")
				ok(err)
				if plans.GetFolder() == nil {
					t.Error("not a folder")
				}
				_, err = graphsdk.CreateFolder(ctx, s.client, drive, "root", "plans")
				if got := graphsdk.Code(err); got != "nameAlreadyExists" {
					t.Errorf("second folder: %v, code %q", err, got)
				}
				same := func(id string, want []byte) {
					t.Helper()
					got, err := graphsdk.Download(ctx, s.client, drive, id)
					ok(err)
					if !bytes.Equal(got, want) {
						t.Errorf("%d bytes, other than the %d written", len(got), len(want))
					}
				}

				// Small: text that compresses, bytes that do not, nothing.
				text := []byte(strings.Repeat("Grundriß, 1 : 100\n", 500))
				file, err := graphsdk.Upload(ctx, s.client, drive, *plans.GetId(), "Haus & Höfe +1 100%.txt", text)
				ok(err)
				if *file.GetName() != "Haus & Höfe +1 100%.txt" || *file.GetSize() != int64(len(text)) {
					t.Errorf("uploaded %q, %d bytes", *file.GetName(), *file.GetSize())
				}
				same(*file.GetId(), text)
				same("root:/Plans/Haus & Höfe +1 100%.txt:", text)
				noise := random(100_000)
				again, err := graphsdk.Upload(ctx, s.client, drive, *plans.GetId(), "Haus & Höfe +1 100%.txt", noise)
				ok(err)
				if *again.GetId() != *file.GetId() {
					t.Error("new content made another file")
				}
				same(*file.GetId(), noise)
				empty, err := graphsdk.Upload(ctx, s.client, drive, "root", "empty", nil)
				ok(err)
				same(*empty.GetId(), nil)

				// Large: two whole parts and some.
				const part = 10 * 320 << 10
				film := random(2*part + 12_345)
				name := filepath.Join(t.TempDir(), "film")
				ok(os.WriteFile(name, film, 0o600))
				source, err := os.Open(name)
				ok(err)
				defer source.Close()
				var steps []int64
				large, err := graphsdk.UploadLarge(ctx, s.client, drive, *plans.GetId(), "Ein Film.mp4", source, func(done, all int64) {
					if all != int64(len(film)) {
						t.Errorf("of %d bytes", all)
					}
					steps = append(steps, done)
				})
				ok(err)
				if want := []int64{part, 2 * part, int64(len(film))}; !slices.Equal(steps, want) {
					t.Errorf("progress %d, want %d", steps, want)
				}
				if *large.GetName() != "Ein Film.mp4" || *large.GetSize() != int64(len(film)) {
					t.Errorf("uploaded %q, %d bytes", *large.GetName(), *large.GetSize())
				}
				same(*large.GetId(), film)

				// Move, copy, delete.
				root, err := graphsdk.CreateFolder(ctx, s.client, drive, "root", "Films")
				ok(err)
				moved, err := graphsdk.Move(ctx, s.client, drive, *large.GetId(), *root.GetId(), "Film.mp4")
				ok(err)
				if *moved.GetId() != *large.GetId() || *moved.GetName() != "Film.mp4" || *moved.GetParentReference().GetId() != *root.GetId() {
					t.Errorf("moved to %q in %s", *moved.GetName(), *moved.GetParentReference().GetId())
				}
				twin, err := graphsdk.Copy(ctx, s.client, drive, *file.GetId(), *root.GetId(), "Copy.txt")
				ok(err)
				if *twin.GetId() == *file.GetId() || *twin.GetName() != "Copy.txt" {
					t.Errorf("copy: %q", *twin.GetName())
				}
				same(*twin.GetId(), noise)
				if _, err := graphsdk.Copy(ctx, s.client, drive, *file.GetId(), *root.GetId(), "Copy.txt"); err == nil || !strings.Contains(err.Error(), "nameAlreadyExists") {
					t.Errorf("second copy: %v", err)
				}
				films, err := graphsdk.List(ctx, s.client, drive, *root.GetId())
				ok(err)
				if got := names(films); !slices.Equal(got, []string{"Film.mp4", "Copy.txt"}) {
					t.Errorf("films: %q", got)
				}
				ok(graphsdk.Delete(ctx, s.client, drive, *plans.GetId()))
				_, err = graphsdk.Download(ctx, s.client, drive, *file.GetId())
				if got := graphsdk.Code(err); got != "itemNotFound" {
					t.Errorf("deleted file: %v, code %q", err, got)
				}
				same(*twin.GetId(), noise)
			})
			s.tokensStayed(t, msauthtest.Download, msauthtest.Upload, msauthtest.Monitor)
		})
	}
}

func TestListTurnsPages(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.visit(t, s.browser(t), func(ctx context.Context, _ *msauth.Session) {
		drive, err := graphsdk.DriveID(ctx, s.client)
		if err != nil {
			t.Error(err)
			return
		}
		const n = 203 // Graph lists 200 at a time
		for i := range n {
			if _, err := graphsdk.Upload(ctx, s.client, drive, "root", fmt.Sprintf("Many/%d", i), []byte("x")); err != nil {
				t.Error(err)
				return
			}
		}
		all, err := graphsdk.List(ctx, s.client, drive, "root:/Many:")
		if err != nil || len(all) != n {
			t.Errorf("%d files (%v), want %d", len(all), err, n)
		}
	})
}

// One client serves several users at once, each with their own tokens.
func TestOneClientServesEverybody(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	people := map[string]*http.Client{}
	for _, person := range []string{msauthtest.Ada, msauthtest.Bruno, msauthtest.Mia} {
		s.ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = person })
		people[person] = s.browser(t)
		s.visit(t, people[person], func(context.Context, *msauth.Session) {})
	}
	var wg sync.WaitGroup
	for person, browser := range people {
		wg.Go(func() {
			for range 10 {
				s.visit(t, browser, func(ctx context.Context, session *msauth.Session) {
					me, err := graphsdk.Me(ctx, s.client)
					if err != nil || session.User.Username != person || *me.GetUserPrincipalName() != person {
						t.Errorf("%s is %s (%v)", session.User.Username, person, err)
					}
				})
			}
		})
	}
	wg.Wait()
	// Without a session no request is sent.
	s.ms.ResetCalls()
	if _, err := graphsdk.Me(t.Context(), s.client); !errors.Is(err, msauth.ErrNoSession) {
		t.Errorf("nobody: %v", err)
	}
	if n := s.ms.Count(msauthtest.Graph); n != 0 {
		t.Errorf("%d calls for nobody", n)
	}
}

func TestNoTokenForStrangers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	got := make(chan string, 2)
	stranger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header.Get("Authorization")
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(stranger.Close)
	// Kiota compares host names, not ports, so this needs another name.
	address := strings.Replace(stranger.URL, "127.0.0.1", "localhost", 1)
	s.visit(t, s.browser(t), func(ctx context.Context, session *msauth.Session) {
		if _, err := s.client.Me().WithUrl(address+"/me").Get(ctx, nil); err != nil {
			t.Error(err)
		}
		if sent := <-got; sent != "" {
			t.Error("a stranger has been sent a token")
		}

		credential := graphsdk.Credential{Session: session}
		token, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}})
		if err != nil || token.Token == "" || token.ExpiresOn.IsZero() {
			t.Errorf("token for Graph: %v", err)
		}
		other, err := credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}})
		if err == nil || other.Token != "" {
			t.Error("Graph's token was given out for another API")
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			if text := fmt.Sprintf(verb, credential); strings.Contains(text, token.Token) || !strings.Contains(text, session.User.Key()) {
				t.Errorf("%s prints %d bytes", verb, len(text))
			}
		}
	})
}

// A claims challenge means that the user must sign in again.
func TestChallenge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	browser := s.browser(t)
	s.visit(t, browser, func(ctx context.Context, _ *msauth.Session) {
		withdraw := s.ms.Challenge(msauthtest.Challenge{SignInName: msauthtest.Ada})
		_, err := graphsdk.Me(ctx, s.client)
		if failure, ok := errors.AsType[*msauth.AuthError](err); !ok || !errors.Is(err, msauth.ErrSignInRequired) || !strings.Contains(failure.Claims, `"nbf"`) {
			t.Errorf("challenged: %v", err)
		}
		withdraw()
		if _, err := graphsdk.Me(ctx, s.client); err != nil {
			t.Error(err)
		}
	})
}

// The upload task repeats parts that fail, and reports when that does not help.
func TestUploadThatFails(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	name := filepath.Join(t.TempDir(), "film")
	film := random(600_000)
	if err := os.WriteFile(name, film, 0o600); err != nil {
		t.Fatal(err)
	}
	source, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	s.visit(t, s.browser(t), func(ctx context.Context, _ *msauth.Session) {
		drive, err := graphsdk.DriveID(ctx, s.client)
		if err != nil {
			t.Error(err)
			return
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.Fail[msauthtest.Upload] = []msauthtest.Failure{{Status: 500}} })
		item, err := graphsdk.UploadLarge(ctx, s.client, drive, "root", "Film.mp4", source, func(int64, int64) {})
		if err != nil {
			t.Error(err)
			return
		}
		if got, err := graphsdk.Download(ctx, s.client, drive, *item.GetId()); err != nil || !bytes.Equal(got, film) {
			t.Errorf("%d bytes (%v)", len(got), err)
		}
		s.ms.Set(func(b *msauthtest.Behavior) { b.FailAlways[msauthtest.Upload] = msauthtest.Failure{Status: 500} })
		_, err = graphsdk.UploadLarge(ctx, s.client, drive, "root", "Other.mp4", source, func(done, all int64) {
			t.Errorf("progress: %d of %d", done, all)
		})
		if graphsdk.Code(err) != "generalException" {
			t.Errorf("error %v, code %q", err, graphsdk.Code(err))
		}
	})
}
