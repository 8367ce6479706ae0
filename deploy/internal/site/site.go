//go:build unix

// Package site runs the whole of a deployment as processes of this computer: the
// stand-in for Microsoft, Redis, three servers of example/replicas, and nginx with the
// configuration that the other recipes have.
package site

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"example.com/msauth/deploy/internal/material"
)

// Options say how a site differs from the usual one.
type Options struct {
	Root string // of the repository
	// Dir is for files; it must be there, and no other site may use it. The next one
	// there has the same keys, certificate and client ID.
	Dir  string
	Port string // of the site; "0" takes a free one
	// Out gets a line for each step of the start.
	Out io.Writer
	// Log gets what the processes write, each line with the name of its process.
	Log io.Writer
	// StandIn are further flags of the stand-in.
	StandIn []string
	// Delay is SHUTDOWN_DELAY of the servers.
	Delay time.Duration
}

// A Site is running.
type Site struct {
	URL     string // where browsers go, such as https://localhost:8443
	CA      string // file with what they have to trust
	StandIn string // the authority
	Servers []*Server
	// Env is what the servers have in common: a check of the registration takes it
	// too. It has no secrets, but names of files with them.
	Env []string

	o        Options
	log      *lines
	ctx      context.Context
	programs map[string]string
	addr     string // of Redis
	standIn  *Program
	redis    *Program
	nginx    *Program
}

// A Server is one of the three.
type Server struct {
	*Program
	Addr    string // of its pages, for nginx
	Metrics string // address of /metrics
}

// stopTime is how long a server may take to end: SHUTDOWN_DELAY, what webapp.Serve
// takes, and some seconds.
const stopTime = 40 * time.Second

// Start starts all of it, and waits until people can sign in. The processes run until
// Stop. If one of them has ended, the error is a [*Failure].
func Start(ctx context.Context, o Options) (_ *Site, err error) {
	s := &Site{o: o, log: &lines{out: o.Log}, ctx: ctx}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	// What is wrong is said before anything is built.
	port := o.Port
	if port == "0" {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	} else if err := portIsFree(port); err != nil {
		return nil, err
	}
	if s.programs, err = find(exec.LookPath); err != nil {
		return nil, err
	}
	secrets := filepath.Join(o.Dir, "secrets")
	if _, err := material.Write(secrets, "localhost", "127.0.0.1"); err != nil {
		return nil, err
	}
	s.CA = filepath.Join(secrets, material.CA)
	id, err := clientID(filepath.Join(o.Dir, "client-id"))
	if err != nil {
		return nil, err
	}
	if err := s.build(); err != nil {
		return nil, err
	}
	s.step("Starting the stand-in for Microsoft.")
	if err := s.startStandIn(id, secrets); err != nil {
		return nil, err
	}
	s.step("Starting Redis.")
	if err := s.startRedis(secrets); err != nil {
		return nil, err
	}
	s.URL = "https://localhost:" + port
	s.Env = []string{
		"AZURE_AUTHORITY_HOST=" + s.StandIn, "AZURE_TENANT_ID=common", "AZURE_CLIENT_ID=" + id,
		"AZURE_CLIENT_SECRET_FILE=" + filepath.Join(secrets, material.ClientSecret),
		"MSAUTH_BASE_URL=" + s.URL + "/auth", "MSAUTH_KEY_FILES=" + filepath.Join(secrets, material.Keys),
	}
	s.step("Starting three servers.")
	for i := range 3 {
		srv, err := s.startServer(fmt.Sprintf("app%d", i+1), secrets)
		if err != nil {
			return nil, err
		}
		s.Servers = append(s.Servers, srv)
	}
	for _, srv := range s.Servers {
		if err := srv.Wait(ctx); err != nil {
			return nil, err
		}
	}
	s.step("Starting nginx.")
	if err := s.startNginx(port, secrets); err != nil {
		return nil, err
	}
	return s, nil
}

// Programs are all that run: those that others need come first.
func (s *Site) Programs() []*Program {
	all := []*Program{s.standIn, s.redis}
	for _, srv := range s.Servers {
		all = append(all, srv.Program)
	}
	return append(all, s.nginx)
}

