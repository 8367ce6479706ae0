//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.com/msauth/cmd/msauth-check/internal/report"
)

// A variable may name something that is never at its end, or that nobody writes to.
func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CLIENT_SECRET_FILE"} {
		for _, file := range []string{fifo, "/dev/zero", t.TempDir()} {
			t.Run(name+" "+file, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t)
				w.env[name] = file
				o := w.check()
				if len(o.findings) != 1 || o.findings[0].ID != "credential-unusable" || !strings.Contains(o.findings[0].What, "is not a regular file") || o.took > 10*time.Second {
					t.Errorf("exit code %d after %v:\n%s", o.code, o.took, o.text)
				}
			})
		}
	}
}

// Ctrl-C ends the command without findings: what fails from then on is no fault.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cmd := exec.Command(built(t), "-base-url", w.env["MSAUTH_BASE_URL"])
	cmd.Env = []string{"AZURE_CLIENT_ID=" + w.ms.ClientID, "AZURE_CLIENT_SECRET=" + w.ms.ClientSecret, "AZURE_AUTHORITY_HOST=https://" + silentAddress(t)}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // it waits 4 for the host
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || out.String() != "msauth-check: interrupted\n" || time.Since(began) > 2*time.Second {
		t.Errorf("exit code %d after %v:\n%s", code, time.Since(began), &out)
	}
}

// The commands are words of a shell whatever the values in them: az gets them as they are.
func TestCommandsAreQuoted(t *testing.T) {
	t.Parallel()
	base := "https://app.example.com/it's/$(touch pwned)/`touch pwned`/\"x\"/auth"
	var found report.Report
	found.About(report.Subject{ClientID: nobody + "; touch pwned", BaseURL: base, SignedOut: base + "/signed-out"})
	dir := t.TempDir()
	script := "#!/bin/sh\nprintf '<%s>\\n' \"$@\" >>" + dir + "/args\n"
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, k := range report.Catalogue() {
		found.Found(k.ID, "what")
	}
	for _, f := range found.Findings() {
		if !strings.HasPrefix(f.Command, "az ") {
			continue
		}
		cmd := exec.Command("sh", "-c", f.Command)
		cmd.Dir, cmd.Env = dir, []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", f.ID, err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Error("a value was run")
	}
	args := read(t, filepath.Join(dir, "args"))
	for _, want := range []string{"<" + nobody + "; touch pwned>\n", "<" + base + "/callback>\n", "<" + base + "/signed-out>\n", "<spa.redirectUris[?@ != '" + strings.ReplaceAll(base, "'", `\'`) + "/callback']>\n"} {
		if !strings.Contains(args, want) {
			t.Errorf("no argument %s in\n%s", want, args)
		}
	}
}
