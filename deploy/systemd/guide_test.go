//go:build linux

package systemd_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// commands are the blocks below a heading of docs/deploy.md, without the one that is a file.
func commands(t *testing.T, heading string) (script, environment string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	section, _, _ = strings.Cut(section, "\n## ")
	section, _, deploys := strings.Cut(section, "\nTo deploy a new version")
	if !ok || !deploys {
		t.Fatalf("docs/deploy.md has no section %q, or no new version in it", heading)
	}
	for line := range strings.Lines(section) {
		code, ok := strings.CutPrefix(line, "    ")
		switch {
		case !ok:
		case regexp.MustCompile(`^[A-Z_]+=\S+\n$`).MatchString(code):
			environment += code
		default:
			script += code
		}
	}
	return script, environment
}

func lookFor(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing. On Debian and Ubuntu: scripts/setup", name)
	return ""
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// Who follows the guide has every file that the unit, nginx and Redis need. Its commands
// run with another directory in place of /, and with a systemctl that does nothing.
func TestGuide(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs nginx and Redis, and builds programs")
	}
	nginx, redis := lookFor(t, "nginx"), lookFor(t, "redis-server")
	root := t.TempDir()
	etc := filepath.Join(root, "etc")
	asked := filepath.Join(root, "asked")
	write(t, filepath.Join(root, "bin/systemctl"), "#!/bin/sh\necho \"$@\" >> '"+asked+"'\n", 0o755)
	for _, dir := range []string{"etc/systemd/system", "etc/nginx/conf.d", "usr/local/bin", "redis"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// What matters here of Debian's files.
	write(t, filepath.Join(etc, "redis/redis.conf"), "bind 127.0.0.1 -::1\nprotected-mode yes\nsave 3600 1\n", 0o644)
	write(t, filepath.Join(etc, "nginx/nginx.conf"), "pid "+root+"/nginx.pid;\nevents {}\nhttp {\ninclude "+etc+"/nginx/conf.d/*.conf;\n}\n", 0o644)

	script, environment := commands(t, "systemd")
	for _, must := range []string{"\nnginx -t\n", " -g redis ", "-dir secrets "} {
		if !strings.Contains(script, must) {
			t.Fatalf("%q is not in\n%s", must, script)
		}
	}
	secrets := filepath.Join(root, "secrets")
	script = strings.ReplaceAll(script, " -g redis ", " ")
	script = strings.NewReplacer("/etc/", etc+"/", "/usr/local/bin/", filepath.Join(root, "usr/local/bin")+"/", " secrets/", " "+secrets+"/",
		"-dir secrets ", "-dir "+secrets+" ", "YOUR.SITE", "site.example", "\nnginx -t\n", "\n").Replace(script)
	guide := exec.Command("sh", "-eu", "-c", script)
	guide.Dir = "../.."
	guide.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+":"+os.Getenv("PATH"))
	if out, err := guide.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, script)
	}

	t.Run("unit", func(t *testing.T) {
		write(t, filepath.Join(etc, "msauth/environment"), environment, 0o600)
		text := read(t)
		for _, m := range regexp.MustCompile(`(?m)^(?:LoadCredential=\S+:|EnvironmentFile=|ExecStart=)(\S+)$`).FindAllStringSubmatch(text, -1) {
			info, err := os.Stat(filepath.Join(root, m[1]))
			if err != nil {
				t.Error(err)
			} else if program := strings.Contains(m[0], "ExecStart"); program != (info.Mode().Perm() != 0o600) {
				t.Errorf("%s has mode %v", m[1], info.Mode())
			}
		}
		for _, name := range []string{"AZURE_CLIENT_ID", "AZURE_TENANT_ID", "MSAUTH_BASE_URL", "REDIS_ADDRS", "REDIS_USERNAME"} {
			if !regexp.MustCompile(`(?m)^`+name+`=`).MatchString(environment) || !strings.Contains(text, name) {
				t.Errorf("%s is not in both the guide and the comment of the unit", name)
			}
		}
		if installed, err := os.ReadFile(filepath.Join(etc, "systemd/system", unit)); err != nil || string(installed) != text {
			t.Errorf("the unit: %v", err)
		}
		calls, _ := os.ReadFile(asked)
		if want := "restart redis-server\ndaemon-reload\nenable --now msauth@8081 msauth@8082 msauth@8083\nreload nginx\n"; string(calls) != want {
			t.Errorf("systemctl was asked for\n%s\nwant\n%s", calls, want)
		}
	})
	t.Run("nginx", func(t *testing.T) {
		listen := filepath.Join(etc, "nginx/listen.conf")
		text, err := os.ReadFile(listen)
		if err != nil {
			t.Fatal(err)
		}
		write(t, listen, strings.NewReplacer("listen 443 ", "listen 127.0.0.1:"+freePort(t)+" ", "/var/log/nginx/", root+"/").Replace(string(text)), 0o644)
		out, err := exec.Command(nginx, "-t", "-e", "stderr", "-c", filepath.Join(etc, "nginx/nginx.conf")).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "test is successful") {
			t.Errorf("%v\n%s", err, out)
		}
		upstreams, _ := os.ReadFile(filepath.Join(etc, "nginx/upstreams.conf"))
		for _, port := range []string{"8081", "8082", "8083"} {
			if !strings.Contains(string(upstreams), "server 127.0.0.1:"+port+" fail_timeout=2s;\n") {
				t.Errorf("nginx does not ask the server at port %s:\n%s", port, upstreams)
			}
		}
	})
	t.Run("redis", func(t *testing.T) {
		port := freePort(t)
		server := exec.Command(redis, filepath.Join(etc, "redis/redis.conf"), "--port", port, "--dir", filepath.Join(root, "redis"))
		server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer server.Wait()
		defer server.Process.Kill()
		var conn net.Conn
		for began := time.Now(); conn == nil; time.Sleep(20 * time.Millisecond) {
			if conn, _ = net.Dial("tcp", "127.0.0.1:"+port); conn == nil && time.Since(began) > 20*time.Second {
				t.Fatal("Redis does not start")
			}
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		password, err := os.ReadFile(filepath.Join(etc, "msauth/redis-password"))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct{ command, want string }{
			{"SET msauth:x 1", "-NOAUTH"},
			{"AUTH msauth wrong", "-WRONGPASS"},
			{"AUTH msauth " + strings.TrimSpace(string(password)), "+OK"},
			{"SET msauth:x 1", "+OK"},
			{"SET other 1", "-NOPERM"},
			{"CONFIG GET maxmemory-policy", "-NOPERM"},
		} {
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprintf(conn, "%s\r\n", tt.command)
			if answer, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(answer, tt.want) {
				name, _, _ := strings.Cut(tt.command, " ")
				t.Errorf("%s: %q, %v, want %s", name, answer, err, tt.want)
			}
		}
	})
}
