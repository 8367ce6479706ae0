package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/metrics"
	"syscall"
	"time"

	"example.com/msauth/bench/contender"
	"example.com/msauth/bench/fixture"
	"example.com/msauth/bench/load"
)

// A server is a process of its own with one contender in it, on one processor,
// so that neither the load nor the other contenders' memory is measured.
type server struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.Closer
	address string
	request []byte

	perSecond, cpu, gc []float64
}

// hello is what a server says about itself when it is ready.
type hello struct{ Address, Cookie string }

func startServer(name, redis string, seed uint64) (*server, error) {
	path, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &server{name: name, cmd: exec.Command(path, "-serve", name, "-redis", redis, "-seed", fmt.Sprint(seed))}
	s.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	s.cmd.Stderr = os.Stderr
	if s.stdin, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	var h hello
	if err == nil {
		err = json.Unmarshal(line, &h)
	}
	if err != nil {
		s.stop()
		return nil, fmt.Errorf("server of %s: %w", name, err)
	}
	s.address = h.Address
	request := "GET /files HTTP/1.1\r\nHost: app.example.com\r\nConnection: keep-alive\r\n"
	for _, field := range contender.BrowserHeaders {
		request += field[0] + ": " + field[1] + "\r\n"
	}
	if h.Cookie != "" {
		request += "Cookie: " + h.Cookie + "\r\n"
	}
	s.request = []byte(request + "\r\n")
	return s, nil
}

func (s *server) stop() {
	s.stdin.Close()
	s.cmd.Wait()
}

// measure adds one round to the results: requests per second, and the
// processor time of one request in microseconds.
func (s *server) measure(connections, requests int) error {
	before, err := s.used()
	if err != nil {
		return err
	}
	took, err := load.Run(s.address, s.request, connections, requests)
	if err != nil {
		return err
	}
	after, err := s.used()
	if err != nil {
		return err
	}
	s.perSecond = append(s.perSecond, float64(requests)/took.Seconds())
	cpu := after.Processor - before.Processor
	s.cpu = append(s.cpu, float64(cpu.Microseconds())/float64(requests))
	s.gc = append(s.gc, (after.Collector-before.Collector)/cpu.Seconds())
	return nil
}

// usage is what a server has taken so far.
type usage struct {
	Processor time.Duration
	Collector float64 // seconds of processor time for collecting garbage, as estimated by the runtime
}

// used asks the server what it has taken.
func (s *server) used() (used usage, err error) {
	res, err := http.Get("http://" + s.address + "/-/used")
	if err != nil {
		return usage{}, err
	}
	defer res.Body.Close()
	return used, json.NewDecoder(res.Body).Decode(&used)
}

// serve is what the process does, until its standard input ends.
func serve(name, redis string, seed uint64) error {
	a := fixture.New(fixture.Work, seed, 0)
	all, err := contender.All(a, redis)
	if err != nil {
		return err
	}
	all = append(all, contender.NewNothing())
	var c *contender.Contender
	for _, one := range all {
		if one.Name == name {
			c = one
		} else {
			one.Close()
		}
	}
	if c == nil {
		return fmt.Errorf("no contender %q", name)
	}
	all = nil
	runtime.GC()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/-/used", func(w http.ResponseWriter, _ *http.Request) {
		var times syscall.Rusage
		syscall.Getrusage(syscall.RUSAGE_SELF, &times)
		collector := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
		metrics.Read(collector)
		json.NewEncoder(w).Encode(usage{time.Duration(times.Utime.Nano() + times.Stime.Nano()), collector[0].Value.Float64()})
	})
	mux.Handle("/", c.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "hello\n")
	})))
	go http.Serve(listener, mux)
	if err := json.NewEncoder(os.Stdout).Encode(hello{listener.Addr().String(), c.Header()}); err != nil {
		return err
	}
	io.Copy(io.Discard, os.Stdin)
	return nil
}
