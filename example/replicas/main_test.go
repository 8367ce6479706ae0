package main

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/sharedtest"
	"example.com/msauth/tests/testsite"
)

const testKey = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="

type env map[string]string

func (e env) get(name string) string { return e[name] }

func TestSettings(t *testing.T) {
	t.Parallel()
	good := func(change ...string) env {
		e := env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret", "MSAUTH_KEYS": testKey}
		for i := 0; i < len(change); i += 2 {
			e[change[i]] = change[i+1]
		}
		return e
	}
	set, err := readSettings(good("REDIS_ADDRS", "10.0.0.1:26379, 10.0.0.2:26379", "REDIS_MASTER", "main", "INSTANCE", "one").get)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(set.redis.Addrs, " "); got != "10.0.0.1:26379 10.0.0.2:26379" || set.redis.MasterName != "main" || set.instance != "one" || set.debug {
		t.Errorf("%+v", set)
	}
	set, err = readSettings(good().get)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(set.redis.Addrs, " "); got != "localhost:6379" || !strings.HasSuffix(set.instance, ":8080") || set.Listen != "localhost:8080" {
		t.Errorf("%+v", set)
	}
	dir := t.TempDir()
	password, keys := filepath.Join(dir, "password"), filepath.Join(dir, "keys")
	testsite.Replace(t, password, []byte("from-a-file\n"))
	testsite.Replace(t, keys, []byte(testKey+"\n"))
	set, err = readSettings(good("REDIS_PASSWORD_FILE", password, "REDIS_TLS", "1", "MSAUTH_KEYS", "", "MSAUTH_KEY_FILES", keys,
		"MSAUTH_BASE_URL", "https://localhost:8443/auth", "LISTEN_ADDR", ":8080", "SHUTDOWN_DELAY", "5s").get)
	if err != nil {
		t.Fatal(err)
	}
	if set.redis.Password != "from-a-file" || set.redis.TLSConfig == nil || !slices.Equal(set.Auth.KeyFiles, []string{keys}) ||
		set.Listen != ":8080" || set.Here || set.delay != 5*time.Second {
		t.Errorf("TLS %v, files %q, listen %q, delay %v", set.redis.TLSConfig != nil, set.Auth.KeyFiles, set.Listen, set.delay)
	}
	for _, tt := range []struct {
		env  env
		want string
	}{
		{good("MSAUTH_KEY_FILES", keys), "are both set"},
		{good("REDIS_PASSWORD_FILE", password, "REDIS_PASSWORD", "a-password"), "are both set"},
		{good("REDIS_PASSWORD_FILE", filepath.Join(dir, "none")), "REDIS_PASSWORD_FILE: open "},
		{good("REDIS_TLS", "yes"), "REDIS_TLS"},
		{good("LISTEN_ADDR", "8080"), "LISTEN_ADDR"},
		{good("AZURE_AUTHORITY_HOST", "http://stand-in.localhost:9090/", "MSAUTH_BASE_URL", "https://site.example/auth"), "unset AZURE_AUTHORITY_HOST"},
		{good("SHUTDOWN_DELAY", "5"), "SHUTDOWN_DELAY"},
		{good("SHUTDOWN_DELAY", "2h"), "SHUTDOWN_DELAY"},
		{env{}, "AZURE_CLIENT_ID is not set"},
		{good("MSAUTH_KEYS", ""), "MSAUTH_KEYS are not set"},
		{good("REDIS_ADDRS", "redis"), `"redis" must be HOST:PORT`},
		{good("PORT", "http"), "PORT"},
		{good("METRICS_ADDR", "9090"), `METRICS_ADDR: "9090" must be HOST:PORT`},
		{good("MSAUTH_KEYS", "MDEy"), "Keys[0]"},
	} {
		err := run(t.Context(), tt.env.get, io.Discard, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "MDEy") {
			t.Errorf("%v: error %v, want %q in it", tt.env, err, tt.want)
		}
	}
}

