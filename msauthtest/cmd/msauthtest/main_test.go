package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"localhost:0", "127.0.0.1:0", "ms.localhost:0"} {
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, []string{"-addr", addr, "-client-id", "the-client", "-lifetime", "5m"}, in, io.Discard)
			in.Close()
		}()
		var authority, id, live string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if v, ok := strings.CutPrefix(lines.Text(), "export AZURE_AUTHORITY_HOST="); ok {
				authority = v
			}
			if v, ok := strings.CutPrefix(lines.Text(), "export AZURE_CLIENT_ID="); ok {
				id = strings.Trim(v, "'")
			}
			if v, ok := strings.CutPrefix(lines.Text(), "Live Connect "); ok {
				live = strings.TrimSpace(v)
			}
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				break
			}
		}
		if id != "the-client" || !strings.HasPrefix(authority, "http://"+strings.TrimSuffix(addr, "0")) || !strings.HasSuffix(authority, "/") {
			t.Errorf("%s: authority %q, client id %q", addr, authority, id)
		}
		if live != authority+"login.live.com" {
			t.Errorf("%s: Live Connect %q", addr, live)
		}
		if !strings.HasPrefix(addr, "ms.") {
			res, err := http.Get(authority + "common/v2.0/.well-known/openid-configuration")
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if res.StatusCode != 200 {
				t.Errorf("%s: discovery: %s", addr, res.Status)
			}
		}
		cancel()
		go io.Copy(io.Discard, out)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

// What it prints can be pasted into a shell: the program that this starts has the
// variables then.
func TestPrintsWhatAShellExports(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "app's.pem")
	for _, test := range []struct {
		args []string
		want map[string]string
	}{
		{[]string{"-client-secret", "it~is.a-secret"}, map[string]string{"AZURE_CLIENT_SECRET": "it~is.a-secret"}},
		{[]string{"-client-secret", `it's $HOME "here"`}, map[string]string{"AZURE_CLIENT_SECRET": `it's $HOME "here"`}},
		{[]string{"-certificate", secret}, map[string]string{"AZURE_CLIENT_CERTIFICATE_PATH": secret}},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		out, in := io.Pipe()
		done := make(chan error, 1)
		go func() {
			done <- run(ctx, append(test.args, "-addr", "localhost:0", "-client-id", "the-client"), in, io.Discard)
			in.Close()
		}()
		var script strings.Builder
		lines := bufio.NewScanner(out)
		for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
			if strings.HasPrefix(lines.Text(), "export ") {
				script.WriteString(lines.Text() + "\n")
			}
		}
		cancel()
		go io.Copy(io.Discard, out)
		if err := <-done; err != nil {
			t.Error(err)
		}
		// env is another program, which sees exported variables only.
		shell := exec.CommandContext(t.Context(), "sh", "-c", script.String()+"env -0")
		shell.Env = []string{"PATH=" + os.Getenv("PATH")}
		printed, err := shell.Output()
		if err != nil {
			t.Fatalf("sh: %v (it needs openssl: scripts/setup, or apt-get install -y openssl)\n%s", err, script.String())
		}
		got := map[string]string{}
		for variable := range strings.SplitSeq(string(printed), "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			got[name] = value
		}
		if key, err := base64.StdEncoding.DecodeString(got["MSAUTH_KEY"]); err != nil || len(key) != 32 {
			t.Errorf("%q: MSAUTH_KEY has %d bytes, %v", test.args, len(key), err)
		}
		test.want["AZURE_CLIENT_ID"], test.want["AZURE_TENANT_ID"] = "the-client", "common"
		for name, want := range test.want {
			if got[name] != want {
				t.Errorf("%q: %s is %q, want %q", test.args, name, got[name], want)
			}
		}
		if !strings.HasPrefix(got["AZURE_AUTHORITY_HOST"], "http://localhost:") {
			t.Errorf("%q: AZURE_AUTHORITY_HOST is %q", test.args, got["AZURE_AUTHORITY_HOST"])
		}
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, want string }{
		{"-addr :9090", "not a loopback host"},
		{"-addr 0.0.0.0:9090", "not a loopback host"},
		{"-addr app.example.com:9090", "not a loopback host"},
		{"-addr localhost", "-addr"},
		{"-insecure-listen :9090", "-insecure-listen needs -addr"},
		{"-addr app.example.com:9090 -insecure-listen :9090", "not a loopback host"},
		{"-client-secret-file none", "-client-secret-file: open none"},
		{"-lifetime -5m", "-lifetime"},
		{"serve", "unexpected argument"},
		{"-role Ada", "must be person=role"},
		{"-role =Admin", "must be person=role"},
		{"-redirect-uri localhost:8080/auth/callback", "must be an http or https URL"},
		{"-redirect-uri https://", "must be an http or https URL"},
		{"-redirect-uri https://user@app.example/auth/callback", "must be an http or https URL"},
		{"-redirect-uri https://app.example/auth/callback#x", "must be an http or https URL"},
		{"-addr localhost:0 -role Eve=Admin", `-role: no person "Eve"; there are Ada (ada@contoso.example), Bruno (bruno@fabrikam.example), Mia (mia@outlook.example), Grace (grace@contoso.example)`},
	} {
		err := run(t.Context(), strings.Fields(tt.args), io.Discard, io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.args, err)
		}
	}
}

// started runs the command and returns the authority that it prints.
func started(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, in, io.Discard)
		in.Close()
	}()
	t.Cleanup(func() {
		cancel()
		go io.Copy(io.Discard, out)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if v, ok := strings.CutPrefix(lines.Text(), "export AZURE_AUTHORITY_HOST="); ok {
			go io.Copy(io.Discard, out)
			return strings.TrimSuffix(v, "/")
		}
	}
	t.Fatal("no authority")
	return ""
}

