//go:build unix

package redistest

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A Server is a redis-server.
type Server struct {
	Addr string // host:port

	t      testing.TB
	dir    string
	config string // a file, if any
	args   []string
	cmd    *exec.Cmd
	guard  *exec.Cmd // kills the server when this process is gone
	alive  io.Closer // what guard waits for
	ended  chan struct{}
}

// Start starts a server, with settings on its command line besides those of this
// package, and waits until it answers. The test fails if it does not.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), args: append([]string{"--save", "", "--appendonly", "no"}, settings...)}
	return s.first()
}

func startSentinel(t testing.TB, config string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), config: config, args: []string{"--sentinel"}}
	return s.first()
}

// first starts the server at an address that is free.
func (s *Server) first() *Server {
	t := s.t
	t.Helper()
	t.Cleanup(s.Kill)
	for range 5 {
		s.Addr = freeAddr(t)
		if s.start() {
			return s
		}
		s.Kill() // somebody else has got the port
	}
	log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
	t.Fatalf("redistest: redis-server does not start:\n%s", log)
	return nil
}

// freeAddr returns an address whose port is free, and the one that a server of a
// Cluster uses besides, below those that the system gives away.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		if isFree(port) && isFree(port+10000) {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("redistest: no port is free")
	return ""
}

func isFree(port int) bool {
	listener, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return false
	}
	listener.Close()
	return true
}

// start reports whether the server runs and answers.
func (s *Server) start() bool {
	s.t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		s.t.Fatal("redistest: redis-server is missing. On Debian and Ubuntu: scripts/setup")
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	args := []string{"--bind", "127.0.0.1", "--port", port, "--dir", s.dir, "--logfile", filepath.Join(s.dir, "log")}
	if s.config != "" {
		args = append([]string{s.config}, args...)
	}
	s.cmd = exec.Command(path, append(args, s.args...)...)
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	s.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(s.cmd, s.ended)
	s.guard = exec.Command("/bin/sh", "-c", `read -r line; kill -KILL "$0"`, strconv.Itoa(s.cmd.Process.Pid))
	if s.alive, err = s.guard.StdinPipe(); err == nil {
		err = s.guard.Start()
	}
	if err != nil {
		s.t.Fatalf("redistest: %v", err)
	}
	return s.answers()
}

// answers waits until the server answers, and not another one at the same port.
func (s *Server) answers() bool {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer client.Close()
	for range 400 {
		select {
		case <-s.ended:
			return false
		case <-time.After(25 * time.Millisecond):
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		info, err := client.InfoMap(ctx, "server").Result()
		cancel()
		if err == nil && info["Server"]["process_id"] == strconv.Itoa(s.cmd.Process.Pid) {
			return true
		}
		if err != nil && strings.Contains(err.Error(), "NOAUTH") {
			return true // by a setting: it cannot be asked who it is
		}
	}
	return false
}

// Stop has the server stand still (SIGSTOP), as one does that cannot be reached: it
// takes connections, and answers nothing.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Cont has it go on after [Server.Stop].
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(signal syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Fatalf("redistest: %v: %v", signal, err)
	}
}

// Kill ends the server at once, with all that it holds. It may be called again.
func (s *Server) Kill() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	if s.guard.Process != nil { // first, as it knows but the number of the process
		_ = s.guard.Process.Kill()
		_ = s.alive.Close()
		_ = s.guard.Wait()
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
	s.cmd = nil
}

// Restart kills the server and starts it again, empty, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if !s.start() {
		s.t.Fatal("redistest: redis-server does not start again")
	}
}

// Client returns a client of the server, which is closed at the end of the test.
func (s *Server) Client() *redis.Client {
	client := redis.NewClient(&redis.Options{Addr: s.Addr})
	s.t.Cleanup(func() { _ = client.Close() })
	return client
}

// String says what it is, for messages of tests.
func (s *Server) String() string { return fmt.Sprintf("redis-server at %s", s.Addr) }
