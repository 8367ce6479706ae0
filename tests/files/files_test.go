package files_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	_ "image/jpeg"
	_ "image/png"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// A person is somebody who has signed in to a site that may change their files.
type person struct {
	ms    *msauthtest.Server
	c     *graph.Client
	files *graph.Files

	session *msauth.Session
}

// token returns the person's access token, for another process.
func (p *person) token(t *testing.T) string {
	t.Helper()
	token, err := p.session.Token(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token.AccessToken
}

func signIn(t *testing.T, who string) *person {
	t.Helper()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = who })
	site := httptest.NewUnstartedServer(nil)
	config := testsite.LeastConfig()
	config.Authority, config.ClientID, config.ClientSecret = ms.URL, ms.ClientID, ms.ClientSecret
	config.BaseURL = "http://" + site.Listener.Addr().String() + "/auth"
	config.Scopes, config.Logger = []string{"User.Read", "Files.ReadWrite"}, slog.New(slog.DiscardHandler)
	config.TokenHosts = map[string][]string{strings.TrimPrefix(ms.URL, "http://"): nil}
	auth, err := msauth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { auth.Close(context.Background()) })
	var session *msauth.Session
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ = msauth.FromContext(r.Context())
	})))
	site.Config.Handler = mux
	site.Start()
	t.Cleanup(site.Close)
	if _, err := msauthtest.Client(site.URL+"/", who); err != nil {
		t.Fatal(err)
	}
	c := graph.New(session.Client(context.Background()), ms.URL+"/v1.0")
	return &person{ms, c, c.Files(""), session}
}

// content returns bytes that are not the same anywhere.
func content(n int, seed byte) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// put stores a file, whatever was there.
func (p *person) put(t *testing.T, path string, b []byte) graph.DriveItem {
	t.Helper()
	it, err := p.files.Upload(t.Context(), graph.Ref{Path: path}, bytes.NewReader(b), int64(len(b)), graph.UploadOptions{Conflict: graph.Replace})
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// read returns the content of a file.
func (p *person) read(t *testing.T, ref graph.Ref) []byte {
	t.Helper()
	d, err := p.files.Download(t.Context(), ref, graph.DownloadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b, err := io.ReadAll(d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// names lists a folder.
func (p *person) names(t *testing.T, folder graph.Ref) (names []string) {
	t.Helper()
	for it, err := range p.files.List(t.Context(), folder) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, it.Name)
	}
	slices.Sort(names)
	return names
}

// wantNoTokens checks that no request to a storage host had a token.
func (p *person) wantNoTokens(t *testing.T, kinds ...msauthtest.Kind) {
	t.Helper()
	for _, kind := range kinds {
		calls := p.ms.Calls(kind)
		if len(calls) == 0 {
			t.Errorf("no requests of kind %s", kind)
		}
		for _, call := range calls {
			if call.Header.Get("Authorization") != "" || call.Header.Get("Cookie") != "" {
				t.Errorf("%s %s has a token or a cookie", call.Method, kind)
			}
		}
	}
}

// Both kinds of accounts have other IDs, hashes and limits.
var people = map[string]string{"a work account": msauthtest.Ada, "a personal account": msauthtest.Mia}

func everybody(t *testing.T, test func(t *testing.T, p *person)) {
	t.Parallel()
	for kind, who := range people {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, signIn(t, who))
		})
	}
}

func TestFoldersAndNames(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		folder, err := p.files.CreateFolder(t.Context(), graph.Ref{}, "Trips", graph.Fail)
		if err != nil || folder.Folder == nil {
			t.Fatalf("%+v, %v", folder, err)
		}
		if _, err := p.files.CreateFolder(t.Context(), graph.Ref{}, "trips", graph.Fail); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a folder of that name: %v", err)
		}
		other, err := p.files.CreateFolder(t.Context(), graph.Ref{}, "Trips", graph.Rename)
		if err != nil || other.Name == "Trips" {
			t.Errorf("another folder is %q, %v", other.Name, err)
		}
		in := graph.Ref{ID: folder.ID}
		for _, name := range []string{"100% #1 & 'more' + (2) = {3}; ~a^ `b` @c$!,.txt", "測定結果.csv", "🎉.png", "%2e%2e", "a;b", strings.Repeat("n", 255)} {
			b := []byte(name)
			it, err := p.files.Upload(t.Context(), graph.Ref{ID: folder.ID, Path: name}, bytes.NewReader(b), int64(len(b)), graph.UploadOptions{})
			if err != nil || it.Name != name {
				t.Errorf("%q is stored as %q, %v", name, it.Name, err)
				continue
			}
			if got := p.read(t, graph.Ref{Path: "Trips/" + name}); string(got) != name {
				t.Errorf("%q has %q", name, got)
			}
			found, err := p.files.Stat(t.Context(), graph.Ref{ID: folder.ID, Path: name})
			if err != nil || found.ID != it.ID {
				t.Errorf("%q is found as %q, %v", name, found.ID, err)
			}
		}
		if n := len(p.names(t, in)); n != 6 {
			t.Errorf("%d items", n)
		}
		if _, err := p.files.Stat(t.Context(), graph.Ref{Path: "Trips/none"}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
	})
}

