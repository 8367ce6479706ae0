package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/report"
)

// built is the command as people run it.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "msauth-check")
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// command runs it with an environment, and returns its exit code and all output.
func command(t *testing.T, path string, env map[string]string, args ...string) (int, string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "SYSTEMROOT=" + os.Getenv("SYSTEMROOT")}
	for name, value := range env {
		if !strings.HasPrefix(name, "(") {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), string(out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, string(out)
}

func TestTheCommand(t *testing.T) {
	t.Parallel()
	path := built(t)
	w := newWorld(t)
	other := func(pairs ...string) map[string]string {
		env := map[string]string{}
		for name, value := range w.env {
			env[name] = value
		}
		for i := 0; i < len(pairs); i += 2 {
			env[pairs[i]] = pairs[i+1]
		}
		return env
	}
	const wrong = "abc8Q~this-is-a-wrong-client-secret-0001"
	secretFile := w.file("secret", []byte(w.ms.ClientSecret))
	for _, tt := range []struct {
		name string
		env  map[string]string
		args []string
		code int
		want string // in the output
	}{
		{"a right set-up", w.env, nil, 0, "msauth-check: nothing found. Checked: "},
		{"the same by flags", map[string]string{}, []string{"-client-id", w.ms.ClientID, "-authority", w.ms.URL, "-secret-file", secretFile, "-base-url", w.env["MSAUTH_BASE_URL"]}, 0, "nothing found"},
		{"a wrong secret", other("AZURE_CLIENT_SECRET", wrong), nil, 1, "error: secret-wrong (AADSTS7000215)"},
		{"a wrong secret, for a program", other("AZURE_CLIENT_SECRET", wrong), []string{"-json"}, 1, `"id": "secret-wrong"`},
		{"nothing at all", nil, nil, 1, "client-id-missing"},
		{"an unknown flag", w.env, []string{"-client-secret", wrong}, 2, "flag provided but not defined: -client-secret"},
		{"an argument", w.env, []string{wrong}, 2, "only flags are expected"},
		{"a port that is too large", w.env, []string{"-sign-in-port", "70000"}, 2, "-sign-in-port must be at most 65535"},
		{"help", nil, []string{"-help"}, 0, "Usage: msauth-check [flags]"},
		{"a proxy that is down", map[string]string{
			"AZURE_CLIENT_ID": w.ms.ClientID, "AZURE_CLIENT_SECRET": w.ms.ClientSecret, "MSAUTH_BASE_URL": w.env["MSAUTH_BASE_URL"],
			"HTTPS_PROXY": "http://me:proxy-password@" + closedAddress(t),
		}, nil, 1, "error: proxy-failed"},
		{"hosts that hang", other("AZURE_AUTHORITY_HOST", "https://"+silentAddress(t), "MSAUTH_BASE_URL", "https://"+silentAddress(t)+"/auth"), nil, 1, "error: host-silent"},
		{"a proxy that intercepts TLS", map[string]string{
			"AZURE_CLIENT_ID": w.ms.ClientID, "AZURE_CLIENT_SECRET": w.ms.ClientSecret, "MSAUTH_BASE_URL": w.env["MSAUTH_BASE_URL"],
			"HTTPS_PROXY": tunnel(t, intercepting(t, "login.microsoftonline.com", "Corporate Inspection CA")),
		}, nil, 1, `"CN=Corporate Inspection CA"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out := command(t, path, tt.env, tt.args...)
			if code != tt.code || !strings.Contains(strings.Join(strings.Fields(out), " "), tt.want) {
				t.Errorf("exit code %d, want %d and %q in\n%s", code, tt.code, tt.want, out)
			}
			for _, secret := range append(w.secrets, wrong, "proxy-password") {
				if strings.Contains(out, secret) {
					t.Errorf("%q is in the output", secret)
				}
			}
			if strings.Contains(out, "goroutine ") {
				t.Errorf("a stack trace:\n%s", out)
			}
		})
	}
}

// tunnel is a proxy that leads every connection to one address.
func tunnel(t *testing.T, address string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		to, err := net.Dial("tcp", address)
		if err != nil {
			http.Error(rw, err.Error(), http.StatusBadGateway)
			return
		}
		defer to.Close()
		from, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			return
		}
		defer from.Close()
		io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(to, from)
		io.Copy(from, to)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// The outputs for a person and for a program say the same.
func TestOutputs(t *testing.T) {
	t.Parallel()
	var found report.Report
	found.About(report.Subject{ClientID: "it's", BaseURL: "https://app.example.com/auth"})
	found.Hide("a secret + more", "short")
	found.Found("redirect-uri-missing", "Here is a%20secret%20+%20more, a+secret+%2B+more and a secret + more, and short stays.", 50011)
	var text, doc bytes.Buffer
	if err := errors.Join(found.Text(&text), found.JSON(&doc)); err != nil {
		t.Fatal(err)
	}
	var parsed struct{ Findings []report.Finding }
	if err := json.Unmarshal(doc.Bytes(), &parsed); err != nil || len(parsed.Findings) != 1 {
		t.Fatalf("%v\n%s", err, &doc)
	}
	f := parsed.Findings[0]
	if want := "Here is [hidden], [hidden] and [hidden], and short stays."; f.What != want {
		t.Errorf("what %q, want %q", f.What, want)
	}
	if want := `az ad app update --id 'it'\''s' --web-redirect-uris $(az ad app show --id 'it'\''s' --query "web.redirectUris[]" --output tsv) https://app.example.com/auth/callback`; f.Command != want || !strings.Contains(text.String(), want) {
		t.Errorf("command\n%s\nwant\n%s\nand the same in\n%s", f.Command, want, &text)
	}
	for line := range strings.Lines(text.String()) {
		if len(line) > 110 && !strings.HasPrefix(line, "      ") {
			t.Errorf("a long line: %q", line)
		}
	}
}
