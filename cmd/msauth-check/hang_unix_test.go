//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A variable may name something that is never at its end, or that nobody writes to.
func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_CERTIFICATE_PATH", "(secret-file)"} {
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
