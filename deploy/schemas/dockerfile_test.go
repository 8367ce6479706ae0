package schemas

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"example.com/msauth/msauthtest"
)

// dockerfile parses a Dockerfile as BuildKit does, and returns its complaints too.
func dockerfile(t *testing.T, text string) (stages []instructions.Stage, complaints []string) {
	t.Helper()
	parsed, err := parser.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range parsed.Warnings {
		complaints = append(complaints, w.Short)
	}
	lint := linter.New(&linter.Config{Warn: func(name, _, _, message string, _ []parser.Range) {
		complaints = append(complaints, name+": "+message)
	}})
	stages, _, err = instructions.Parse(parsed.AST, lint)
	if err != nil {
		t.Fatal(err)
	}
	return stages, complaints
}

// builds are the commands "go build" of the first stage.
func builds(t *testing.T) (commands []string) {
	t.Helper()
	stages, _ := dockerfile(t, read(t, "deploy/Dockerfile"))
	for _, c := range stages[0].Commands {
		if run, ok := c.(*instructions.RunCommand); ok {
			for _, line := range run.CmdLine {
				commands = append(commands, strings.TrimSpace(line))
			}
		}
	}
	return commands
}

// BuildKit reads the Dockerfile, and finds nothing to complain of. Each image has the one
// program, no root, and a command that is no shell's.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	stages, complaints := dockerfile(t, read(t, "deploy/Dockerfile"))
	if len(complaints) > 0 {
		t.Errorf("BuildKit says %q", complaints)
	}
	if _, wrong := dockerfile(t, "FROM scratch as a\nMAINTAINER me\n"); len(wrong) == 0 {
		t.Error("the rules of BuildKit find nothing in a bad one")
	}
	byName, exposed := map[string]instructions.Stage{}, map[string]string{}
	for _, s := range stages {
		byName[s.Name] = s
	}
	base := byName["base"]
	if base.BaseName != "scratch" || len(base.Commands) != 2 {
		t.Fatalf("base is %q with %d commands", base.BaseName, len(base.Commands))
	}
	if authorities, ok := base.Commands[0].(*instructions.CopyCommand); !ok || authorities.From != "build" || authorities.DestPath != "/etc/ssl/certs/ca-certificates.crt" {
		t.Error("the base has no certificates of authorities")
	}
	if user, ok := base.Commands[1].(*instructions.UserCommand); !ok || user.User != "65532:65532" {
		t.Error("the base has a root")
	}
	for name, program := range map[string]string{"app": "/replicas", "rotatekeys": "/rotatekeys", "stand-in": "/msauthtest"} {
		s, ok := byName[name]
		if !ok || s.BaseName != "base" {
			t.Errorf("%s is made from %q", name, s.BaseName)
		}
		health := false
		for _, c := range s.Commands {
			switch c := c.(type) {
			case *instructions.EntrypointCommand:
				if c.PrependShell || len(c.CmdLine) != 1 || c.CmdLine[0] != program {
					t.Errorf("%s runs %q", name, c.CmdLine)
				}
			case *instructions.HealthCheckCommand:
				health = true
				if got := strings.Join(c.Health.Test, " "); got != "CMD /replicas health" {
					t.Errorf("the health check is %q", got)
				}
			case *instructions.StopSignalCommand:
				if c.Signal != "SIGTERM" {
					t.Errorf("%s is stopped by %s", name, c.Signal)
				}
			case *instructions.ExposeCommand:
				exposed[name] = strings.Join(c.Ports, " ")
			case *instructions.EnvCommand:
				for _, e := range c.Env {
					if host, port, _ := strings.Cut(e.Value, ":"); host != "" || !slices.Contains([]string{"8080", "9464"}, port) {
						t.Errorf("%s: %s: nobody reaches it from outside of the container, or by another port", name, e.String())
					}
				}
			case *instructions.CopyCommand:
				if c.From != "build" || c.DestPath != program {
					t.Errorf("%s has %s of %s", name, c.DestPath, c.From)
				}
			case *instructions.RunCommand, *instructions.AddCommand:
				t.Errorf("%s has %s", name, c.Name())
			}
		}
		if health != (name == "app") {
			t.Errorf("%s: health check %t", name, health)
		}
	}
	if exposed["app"] != "8080 9464" {
		t.Errorf("the ports are %v", exposed)
	}
	if last := stages[len(stages)-1].Name; last != "app" {
		t.Errorf("by default %s is built", last)
	}
}

// built runs the commands of the Dockerfile in what .dockerignore lets through.
var built struct {
	once sync.Once
	dir  string
	all  bool
}

func images(t *testing.T) (dir string) {
	t.Helper()
	built.once.Do(func() {
		out, err := os.MkdirTemp("", "schemas")
		if err != nil {
			t.Fatal(err)
		}
		built.dir = out
		from := buildContext(t)
		commands := builds(t)
		if len(commands) != 3 {
			t.Fatalf("%d commands", len(commands))
		}
		for _, command := range commands {
			if !strings.HasPrefix(command, "go build ") || !strings.Contains(command, " -trimpath ") {
				t.Fatalf("%q is no build", command)
			}
			sh := exec.Command("sh", "-c", strings.ReplaceAll(command, "/out/", out+"/"))
			sh.Dir = from
			sh.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0", "VERSION=1.2.3", "GOFLAGS=-mod=readonly")
			if text, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", command, err, text)
			}
		}
		built.all = true
	})
	if !built.all {
		t.Fatal("the programs were not built")
	}
	return built.dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// contained is a command in a root that has only its program and what is mounted, all of
