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
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.com/msauth/deploy/internal/material"
)

// Options say how a site differs from the usual one.
type Options struct {
	Root string // of the repository
	Dir  string // for files; it must be there
	Port string // of the site; "0" takes a free one
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
	Redis   string // address
	Servers []*Server
	// Env is what the servers have in common: a check of the registration takes it
	// too. It has no secrets, but names of files with them.
	Env []string

	o        Options
	log      *lines
	ctx      context.Context
	programs map[string]string
	standIn  *process
	redis    *process
	nginx    *process
}

// A Server is one of the three.
type Server struct {
	Name    string
	Addr    string // of its pages, for nginx
	Metrics string // address of /metrics

	site *Site
	mu   sync.Mutex
	now  *process
}

// stopTime is how long a server may take to end: SHUTDOWN_DELAY, what webapp.Serve
// takes, and some seconds.
const stopTime = 40 * time.Second

// Start starts all of it, and waits until people can sign in. The processes run until
// Stop.
func Start(ctx context.Context, o Options) (_ *Site, err error) {
	s := &Site{o: o, log: &lines{out: o.Log}, ctx: ctx, programs: map[string]string{}}
	defer func() {
		if err != nil {
			s.Stop()
		}
	}()
	if err := s.find(); err != nil {
		return nil, err
	}
	secrets := filepath.Join(o.Dir, "secrets")
	if _, err := material.Write(secrets, "localhost", "127.0.0.1"); err != nil {
		return nil, err
	}
	s.CA = filepath.Join(secrets, material.CA)
	clientID, err := s.startStandIn(secrets)
	if err != nil {
		return nil, err
	}
	if err := s.startRedis(secrets); err != nil {
		return nil, err
	}
	port := o.Port
	if port == "0" {
		if port, err = freePort(); err != nil {
			return nil, err
		}
	} else if err := portIsFree(port); err != nil {
		return nil, err
	}
	s.URL = "https://localhost:" + port
	s.Env = []string{
		"AZURE_AUTHORITY_HOST=" + s.StandIn, "AZURE_TENANT_ID=common", "AZURE_CLIENT_ID=" + clientID,
		"AZURE_CLIENT_SECRET_FILE=" + filepath.Join(secrets, material.ClientSecret),
		"MSAUTH_BASE_URL=" + s.URL + "/auth", "MSAUTH_KEY_FILES=" + filepath.Join(secrets, material.Keys),
	}
	for i := range 3 {
		srv, err := s.newServer(fmt.Sprintf("app%d", i+1), secrets)
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
	if err := s.startNginx(port, secrets); err != nil {
		return nil, err
	}
	return s, nil
}

// find builds the programs of this repository, and looks for the others.
func (s *Site) find() error {
	for _, name := range []string{"redis-server", "nginx"} {
		for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name, "/opt/homebrew/bin/" + name} {
			if path, err := exec.LookPath(candidate); err == nil {
				s.programs[name] = path
				break
			}
		}
		if s.programs[name] == "" {
			return fmt.Errorf("%s is missing. On Debian and Ubuntu: scripts/setup", name)
		}
	}
	bin := filepath.Join(s.o.Dir, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"replicas": "./example/replicas", "msauthtest": "./msauthtest/cmd/msauthtest"} {
		s.programs[name] = filepath.Join(bin, name)
		build := exec.CommandContext(s.ctx, "go", "build", "-o", s.programs[name], pkg)
		build.Dir = s.o.Root
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %s: %w\n%s", pkg, err, out)
		}
	}
	return nil
}

func (s *Site) startStandIn(secrets string) (clientID string, err error) {
	clientID = newGUID()
	args := append([]string{"-client-id", clientID, "-client-secret-file", filepath.Join(secrets, material.ClientSecret)}, s.o.StandIn...)
	// It says at what address it is, on a line of its own.
	found := make(chan string, 1)
	s.standIn, err = s.run("stand-in", nil, func(line string) {
		if address, ok := strings.CutPrefix(line, "AZURE_AUTHORITY_HOST="); ok {
			select {
			case found <- address:
			default:
			}
		}
	}, s.programs["msauthtest"], args...)
	if err != nil {
		return "", err
	}
	select {
	case s.StandIn = <-found:
		return clientID, nil
	case <-s.standIn.ended:
		return "", s.standIn.failure()
	case <-time.After(20 * time.Second):
		return "", errors.New("the stand-in does not start")
	}
}

func (s *Site) startRedis(secrets string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	s.Redis = "127.0.0.1:" + port
	dir := filepath.Join(s.o.Dir, "redis")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	s.redis, err = s.run("redis", nil, nil, s.programs["redis-server"], filepath.Join(s.o.Root, "deploy/redis/redis.conf"),
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--aclfile", filepath.Join(secrets, material.RedisUsers))
	if err != nil {
		return err
	}
	return s.redis.waitFor(s.ctx, "it listens", func() bool {
		conn, err := net.Dial("tcp", s.Redis)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (s *Site) newServer(name, secrets string) (*Server, error) {
	srv := &Server{Name: name, site: s}
	for _, addr := range []*string{&srv.Addr, &srv.Metrics} {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		*addr = "127.0.0.1:" + port
	}
	return srv, srv.Start()
}

// Start starts the server, which must not run.
func (srv *Server) Start() error {
	s := srv.site
	secrets := filepath.Dir(s.CA)
	env := append([]string{
		"INSTANCE=" + srv.Name, "LISTEN_ADDR=" + srv.Addr, "METRICS_ADDR=" + srv.Metrics,
		"SHUTDOWN_DELAY=" + s.o.Delay.String(),
		"REDIS_ADDRS=" + s.Redis, "REDIS_USERNAME=msauth", "REDIS_PASSWORD_FILE=" + filepath.Join(secrets, material.RedisPassword),
	}, s.Env...)
	p, err := s.run(srv.Name, env, nil, s.programs["replicas"])
	if err != nil {
		return err
	}
	srv.mu.Lock()
	defer srv.mu.Unlock()
	srv.now = p
	return nil
}

func (srv *Server) process() *process {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.now
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

// Kill ends the server at once.
func (srv *Server) Kill() { srv.process().kill() }

// Stop has the server end as it does in a deployment.
func (srv *Server) Stop() error { return srv.process().stop(stopTime) }

// Ended is closed when the process that runs now has ended.
func (srv *Server) Ended() <-chan struct{} { return srv.process().ended }

// PID is the number of the process.
func (srv *Server) PID() int { return srv.process().cmd.Process.Pid }

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
	s.nginx, err = s.run("nginx", nil, nil, s.programs["nginx"], "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	if err != nil {
		return err
	}
	return s.nginx.waitFor(s.ctx, "it listens at "+port, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// Stop ends all processes, those in front first.
func (s *Site) Stop() error {
	err := s.nginx.stop(10 * time.Second)
	errs := make([]error, len(s.Servers))
	var all sync.WaitGroup
	for i, srv := range s.Servers {
		all.Go(func() { errs[i] = srv.Stop() })
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

func portIsFree(port string) error {
	l, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return fmt.Errorf("%w\nIf another program uses the port, choose another one, for example: -port 9443", err)
	}
	return l.Close()
}