func (s *Site) step(text string) { fmt.Fprintln(s.o.Out, text) }

// find looks for the programs that are not of this repository.
func find(look func(string) (string, error)) (map[string]string, error) {
	found := map[string]string{}
	var missing, packages []string
	for name, pkg := range map[string]string{"nginx": "nginx-light", "redis-server": "redis-server"} {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name, "/opt/homebrew/bin/" + name} {
			if path, err := look(candidate); err == nil {
				found[name] = path
				break
			}
		}
		if found[name] == "" {
			missing, packages = append(missing, name), append(packages, pkg)
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		slices.Sort(packages)
		return nil, fmt.Errorf("not installed: %s. On Debian and Ubuntu: apt-get install -y %s", strings.Join(missing, ", "), strings.Join(packages, " "))
	}
	return found, nil
}

// build builds the programs of this repository.
func (s *Site) build() error {
	bin := filepath.Join(s.o.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for _, p := range []struct{ name, what, pkg string }{
		{"msauthtest", "the stand-in for Microsoft", "./msauthtest/cmd/msauthtest"},
		{"replicas", "the server", "./example/replicas"},
	} {
		s.step("Building " + p.what + ".")
		s.programs[p.name] = filepath.Join(bin, p.name)
		build := exec.CommandContext(s.ctx, "go", "build", "-o", s.programs[p.name], p.pkg)
		build.Dir = s.o.Root
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", p.pkg, err, out)
		}
	}
	return nil
}

// clientID returns the client ID in a file, which is made if there is none.
func clientID(file string) (string, error) {
	text, err := os.ReadFile(file)
	if id := strings.TrimSpace(string(text)); id != "" || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	id := newGUID()
	return id, os.WriteFile(file, []byte(id+"\n"), 0o600)
}

func (s *Site) startStandIn(clientID, secrets string) error {
	args := append([]string{"-client-id", clientID, "-client-secret-file", filepath.Join(secrets, material.ClientSecret)}, s.o.StandIn...)
	// It says at what address it is, on a line of its own.
	found := make(chan string, 1)
	see := func(line string) {
		if address, ok := strings.CutPrefix(strings.TrimPrefix(line, "export "), "AZURE_AUTHORITY_HOST="); ok {
			select {
			case found <- address:
			default:
			}
		}
	}
	s.standIn = &Program{Name: "stand-in", begin: func(name string) (*process, error) {
		if s.StandIn == "" {
			return s.run(name, nil, see, s.programs["msauthtest"], args...)
		}
		u, err := url.Parse(s.StandIn) // again, where the servers know it
		if err != nil {
			return nil, err
		}
		return s.run(name, nil, nil, s.programs["msauthtest"], append([]string{"-addr", u.Host}, args...)...)
	}}
	if err := s.standIn.Start(); err != nil {
		return err
	}
	select {
	case s.StandIn = <-found:
		return nil
	case <-s.standIn.Ended():
		return s.standIn.process().failure()
	case <-time.After(20 * time.Second):
		return errors.New("the stand-in does not start")
	}
}