// it read-only; it is the user 65532, without any capability. The network is that of the
// tests.
func contained(t *testing.T, name string, mounts map[string]string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	wrap := []string{"--unshare-user", "--unshare-pid", "--unshare-ipc", "--uid", "65532", "--gid", "65532",
		"--cap-drop", "ALL", "--die-with-parent", "--new-session", "--clearenv",
		"--ro-bind", filepath.Join(images(t), name), "/" + name, "--ro-bind", "/etc/hosts", "/etc/hosts"}
	for inside, outside := range mounts {
		wrap = append(wrap, "--ro-bind", outside, inside)
	}
	for _, variable := range env {
		key, value, _ := strings.Cut(variable, "=")
		wrap = append(wrap, "--setenv", key, value)
	}
	wrap = append(wrap, "--remount-ro", "/", "--", "/"+name)
	return exec.Command(program(t, "bwrap"), append(wrap, args...)...)
}

type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
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

// The programs of the images need nothing but themselves: not a library, not a directory
// that can be written to, not a user of a name. The health check says what it should.
func TestPrograms(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	random := make([]byte, 32)
	rand.Read(random)
	key := base64.StdEncoding.EncodeToString(random)
	for name, text := range map[string]string{"keys": key, "secret": "the-secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ms := msauthtest.NewServer()
	defer ms.Close()
	ms.ClientSecret = "the-secret"
	port := freePort(t)
	env := []string{
		"LISTEN_ADDR=:" + port, "MSAUTH_BASE_URL=https://localhost:8443/auth", "MSAUTH_KEY_FILES=/run/msauth/keys",
		"AZURE_CLIENT_ID=" + ms.ClientID, "AZURE_CLIENT_SECRET_FILE=/run/msauth/secret", "AZURE_AUTHORITY_HOST=" + ms.URL,
		"REDIS_ADDRS=127.0.0.1:" + freePort(t), // nobody is there, and pages come all the same
	}
	mounts := map[string]string{"/run/msauth": dir}
	healthy := func() error { return contained(t, "replicas", mounts, env, "health").Run() }
	if healthy() == nil {
		t.Error("a container whose program does not run is healthy")
	}
	var out output
	app := contained(t, "replicas", mounts, env)
	app.Stdout, app.Stderr = &out, &out
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- app.Wait() }()
	defer app.Process.Kill()
	for began := time.Now(); healthy() != nil; time.Sleep(200 * time.Millisecond) {
		if time.Since(began) > 30*time.Second {
			t.Fatalf("it does not become healthy:\n%s", &out)
		}
	}
	res, err := http.Get("http://127.0.0.1:" + port + "/")
	if err != nil {
		t.Fatal(err)
	}
	page, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if res.StatusCode != http.StatusOK || !strings.Contains(string(page), "Nobody is signed in") {
		t.Errorf("status %d:\n%s", res.StatusCode, page)
	}
	if !strings.Contains(out.String(), "version 1.2.3") {
		t.Errorf("it does not know its version:\n%s", &out)
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", app.Process.Pid, app.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	status := statusOf(t, strings.Fields(string(children))[0])
	if !strings.Contains(status, "CapEff:\t0000000000000000") || !strings.Contains(status, "NoNewPrivs:\t1") {
		t.Errorf("it can do more than it should:\n%s", status)
	}

	var keys output
	rotate := contained(t, "rotatekeys", mounts, nil, "-file", "/run/msauth/keys")
	rotate.Stdout, rotate.Stderr = &keys, &keys
	if err := rotate.Run(); err == nil || !strings.Contains(keys.String(), "read-only file system") {
		t.Errorf("the root can be written to: %v\n%s", err, &keys)
	}
	standIn := contained(t, "msauthtest", mounts, nil, "-addr", "stand-in.localhost:9090", "-insecure-listen", "127.0.0.1:"+port, "-client-secret-file", "/run/msauth/secret")
	var said output
	standIn.Stdout, standIn.Stderr = &said, &said
	if err := standIn.Run(); err == nil || !strings.Contains(said.String(), "address already in use") {
		t.Errorf("the stand-in: %v\n%s", err, &said)
	}
	pid := strings.Fields(string(children))[0]
	_ = exec.Command("kill", "-TERM", childOf(t, pid)).Run()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Errorf("it does not end:\n%s", &out)
	}
	if !strings.Contains(out.String(), "Stopping.") {
		t.Errorf("it has not ended by itself:\n%s", &out)
	}
}

// statusOf returns the status of a process.
func statusOf(t *testing.T, pid string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + childOf(t, pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// childOf returns the program below bwrap's own process, or that itself.
func childOf(t *testing.T, pid string) string {
	t.Helper()
	text, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		t.Fatal(err)
	}
	if children := strings.Fields(string(text)); len(children) > 0 {
		return children[0]
	}
	return pid
}
