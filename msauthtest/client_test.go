package msauthtest_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// newSite is an app under test. change may alter its configuration.
func newSite(t *testing.T, ms *msauthtest.Server, secure bool, change func(*msauth.Config)) *httptest.Server {
	t.Helper()
	site := httptest.NewUnstartedServer(nil)
	t.Cleanup(site.Close)
	key := make([]byte, 32)
	rand.Read(key)
	c := msauth.Config{
		ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.URL,
		BaseURL: "http://" + site.Listener.Addr().String() + "/auth", Keys: [][]byte{key}, Logger: slog.New(slog.DiscardHandler),
	}
	if secure {
		c.BaseURL = strings.Replace(c.BaseURL, "http:", "https:", 1)
	}
	if change != nil {
		change(&c)
	}
	auth, err := msauth.New(c)
	if err != nil {
		t.Fatal(err)
	}
	page := func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprint(w, s.User.Username)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/page", auth.Require(http.HandlerFunc(page)))
	mux.Handle("/admin", auth.RequireRole("Admin")(http.HandlerFunc(page)))
	mux.HandleFunc("/open", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<title>Open to all</title>") })
	site.Config.Handler = mux
	if secure {
		site.StartTLS()
	} else {
		site.Start()
	}
	return site
}

func TestClient(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		for _, path := range []string{"/page", "/auth/login?return_to=/page"} {
			ms := newServer(t)
			site := newSite(t, ms, secure, nil)
			if path == "/page" { // whoever this is
				ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Bruno })
			}
			client, err := msauthtest.Client(site.URL+path, strings.ToUpper(msauthtest.Mia))
			if err != nil {
				t.Errorf("TLS %v, %s: %v", secure, path, err)
				continue
			}
			res, err := client.Get(site.URL + "/page")
			if err != nil {
				t.Fatal(err)
			}
			if text := body(t, res); res.StatusCode != 200 || text != msauthtest.Mia {
				t.Errorf("TLS %v, %s: %d %s", secure, path, res.StatusCode, text)
			}
			client.CloseIdleConnections()
		}
	}
}

// A person to whom the app refuses a page is signed in nevertheless.
func TestClientOfRefusedPage(t *testing.T) {
	t.Parallel()
	ms := newServer(t)
	site := newSite(t, ms, true, nil)
	client, err := msauthtest.Client(site.URL+"/admin", msauthtest.Ada)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/admin": 403, "/page": 200} {
		res, err := client.Get(site.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if body(t, res); res.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, res.StatusCode, want)
		}
	}
}

func TestClientRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*msauth.Config)
		set    func(*msauthtest.Behavior)
		path   string
		person string
		want   []string
	}{
		{"unknown person", nil, nil, "/page", "eve@contoso.example", []string{"no account \"eve@contoso.example\"", msauthtest.Ada, msauthtest.Mia}},
		{"a page open to all", nil, nil, "/open", msauthtest.Ada, []string{"did not lead to a sign-in page", "200 OK", "Open to all"}},
		{"no such page", nil, nil, "/nothing", msauthtest.Ada, []string{"did not lead to a sign-in page", "404"}},
		{"not admitted by the tenant", func(c *msauth.Config) { c.Tenant = msauthtest.TenantContoso }, nil, "/page", msauthtest.Bruno, []string{"the stand-in refuses the sign-in", "does not exist in this tenant"}},
		{"refused at the callback", nil, func(b *msauthtest.Behavior) { b.SecretExpired = true }, "/page", msauthtest.Ada, []string{"the sign-in ended on an error page: 5", "\""}},
		{"refused at the authorize endpoint", nil, func(b *msauthtest.Behavior) {
			b.RedirectURIs = []string{"https://other.example/"}
		}, "/page", msauthtest.Ada, []string{"AADSTS50011"}},
		{"an administrator must consent", func(c *msauth.Config) { c.Scopes = []string{"Files.Read"} }, func(b *msauthtest.Behavior) {
			b.AdminScopes = []string{"Files.Read"}
		}, "/page", msauthtest.Ada, []string{"the stand-in refuses the sign-in", "AADSTS90094"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ms := newServer(t)
			if tt.set != nil {
				ms.Set(tt.set)
			}
			site := newSite(t, ms, true, tt.change)
			client, err := msauthtest.Client(site.URL+tt.path, tt.person)
			if err == nil {
				t.Fatalf("no error, %v", client)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v\nlacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "code=") {
				t.Errorf("the error holds a code: %v", err)
			}
		})
	}
	for _, site := range []string{"", "localhost:9090", "ftp://localhost/", "/page"} {
		if _, err := msauthtest.Client(site, msauthtest.Ada); err == nil || !strings.Contains(err.Error(), "is not an http or https URL") {
			t.Errorf("%q: %v", site, err)
		}
	}
}

// Certificates of hosts other than loopback are verified.
func TestClientChecksCertificates(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && l == nil {
			l, _ = net.Listen("tcp", net.JoinHostPort(n.IP.String(), "0"))
		}
	}
	if l == nil {
		t.Skip("this computer has loopback addresses only")
	}
	far := httptest.NewUnstartedServer(http.NotFoundHandler())
	far.Listener.Close()
	far.Listener = l
	far.Config.ErrorLog = log.New(io.Discard, "", 0)
	far.StartTLS()
	t.Cleanup(far.Close)
	near := httptest.NewTLSServer(http.RedirectHandler(far.URL, http.StatusFound))
	t.Cleanup(near.Close)
	if _, err := msauthtest.Client(near.URL, msauthtest.Ada); err == nil || !strings.Contains(err.Error(), "x509: ") {
		t.Errorf("error %v, want one about the certificate", err)
	}
	ms := newServer(t)
	client, err := msauthtest.Client(newSite(t, ms, true, nil).URL+"/page", msauthtest.Ada)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Get(far.URL)
	if err == nil {
		res.Body.Close()
	}
	if err == nil || !strings.Contains(err.Error(), "x509: ") {
		t.Errorf("the client at another host: error %v, want one about the certificate", err)
	}
}

// Get a page as a signed-in person.
func ExampleClient() {
	microsoft := msauthtest.NewServer()
	defer microsoft.Close()
	site := httptest.NewUnstartedServer(nil)
	defer site.Close()
	key := make([]byte, 32)
	rand.Read(key)
	auth, err := msauth.New(msauth.Config{
		ClientID:     microsoft.ClientID,
		ClientSecret: microsoft.ClientSecret,
		Authority:    microsoft.URL,
		BaseURL:      "https://" + site.Listener.Addr().String() + "/auth",
		Keys:         [][]byte{key},
		Logger:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		log.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, _ := msauth.FromContext(r.Context())
		fmt.Fprintf(w, "Hello, %s", s.User.Name)
	})))
	site.Config.Handler = mux
	site.StartTLS()

	client, err := msauthtest.Client(site.URL, msauthtest.Ada)
	if err != nil {
		log.Fatal(err)
	}
	res, err := client.Get(site.URL + "/orders")
	if err != nil {
		log.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	fmt.Println(string(text))
	// Output: Hello, Ada Lindqvist
}
