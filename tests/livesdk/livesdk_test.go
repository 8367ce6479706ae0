package livesdk_test

import (
	"bytes"
	"context"
	"encoding/json"
	"image"
	_ "image/jpeg" // thumbnails
	"image/png"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/graph"
	"example.com/msauth/livesdk"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

func TestMain(m *testing.M) { testsite.Main(m) }

// An old is an app that still thinks in paths of Live Connect.
type old struct {
	t      *testing.T
	client *http.Client
	base   string
}

// signIn is a sign-in with the scopes that an app of old asked for.
func signIn(t *testing.T, who, scopes string) *old {
	t.Helper()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = who })
	site := httptest.NewUnstartedServer(nil)
	config := testsite.LeastConfig()
	config.Authority, config.ClientID, config.ClientSecret = ms.URL, ms.ClientID, ms.ClientSecret
	config.BaseURL = "http://" + site.Listener.Addr().String() + "/auth"
	config.TokenHosts = map[string][]string{strings.TrimPrefix(ms.URL, "http://"): nil}
	config.Logger = slog.New(slog.DiscardHandler)
	var err error
	if config.Scopes, err = livesdk.Scopes(scopes); err != nil {
		t.Fatal(err)
	}
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
	return &old{t, session.Client(context.Background()), ms.URL + "/v1.0"}
}

// call sends what a request to Live Connect is today. The body is Graph's.
func (o *old) call(method, path, contentType, body string, status int) []byte {
	o.t.Helper()
	converted, err := livesdk.Path(method, path)
	if err != nil {
		o.t.Fatal(err)
	}
	if converted.Body != "" {
		contentType, body = "application/json", converted.Body
	}
	req, err := http.NewRequestWithContext(o.t.Context(), converted.Method, o.base+"/"+converted.Path, strings.NewReader(body))
	if err != nil {
		o.t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := o.client.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		o.t.Fatalf("%s %s: %s, %v\n%s", converted.Method, converted.Path, res.Status, err, answer)
	}
	return answer
}

func read[T any](o *old, path string) (answer T) {
	o.t.Helper()
	if err := json.Unmarshal(o.call("GET", path, "", "", 200), &answer); err != nil {
		o.t.Fatal(err)
	}
	return answer
}

type list struct{ Value []graph.DriveItem }

func (l list) names() (names []string) {
	for _, it := range l.Value {
		names = append(names, it.Name)
	}
	return names
}

// liveID is what Live Connect called an item of a personal account.
func liveID(t *testing.T, body []byte, kind string) string {
	t.Helper()
	var it graph.DriveItem
	if err := json.Unmarshal(body, &it); err != nil || it.ID == "" {
		t.Fatalf("%v: %s", err, body)
	}
	cid, _, _ := strings.Cut(it.ID, "!")
	return kind + "." + strings.ToLower(cid) + "." + it.ID
}

func TestOldPathsAnswer(t *testing.T) {
	t.Parallel()
	o := signIn(t, msauthtest.Mia, "wl.signin wl.basic wl.skydrive_update wl.offline_access")

	if me := read[graph.User](o, "https://apis.live.net/v5.0/me?access_token=old"); me.DisplayName != "Mia Müller" {
		t.Errorf("me: %+v", me)
	}
	if root := read[graph.DriveItem](o, "/me/skydrive"); root.Folder == nil || root.Name != "root" {
		t.Errorf("me/skydrive: %+v", root)
	}
	if drive := read[graph.Drive](o, "me/skydrive/quota"); drive.Quota == nil || drive.Quota.Total == 0 {
		t.Errorf("quota: %+v", drive)
	}
	all := read[list](o, "me/skydrive/files").names()
	slices.SortFunc(all, func(a, b string) int { return -strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	got := read[list](o, "me/skydrive/files?limit=2&sort_by=name&sort_order=descending&pretty=false").names()
	if len(all) < 2 || !slices.Equal(got, all[:2]) {
		t.Errorf("the last two of %q: %q", all, got)
	}

	// What UploadAsync, PutAsync, PostAsync, MoveAsync and CopyAsync sent.
	file := liveID(t, o.call("PUT", "me/skydrive/files/Our%20trip%20100%25.txt?overwrite=false", "text/plain", "Sun", 201), "file")
	o.call("PUT", "me/skydrive/files/Our%20trip%20100%25.txt?overwrite=false", "text/plain", "Rain", 409)
	o.call("PUT", "me/skydrive/files/Our%20trip%20100%25.txt?overwrite=ChooseNewName", "text/plain", "Rain", 201)
	o.call("PUT", file+"/content", "text/plain", "Sunshine", 200)
	if text := o.call("GET", file+"/content?download=true", "", "", 200); string(text) != "Sunshine" {
		t.Errorf("the content is %q", text)
	}
	o.call("PUT", file, "application/json", `{"name":"Journey.txt"}`, 200)
	folder := liveID(t, o.call("POST", "me/skydrive", "application/json", `{"name":"Travels","folder":{}}`, 201), "folder")
	destination, err := livesdk.ItemID(folder)
	if err != nil {
		t.Fatal(err)
	}
	parent := `{"parentReference":{"id":"` + destination + `"}}`
	o.call("MOVE", file, "application/json", parent, 200)
	o.call("COPY", file, "application/json", `{"parentReference":{"id":"`+destination+`"},"name":"Copy.txt"}`, 202)
	if names := read[list](o, folder+"/files").names(); !slices.Contains(names, "Journey.txt") {
		t.Errorf("in the folder: %q", names)
	}
	if names := read[list](o, folder+"/search?q=journey").names(); !slices.Contains(names, "Journey.txt") {
		t.Errorf("found in the folder: %q", names)
	}
	if names := read[list](o, "me/skydrive/search?q=trip+100%25").names(); len(names) != 1 {
		t.Errorf("found: %q", names)
	}
	o.call("PUT", folder+"/files/Second.txt", "text/plain", "2", 201)

	var link struct {
		Link struct{ Type, WebURL string }
	}
	if err := json.Unmarshal(o.call("GET", file+"/shared_read_link", "", "", 201), &link); err != nil || link.Link.Type != "view" || link.Link.WebURL == "" {
		t.Errorf("link: %+v, %v", link, err)
	}
	o.call("GET", file+"/shared_edit_link", "", "", 201)

	var picture bytes.Buffer
	if err := png.Encode(&picture, image.NewGray(image.Rect(0, 0, 400, 300))); err != nil {
		t.Fatal(err)
	}
	photo := liveID(t, o.call("PUT", folder+"/files/Sun.png", "image/png", picture.String(), 201), "photo")
	small, _, err := image.DecodeConfig(bytes.NewReader(o.call("GET", photo+"/picture?type=small", "", "", 200)))
	if err != nil || small.Width != 96 {
		t.Errorf("the small picture: %+v, %v", small, err)
	}

	o.call("DELETE", file, "", "", 204)
	o.call("GET", file, "", "", 404)
}

// The paths are those that package graph takes.
func TestPathsForPackageGraph(t *testing.T) {
	t.Parallel()
	o := signIn(t, msauthtest.Mia, "wl.basic,wl.skydrive")
	c := graph.New(o.client, o.base)
	for _, path := range []string{"me/skydrive/files?limit=1", "me/skydrive/quota", "me/skydrive/search?q=it's"} {
		req, err := livesdk.Path("GET", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := graph.Get[map[string]any](t.Context(), c, req.Path); err != nil {
			t.Errorf("%s: %v", req.Path, err)
		}
	}
}