func TestRenameMoveAndDelete(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		it := p.put(t, "a.txt", []byte("a"))
		p.put(t, "b.txt", []byte("b"))
		ref := graph.Ref{ID: it.ID}
		if it, err := p.files.Rename(t.Context(), ref, "c.txt", graph.Fail); err != nil || it.Name != "c.txt" {
			t.Errorf("renamed to %q, %v", it.Name, err)
		}
		if _, err := p.files.Rename(t.Context(), ref, "b.txt", graph.Fail); !errors.Is(err, fs.ErrExist) {
			t.Errorf("renamed to one that exists: %v", err)
		}
		if it, err := p.files.Rename(t.Context(), ref, "b.txt", graph.Rename); err != nil || it.Name != "b 1.txt" {
			t.Errorf("renamed to %q, %v", it.Name, err)
		}
		moved, err := p.files.Move(t.Context(), ref, graph.Ref{Path: "Documents"}, "moved.txt", graph.Fail)
		if err != nil || moved.Name != "moved.txt" || moved.ID != it.ID {
			t.Errorf("moved: %+v, %v", moved, err)
		}
		if back, err := p.files.Move(t.Context(), ref, graph.Ref{}, "", graph.Fail); err != nil || back.Name != "moved.txt" {
			t.Errorf("moved to the root: %+v, %v", back, err)
		}
		if got := p.read(t, graph.Ref{Path: "moved.txt"}); string(got) != "a" {
			t.Errorf("it has %q", got)
		}
		if err := p.files.Delete(t.Context(), ref); err != nil {
			t.Error(err)
		}
		if err := p.files.Delete(t.Context(), ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("deleted again: %v", err)
		}
	})
}

// Only personal accounts can take a deletion back.
func TestRestore(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		folder, err := p.files.CreateFolder(t.Context(), graph.Ref{}, "F", graph.Fail)
		if err != nil {
			t.Fatal(err)
		}
		p.put(t, "F/a.txt", []byte("a"))
		if err := p.files.Delete(t.Context(), graph.Ref{ID: folder.ID}); err != nil {
			t.Fatal(err)
		}
		drive, err := p.files.Drive(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		it, err := p.files.Restore(t.Context(), folder.ID, nil, "")
		if drive.DriveType != "personal" {
			if _, ok := errors.AsType[*graph.Error](err); !ok {
				t.Errorf("%v, want a refusal", err)
			}
			return
		}
		if err != nil || it.ID != folder.ID || string(p.read(t, graph.Ref{Path: "F/a.txt"})) != "a" {
			t.Errorf("%+v, %v", it, err)
		}
	})
}

func TestCopy(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		b := content(100_000, 1)
		it := p.put(t, "a.bin", b)
		p.ms.Set(func(b *msauthtest.Behavior) { b.CopyTime = time.Second })
		op, err := p.files.Copy(t.Context(), graph.Ref{ID: it.ID}, graph.Ref{Path: "Documents"}, "b.bin", graph.Fail)
		if err != nil {
			t.Fatal(err)
		}
		looks := 0
		id, err := op.Wait(t.Context(), func(float64) { looks++ })
		if err != nil || id == "" || looks < 2 {
			t.Fatalf("%q after %d looks, %v", id, looks, err)
		}
		if !bytes.Equal(p.read(t, graph.Ref{ID: id}), b) || !bytes.Equal(p.read(t, graph.Ref{Path: "Documents/b.bin"}), b) {
			t.Error("the copy has another content")
		}
		if op, err = p.files.Copy(t.Context(), graph.Ref{ID: it.ID}, graph.Ref{Path: "Documents"}, "b.bin", graph.Fail); err == nil {
			_, err = op.Wait(t.Context(), nil)
		}
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("over another: %v", err)
		}
		p.wantNoTokens(t, msauthtest.Monitor)
	})
}

