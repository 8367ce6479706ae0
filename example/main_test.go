package main

import (
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/graph"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	key := []byte("\xfb\xff32 bytes, and all of it random")
	std, raw := base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key)
	public := env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret"}
	with := func(pairs ...string) env {
		e := env{}
		for name, value := range public {
			e[name] = value
		}
		for i := 0; i < len(pairs); i += 2 {
			e[pairs[i]] = pairs[i+1]
		}
		return e
	}
	tests := []struct {
		name    string
		env     env
		graph   string
		listen  string
		mount   string
		check   func(c msauth.Config) any
		want    any
		invalid bool // for msauth.New
	}{
		{"nothing but a client", public, "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.BaseURL }, "http://localhost:8080/auth", false},
		{"sessions bound over https", with("MSAUTH_BASE_URL", "https://drive.example.com/sso/"), "https://graph.microsoft.com/v1.0", ":8080", "/sso/",
			func(c msauth.Config) any { return c.DeviceBinding }, msauth.DeviceBindingOffered, false},
		{"sessions not bound over http", public, "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.DeviceBinding }, msauth.DeviceBindingOff, false},
		{"default scopes", public, "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.Scopes }, []string{"User.Read", "Files.Read"}, false},
		{"scopes", with("MSAUTH_SCOPES", "User.Read, Mail.Read Files.Read.All"), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.Scopes }, []string{"User.Read", "Mail.Read", "Files.Read.All"}, false},
		{"tenant", with("AZURE_TENANT_ID", "organizations"), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.Tenant }, "organizations", false},
		{"port", with("PORT", "9000"), "https://graph.microsoft.com/v1.0", "localhost:9000", "/auth/",
			func(c msauth.Config) any { return c.BaseURL }, "http://localhost:9000/auth", false},
		{"public address", with("MSAUTH_BASE_URL", "https://drive.example.com/sso/"), "https://graph.microsoft.com/v1.0", ":8080", "/sso/",
			func(c msauth.Config) any { return c.BaseURL }, "https://drive.example.com/sso/", false},
		{"public address without path", with("MSAUTH_BASE_URL", "https://drive.example.com"), "https://graph.microsoft.com/v1.0", ":8080", "/", nil, nil, false},
		{"other loopback name", with("MSAUTH_BASE_URL", "http://127.0.0.1:8080/auth"), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/", nil, nil, false},
		{"US government", with("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/"), "https://graph.microsoft.us/v1.0", "localhost:8080", "/auth/", nil, nil, false},
		{"China", with("AZURE_AUTHORITY_HOST", "https://login.partner.microsoftonline.cn/"), "https://microsoftgraph.chinacloudapi.cn/v1.0", "localhost:8080", "/auth/", nil, nil, false},
		{"public cloud by name", with("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/"), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/", nil, nil, false},
		{"msauthtest elsewhere", with("AZURE_AUTHORITY_HOST", "http://127.0.0.1:9999/"), "http://127.0.0.1:9999/v1.0", "localhost:8080", "/auth/", nil, nil, false},
		{"other provider", with("MSAUTH_ISSUER", "https://id.example.com"), "", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return len(c.Scopes) }, 0, false},
		{"keys", with("MSAUTH_KEYS", std+", "+raw), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/",
			func(c msauth.Config) any { return c.Keys }, [][]byte{key, key}, false},
		{"short key", with("MSAUTH_KEYS", "c2hvcnQ="), "https://graph.microsoft.com/v1.0", "localhost:8080", "/auth/", nil, nil, true},
		{"issuer and tenant", with("MSAUTH_ISSUER", "https://id.example.com", "AZURE_TENANT_ID", "common"), "", "localhost:8080", "/auth/", nil, nil, true},
		{"http in public", with("MSAUTH_BASE_URL", "http://drive.example.com/auth"), "https://graph.microsoft.com/v1.0", ":8080", "/auth/", nil, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			set, err := readSettings(tt.env.get)
			if err != nil {
				t.Fatal(err)
			}
			if set.Graph != tt.graph || set.Listen != tt.listen || set.Mount != tt.mount || set.Local != "" {
				t.Errorf("graph %q, listen %q, mount %q, local %q; want %q, %q, %q and no local", set.Graph, set.Listen, set.Mount, set.Local, tt.graph, tt.listen, tt.mount)
			}
			if tt.check != nil {
				if got := tt.check(set.Auth); !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			}
			auth, err := msauth.New(set.Auth)
			if (err != nil) != tt.invalid {
				t.Fatalf("msauth.New: %v, want an error: %t", err, tt.invalid)
			}
			if err == nil {
				newApp(auth, set, slog.New(slog.DiscardHandler)) // no pattern of the mux is in the way of another
			}
		})
	}
}