// The pages of two servers, in one process: what is done at one holds at the other.
func TestPages(t *testing.T) {
	t.Parallel()
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	shared := sharedtest.New()
	var servers [2]*httptest.Server
	var measured [2]*metrics
	base := ""
	for i, name := range []string{"one", "two"} {
		servers[i] = httptest.NewUnstartedServer(nil)
		_, port, _ := net.SplitHostPort(servers[i].Listener.Addr().String())
		servers[i].URL = "http://localhost:" + port // where cookies are sent to all ports
		if base == "" {
			base = servers[i].URL + "/auth"
		}
		set, err := readSettings(env{
			"AZURE_CLIENT_ID": ms.ClientID, "AZURE_CLIENT_SECRET": ms.ClientSecret, "AZURE_AUTHORITY_HOST": ms.URL,
			"MSAUTH_BASE_URL": base, "MSAUTH_KEYS": testKey, "INSTANCE": name,
		}.get)
		if err != nil {
			t.Fatal(err)
		}
		set.Auth.Shared, set.Auth.Logger = shared, slog.New(slog.DiscardHandler)
		if measured[i], err = measure(&set.Auth); err != nil {
			t.Fatal(err)
		}
		auth, err := msauth.New(set.Auth)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = auth.Close(t.Context()) })
		if err := measured[i].Observe(auth); err != nil {
			t.Fatal(err)
		}
		a := &app{auth: auth, metrics: measured[i], set: set, log: set.Auth.Logger}
		address := servers[i].URL
		servers[i].Config.Handler = a.handler()
		servers[i].URL = ""
		servers[i].Start()
		servers[i].URL = address
		t.Cleanup(servers[i].Close)
	}
	browser, err := msauthtest.Client(servers[0].URL+"/me", msauthtest.Ada)
	if err != nil {
		t.Fatal(err)
	}
	want := func(method, address string, texts ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		req.Header.Set("Accept", "text/html")
		res, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if !strings.Contains(string(body), text) {
				t.Errorf("%s %s: %q is missing in\n%s", method, address, text, body)
			}
		}
	}
	want("GET", servers[0].URL+"/me", "Ada Lindqvist", "<code id=\"instance\">one</code>", "Sign out everywhere")
	want("GET", servers[1].URL+"/me", "Ada Lindqvist", "<code id=\"instance\">two</code>")
	want("GET", servers[1].URL+"/healthz", "ok")
	want("GET", servers[1].URL+"/debug/stats", "404") // not without REPLICAS_DEBUG
	want("POST", servers[1].URL+"/sign-out-everywhere", "Nobody is signed in", "two")
	want("GET", servers[1].URL+"/", "Nobody is signed in")

	for i, texts := range [2][]string{
		{"msauth_sign_ins_total{", "} 1\n", "msauth_page_token_age_seconds_count{", "msauth_shared_operation_duration_seconds_count{", "go_goroutines "},
		{"msauth_sign_ins_total{", "} 0\n", "msauth_page_token_age_seconds_count{"},
	} {
		res := httptest.NewRecorder()
		measured[i].handler.ServeHTTP(res, httptest.NewRequest("GET", "/metrics", nil))
		for _, text := range texts {
			if !strings.Contains(res.Body.String(), text) {
				t.Errorf("metrics of server %d: %q is missing in\n%s", i, text, res.Body)
			}
		}
	}
}

// Metrics are served at an address of their own, and only if there is one.
func TestMetricsAddress(t *testing.T) {
	t.Parallel()
	c := testsite.LeastConfig()
	m, err := measure(&c)
	if err != nil {
		t.Fatal(err)
	}
	stop, err := m.serve("")
	if err != nil {
		t.Fatal(err)
	}
	stop()
	var address string
	for range 10 { // the port may be another program's once it is free
		free, failed := net.Listen("tcp", "localhost:0")
		if failed != nil {
			t.Fatal(failed)
		}
		address = free.Addr().String()
		if _, err := m.serve(address); err == nil {
			t.Fatal("an address in use is taken")
		}
		free.Close()
		if stop, err = m.serve(address); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("status %d", res.StatusCode)
	}
	stop()
	if res, err := http.Get("http://" + address + "/metrics"); err == nil {
		res.Body.Close()
		t.Error("served after stop")
	}
}