func TestSearchThumbnailsAndLinks(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		p.put(t, "Documents/Ada's 100% plan.txt", []byte("x"))
		var found []string
		for it, err := range p.files.Search(t.Context(), graph.Ref{}, "Ada's") {
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, it.Name)
		}
		if !slices.Contains(found, "Ada's 100% plan.txt") {
			t.Errorf("found %q", found)
		}
		picture := graph.Ref{Path: "Pictures/Harbour.png"}
		sets, err := p.files.Thumbnails(t.Context(), picture)
		if err != nil || len(sets) != 1 || sets[0].Medium == nil || sets[0].Medium.Width > 176 {
			t.Fatalf("%+v, %v", sets, err)
		}
		s, err := p.files.Thumbnail(t.Context(), picture, "small")
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if img, _, err := image.Decode(s); err != nil || img.Bounds().Dx() > 96 {
			t.Errorf("the small thumbnail: %v", err)
		}
		if _, err := p.files.Thumbnail(t.Context(), graph.Ref{Path: "Documents"}, "small"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the thumbnail of a folder: %v", err)
		}
		link, err := p.files.CreateLink(t.Context(), picture, graph.LinkOptions{Scope: "anonymous"})
		if err != nil || link.Link.WebURL == "" || link.Link.Type != "view" {
			t.Fatalf("%+v, %v", link, err)
		}
		if err := p.files.DeletePermission(t.Context(), picture, link.ID); err != nil {
			t.Error(err)
		}
		p.wantNoTokens(t, msauthtest.Thumbnail)
	})
}

// A program that keeps the link sees each change once it asks again.
func TestChangesOfADrive(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		all := graph.Delta[graph.DriveItem](p.c, "me/drive/root/delta")
		n := 0
		for _, err := range all.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n < 15 {
			t.Errorf("%d items at first", n)
		}
		it := p.put(t, "new.txt", []byte("x"))
		if err := p.files.Delete(t.Context(), graph.Ref{Path: "Shopping list.txt"}); err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{} // by id: deleted
		next := graph.Delta[graph.DriveItem](p.c, all.Link())
		for it, err := range next.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			seen[it.ID] = it.Deleted != nil
		}
		deleted := slices.Collect(func(yield func(string) bool) {
			for id, gone := range seen {
				if gone && !yield(id) {
					return
				}
			}
		})
		if gone, ok := seen[it.ID]; !ok || gone || len(deleted) != 1 || len(seen) > 4 {
			t.Errorf("seen %v", seen)
		}
		p.ms.ExpireDeltaTokens()
		for _, err := range graph.Delta[graph.DriveItem](p.c, next.Link()).All(t.Context()) {
			if !errors.Is(err, graph.ErrResync) {
				t.Errorf("an expired link: %v", err)
			}
		}
	})
}

func TestBatchOfADrive(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		p.ms.Set(func(b *msauthtest.Behavior) {
			b.Fail[msauthtest.Graph] = []msauthtest.Failure{{Status: 429, Header: http.Header{"Retry-After": {"1"}}}}
		})
		responses, err := p.c.Batch(t.Context(),
			graph.BatchRequest{ID: "folder", Method: "POST", Path: "me/drive/root/children", Body: map[string]any{"name": "B", "folder": struct{}{}}},
			graph.BatchRequest{Path: "me/drive/root:/B", DependsOn: []string{"folder"}},
			graph.BatchRequest{Path: "me/drive/root:/none"},
		)
		if err != nil {
			t.Fatal(err)
		}
		made, err := graph.Decode[graph.DriveItem](responses[0])
		seen, err2 := graph.Decode[graph.DriveItem](responses[1])
		if err != nil || err2 != nil || made.ID == "" || made.ID != seen.ID {
			t.Errorf("%+v, %v; %+v, %v", made, err, seen, err2)
		}
		if err := responses[2].Err(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("what is not there: %v", err)
		}
	})
}

func TestProfileAndPhoto(t *testing.T) {
	everybody(t, func(t *testing.T, p *person) {
		me, err := graph.Get[graph.User](t.Context(), p.c, "me", graph.Query{Select: []string{"displayName", "id"}})
		if err != nil || me.DisplayName == "" || me.UserPrincipalName != "" {
			t.Errorf("%+v, %v", me, err)
		}
		s, err := p.c.Photo(t.Context(), "me", 0)
		if err != nil {
			if !errors.Is(err, graph.ErrNoPhoto) {
				t.Error(err)
			}
			return
		}
		defer s.Close()
		if _, _, err := image.Decode(s); err != nil || s.ContentType != "image/jpeg" {
			t.Errorf("%s: %v", s.ContentType, err)
		}
	})
}