// Without -addr the command uses a free port if the default one is in use.
func TestFreePort(t *testing.T) {
	t.Parallel()
	if l, err := net.Listen("tcp", defaultAddr); err == nil {
		defer l.Close()
	} // otherwise another process uses it
	authority := started(t)
	if authority == "http://"+defaultAddr || !strings.HasPrefix(authority, "http://localhost:") {
		t.Errorf("authority %s", authority)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = run(ctx, []string{"-addr", l.Addr().String()}, io.Discard, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "bind: ") {
		t.Errorf("an address that was named and is taken: error %v, want one of bind", err)
	}
}

func TestRoles(t *testing.T) {
	t.Parallel()
	authority := started(t, "-addr", "127.0.0.1:0", "-client-id", "the-client", "-client-secret", "secret",
		"-role", "ada=Admin", "-role", "ADA@contoso.example=Reader", "-role", "Bruno=Reader")
	for person, want := range map[string]string{"ada@contoso.example": `"roles":["Admin","Reader"]`, "bruno@fabrikam.example": `"roles":["Reader"]`, "grace@contoso.example": ""} {
		const verifier = "a-verifier-of-43-characters-or-more-0123456789"
		sum := sha256.Sum256([]byte(verifier))
		request := url.Values{
			"client_id": {"the-client"}, "redirect_uri": {"http://localhost:8080/"}, "response_type": {"code"}, "scope": {"openid"},
			"state": {"s"}, "nonce": {"n"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
		}
		client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := client.PostForm(authority+"/common/signin", url.Values{"user": {person}, "request": {request.Encode()}})
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		answer, err := res.Location()
		if err != nil {
			t.Fatal(err)
		}
		res, err = client.PostForm(authority+"/common/oauth2/v2.0/token", url.Values{
			"grant_type": {"authorization_code"}, "client_id": {"the-client"}, "client_secret": {"secret"}, "code": {answer.Query().Get("code")},
			"redirect_uri": {"http://localhost:8080/"}, "code_verifier": {verifier},
		})
		if err != nil {
			t.Fatal(err)
		}
		var reply struct {
			IDToken string `json:"id_token"`
		}
		err = json.NewDecoder(res.Body).Decode(&reply)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		parts := strings.Split(reply.IDToken, ".")
		if len(parts) != 3 {
			t.Fatalf("%s: no ID token", person)
		}
		claims, _ := base64.RawURLEncoding.DecodeString(parts[1])
		if !strings.Contains(string(claims), want) || want == "" && strings.Contains(string(claims), "roles") {
			t.Errorf("%s: %s, want %s", person, claims, want)
		}
	}
}

// Redirect URIs that are registered are accepted, and no others.
func TestRedirectURIs(t *testing.T) {
	t.Parallel()
	const callback, signedOut, other = "https://app.example/auth/callback", "https://app.example/auth/signed-out", "https://app.example/auth/callback/"
	for _, tt := range []struct {
		name             string
		args             []string
		accepts, refuses []string
	}{
		{"none is registered", nil, []string{callback, signedOut, other, "http://localhost:8080/x"}, []string{"http://app.example/auth/callback"}},
		{"one", []string{"-redirect-uri", callback}, []string{callback}, []string{signedOut, other, "http://localhost:8080/x"}},
		{"two", []string{"-redirect-uri", callback, "-redirect-uri", signedOut}, []string{callback, signedOut}, []string{other}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			authority := started(t, append([]string{"-addr", "127.0.0.1:0", "-client-id", "the-client"}, tt.args...)...)
			page := func(redirectURI string) string {
				res, err := http.Get(authority + "/common/oauth2/v2.0/authorize?" + url.Values{
					"client_id": {"the-client"}, "redirect_uri": {redirectURI}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s"},
					"nonce": {"n"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
				}.Encode())
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				text, err := io.ReadAll(res.Body)
				if err != nil {
					t.Fatal(err)
				}
				return string(text)
			}
			for _, uri := range tt.accepts {
				if text := page(uri); !strings.Contains(text, "ada@contoso.example") {
					t.Errorf("%s is refused:\n%s", uri, text)
				}
			}
			for _, uri := range tt.refuses {
				if text := page(uri); !strings.Contains(text, "AADSTS50011") {
					t.Errorf("%s is not refused:\n%s", uri, text)
				}
			}
		})
	}
}

// In a container it listens where others reach it, and says by what address they do.
// The client secret is in a file, and is not printed.
func TestInAContainer(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := free.Addr().String()
	free.Close()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("of-a-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, []string{"-addr", "stand-in.localhost:9090", "-insecure-listen", listen, "-client-secret-file", secret}, in, io.Discard)
		in.Close()
	}()
	text, lines := "", bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		text += lines.Text() + "\n"
	}
	for _, want := range []string{"export AZURE_AUTHORITY_HOST=http://stand-in.localhost:9090/\n", "export AZURE_CLIENT_SECRET_FILE='" + secret + "'\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "of-a-file") || strings.Contains(text, "AZURE_CLIENT_SECRET=") {
		t.Errorf("the secret was printed:\n%s", text)
	}
	res, err := http.Get("http://" + listen + "/common/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	document, err := io.ReadAll(res.Body)
	if err != nil || !strings.Contains(string(document), `"http://stand-in.localhost:9090/common/oauth2/v2.0/token"`) {
		t.Errorf("%v\n%s", err, document)
	}
	cancel()
	_, _ = io.Copy(io.Discard, out)
	if err := <-done; err != nil {
		t.Error(err)
	}
}