func TestWrongSettings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		env  env
		want string
	}{
		{"port", env{"PORT": "http"}, "PORT"},
		{"port too high", env{"PORT": "65536"}, "PORT"},
		{"keys", env{"MSAUTH_KEYS": "????"}, "MSAUTH_KEYS: entry 1"},
		{"base URL", env{"MSAUTH_BASE_URL": "http://[::1"}, "MSAUTH_BASE_URL"},
		{"local Microsoft in public", env{"MSAUTH_BASE_URL": "https://drive.example.com/auth"}, "AZURE_CLIENT_ID is not set"},
		{"the stand-in in public", env{"AZURE_CLIENT_ID": "id", "AZURE_CLIENT_SECRET": "secret", "AZURE_AUTHORITY_HOST": "http://stand-in.localhost:9090/", "MSAUTH_BASE_URL": "https://drive.example.com/auth"}, "unset AZURE_AUTHORITY_HOST"},
		{"no secret", env{"AZURE_CLIENT_ID": "id"}, "set AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := run(t.Context(), tt.env.get, io.Discard, slog.New(slog.DiscardHandler))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "????") {
				t.Error("the error shows the key")
			}
		})
	}
}

func TestIgnoredSettings(t *testing.T) {
	t.Parallel()
	given := env{"AZURE_TENANT_ID": "common", "AZURE_CLIENT_CERTIFICATE_PATH": "/none", "AZURE_FEDERATED_TOKEN_FILE": "/none"}
	set, err := readSettings(given.get)
	if err != nil {
		t.Fatal(err)
	}
	for name := range given {
		if !slices.ContainsFunc(set.Notes, func(note string) bool { return strings.HasPrefix(note, name+" is ignored") }) {
			t.Errorf("notes %q, want one about %s", set.Notes, name)
		}
	}
}

// The program, started without configuration.
func TestRun(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	log := slog.New(slog.DiscardHandler)
	getenv := env{"PORT": port}.get

	err = run(t.Context(), getenv, io.Discard, log)
	if err == nil || !strings.Contains(err.Error(), "choose another one, for example: PORT=8081") {
		t.Errorf("port taken: %v, want what to do", err)
	}
	free.Close()

	ctx, cancel := context.WithCancel(t.Context())
	var out lockedBuffer
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, getenv, &out, log) }()
	var res *http.Response
	for range 100 {
		if res, err = http.Get("http://localhost:" + port + "/"); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if !strings.Contains(string(body), "local stand-in for Microsoft") {
		t.Errorf("no word about the local Microsoft in\n%s", body)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("run: %v", err)
		}
	case <-time.After(15 * time.Second):
		t.Fatal("run does not end")
	}
	for _, want := range []string{
		"Open http://localhost:" + port + "/\n", "http://localhost:" + port + "/auth/callback\n", "http://localhost:" + port + "/auth/signed-out\n",
		"local stand-in for Microsoft", "MSAUTH_KEYS is not set",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q was not printed:\n%s", want, out.String())
		}
	}
}

func TestUploadHosts(t *testing.T) {
	t.Parallel()
	for graph, want := range map[string]string{
		"https://graph.microsoft.com/v1.0":             "https://*.sharepoint.com https://my.microsoftpersonalcontent.com https://*.up.1drv.com https://api.onedrive.com",
		"https://graph.microsoft.us/v1.0":              "https://*.sharepoint.us https://*.sharepoint-mil.us",
		"https://microsoftgraph.chinacloudapi.cn/v1.0": "https://*.sharepoint.cn",
		"http://127.0.0.1:9999/v1.0":                   "http://localhost:9999 http://127.0.0.1:9999",
		"":                                             "",
	} {
		if got := strings.Join(uploadHosts(graph), " "); got != want {
			t.Errorf("%s: %q, want %q", graph, got, want)
		}
	}
}

func TestAttachment(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, want string }{
		{"a b.txt", `attachment; filename="a b.txt"; filename*=UTF-8''a%20b.txt`},
		{"測定.csv", `attachment; filename="__.csv"; filename*=UTF-8''%E6%B8%AC%E5%AE%9A.csv`},
		{`1+1;"=2\.txt`, `attachment; filename="1+1;_=2_.txt"; filename*=UTF-8''1%2B1%3B%22%3D2%5C.txt`},
		{"100%20.txt", `attachment; filename="100_20.txt"; filename*=UTF-8''100%2520.txt`},
		{"a\r\nb", `attachment; filename="a__b"; filename*=UTF-8''a%0D%0Ab`},
	} {
		got := attachment(tt.name)
		if got != tt.want {
			t.Errorf("%q: %s, want %s", tt.name, got, tt.want)
		}
		if _, params, err := mime.ParseMediaType(got); err != nil || params["filename"] != tt.name {
			t.Errorf("%q is read as %q, %v", tt.name, params["filename"], err)
		}
	}
}

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{initials("Ada Lindqvist"), "AL"},
		{initials("Jean-Luc de la Tour"), "JT"},
		{initials("émile"), "É"},
		{initials("123"), "?"},
		{nameOf(msauth.User{Username: "u@example.com"}), "u@example.com"},
		{nameOf(msauth.User{}), "Somebody"},
		{kindOf(graph.DriveItem{Name: "A.XLSX", File: &graph.File{MimeType: "application/x"}}), "sheet"},
		{kindOf(graph.DriveItem{Name: "a.csv", File: &graph.File{MimeType: "image/png"}}), "image"},
		{kindOf(graph.DriveItem{Name: "Notebook"}), "other"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
