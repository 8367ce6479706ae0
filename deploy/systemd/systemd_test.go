//go:build linux

// Package systemd_test checks the unit with systemd's own tools, without a systemd that
// runs.
package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

const unit = "msauth@.service"

func read(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func analyze(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs systemd-analyze")
	}
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is missing. On Debian and Ubuntu: scripts/setup")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

// instance writes the unit with a program that is there, changed in some way, and returns
// its path.
func instance(t *testing.T, change func(string) string) string {
	t.Helper()
	text := change(strings.Replace(read(t), "ExecStart=/usr/local/bin/msauth-replicas", "ExecStart=/bin/true", 1))
	path := filepath.Join(t.TempDir(), "msauth@8081.service")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// systemd knows every setting, and has no complaint.
func TestVerify(t *testing.T) {
	t.Parallel()
	same := func(text string) string { return text }
	if out, err := analyze(t, "verify", instance(t, same)); err != nil || strings.Contains(out, "msauth@") {
		t.Errorf("%v\n%s", err, out)
	}
	wrong := func(text string) string { return strings.Replace(text, "ProtectClock=", "ProtectClocks=", 1) }
	if out, _ := analyze(t, "verify", instance(t, wrong)); !strings.Contains(out, "ProtectClocks") {
		t.Errorf("a setting that does not exist is not noticed:\n%s", out)
	}
}

// The program can do little besides TCP: 0 is nothing at all, 10 is root.
func TestExposure(t *testing.T) {
	t.Parallel()
	out, err := analyze(t, "security", "--offline=true", "--threshold=15", "./"+unit)
	if err != nil {
		t.Errorf("exposure over 1.5: %v\n%s", err, out)
	}
	t.Log(regexp.MustCompile(`Overall exposure.*`).FindString(out))
	open := instance(t, func(text string) string {
		return regexp.MustCompile(`(?m)^(Protect|Restrict|Private|DynamicUser|Capability|SystemCall).*\n`).ReplaceAllString(text, "")
	})
	if out, err := analyze(t, "security", "--offline=true", "--threshold=15", open); err == nil {
		t.Errorf("a unit without protection is not noticed:\n%s", out)
	}
}

// No secret is in the environment, which everybody can read, and what the program is told
// of is there.
func TestSecretsAreCredentials(t *testing.T) {
	t.Parallel()
	text := read(t)
	for variable, credential := range map[string]string{
		"MSAUTH_KEY_FILES": "keys", "AZURE_CLIENT_SECRET_FILE": "client-secret", "REDIS_PASSWORD_FILE": "redis-password",
	} {
		if !strings.Contains(text, " "+variable+"=%d/"+credential) && !strings.Contains(text, "Environment="+variable+"=%d/"+credential) {
			t.Errorf("%s is not the credential %s", variable, credential)
		}
		if !strings.Contains(text, "\nLoadCredential="+credential+":/etc/msauth/"+credential+"\n") {
			t.Errorf("the credential %s is not loaded", credential)
		}
	}
	for _, bad := range []string{"MSAUTH_KEYS=", "AZURE_CLIENT_SECRET=", "REDIS_PASSWORD="} {
		if strings.Contains(text, bad) {
			t.Errorf("%s is in the unit", bad)
		}
	}
}

// setting returns what follows a name in the unit.
func setting(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`(?m)(?:^|[ =])` + name + `=(\S+)`).FindStringSubmatch(read(t))
	if m == nil {
		t.Fatalf("the unit has no %s", name)
	}
	return m[1]
}

func timeOf(t *testing.T, name string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(setting(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// systemd waits for what the end of a server takes, and nginx asks the server that was
// restarted before when the next one goes.
func TestTimes(t *testing.T) {
	t.Parallel()
	const requests, renewals, failTime = 10 * time.Second, 20 * time.Second, 2 * time.Second // webapp.Serve; docs/deploy.md
	delay := timeOf(t, "SHUTDOWN_DELAY")
	if got, least := timeOf(t, "TimeoutStopSec"), delay+requests+renewals+5*time.Second; got < least {
		t.Errorf("TimeoutStopSec is %v, want %v", got, least)
	}
	if delay <= failTime+time.Second {
		t.Errorf("SHUTDOWN_DELAY is %v", delay)
	}
	if got := setting(t, "KillSignal"); got != "SIGTERM" {
		t.Errorf("KillSignal is %s", got)
	}
	if got := setting(t, "Restart"); got != "always" {
		t.Errorf("Restart is %s", got)
	}
}

// A program that may not change its limits has those of the unit: by default 1024 files,
// which are as many connections.
func TestFiles(t *testing.T) {
	t.Parallel()
	if n, err := strconv.Atoi(setting(t, "LimitNOFILE")); err != nil || n < 10_000 {
		t.Errorf("LimitNOFILE is %d, %v", n, err)
	}
}