func (s *Site) startRedis(secrets string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.addr = "127.0.0.1:" + port
	dir := filepath.Join(s.o.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s.redis = &Program{Name: "redis", begin: func(name string) (*process, error) {
		return s.run(name, nil, nil, s.programs["redis-server"], filepath.Join(s.o.Root, "deploy/redis/redis.conf"),
			"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--aclfile", filepath.Join(secrets, material.RedisUsers))
	}}
	if err := s.redis.Start(); err != nil {
		return err
	}
	return s.redis.process().waitFor(s.ctx, "it listens", func() bool { return listens(s.addr) })
}

// listens reports whether a program listens at an address.
func listens(addr string) bool {
	conn, err := net.Dial("tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

func (s *Site) startServer(name, secrets string) (*Server, error) {
	srv := &Server{}
	for _, addr := range []*string{&srv.Addr, &srv.Metrics} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		*addr = "127.0.0.1:" + port
	}
	env := append([]string{
		"INSTANCE=" + name, "LISTEN_ADDR=" + srv.Addr, "METRICS_ADDR=" + srv.Metrics,
		"SHUTDOWN_DELAY=" + s.o.Delay.String(),
		"REDIS_ADDRS=" + s.addr, "REDIS_USERNAME=msauth", "REDIS_PASSWORD_FILE=" + filepath.Join(secrets, material.RedisPassword),
	}, s.Env...)
	srv.Program = &Program{Name: name, begin: func(name string) (*process, error) {
		return s.run(name, env, nil, s.programs["replicas"])
	}}
	return srv, srv.Start()
}

// Wait waits until people can sign in at the server.
func (srv *Server) Wait(ctx context.Context) error {
	return srv.process().waitFor(ctx, "people can sign in", func() bool {
		res, err := http.Get("http://" + srv.Addr + "/startupz")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
}

func (s *Site) startNginx(port, secrets string) error {
	dir := filepath.Join(s.o.Dir, "nginx")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	common, err := os.ReadFile(filepath.Join(s.o.Root, "deploy/nginx/site.conf"))
	if err != nil {
		return err
	}
	var upstreams strings.Builder
	for _, srv := range s.Servers {
		fmt.Fprintf(&upstreams, "server %s fail_timeout=2s;\n", srv.Addr)
	}
	for name, text := range map[string]string{
		"site.conf":      string(common),
		"listen.conf":    "listen 127.0.0.1:" + port + " ssl http2;\naccess_log /dev/stdout site;\nerror_log stderr crit;\n",
		"upstreams.conf": upstreams.String(),
		"nginx.conf": "daemon off;\nmaster_process off;\npid nginx.pid;\nerror_log stderr crit;\nevents {}\nhttp {\n" +
			"client_body_temp_path body;\nproxy_temp_path proxy;\nfastcgi_temp_path fastcgi;\nuwsgi_temp_path uwsgi;\nscgi_temp_path scgi;\n" +
			"include site.conf;\n}\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	_ = os.Remove(filepath.Join(dir, "tls"))
	if err := os.Symlink(secrets, filepath.Join(dir, "tls")); err != nil {
		return err
	}
	s.nginx = &Program{Name: "nginx", begin: func(name string) (*process, error) {
		return s.run(name, nil, nil, s.programs["nginx"], "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	}}
	if err := s.nginx.Start(); err != nil {
		return err
	}
	return s.nginx.process().waitFor(s.ctx, "it listens at "+port, func() bool { return listens("127.0.0.1:" + port) })
}

// Stop ends all processes, those in front first.
func (s *Site) Stop() error {
	err := s.nginx.stop(10 * time.Second)
	errs := make([]error, len(s.Servers))
	var all sync.WaitGroup
	for i, srv := range s.Servers {
		all.Go(func() { errs[i] = srv.stop(stopTime) })
	}
	all.Wait()
	return errors.Join(err, errors.Join(errs...), s.redis.stop(10*time.Second), s.standIn.stop(10*time.Second))
}

// newGUID returns a random GUID, as client ids are.
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // RFC 9562, version 4
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), nil
}

// portIsFree returns an error that names another port if nobody can listen at this one.
func portIsFree(port string) error {
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("-port is %q: must be a number from 0 to 65535", port)
	}
	err := tryPort(port)
	if err == nil {
		return nil
	}
	other := ""
	for _, candidate := range []string{"8443", "9443", "10443"} {
		if tryPort(candidate) == nil {
			other = candidate
			break
		}
	}
	if other == "" {
		if other, err = freePort(); err != nil {
			return err
		}
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("another program uses port %s. Choose another one, for example: -port %s", port, other)
	}
	return fmt.Errorf("port %s cannot be used (%w). Choose another one, for example: -port %s", port, err, other)
}

// tryPort listens at a port for a moment. nginx listens at 127.0.0.1 only, but a browser
// may look for localhost at ::1 first, and meet another program there.
func tryPort(port string) error {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	l.Close()
	l, err = net.Listen("tcp", "[::1]:"+port)
	if errors.Is(err, syscall.EADDRINUSE) {
		return err
	}
	if err == nil {
		l.Close()
	}
	return nil // also without IPv6
}
