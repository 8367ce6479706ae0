package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
)

// patience is how long anything may take before a test gives up on it. It is
// long because other builds may share the machine.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	code := m.Run()
	for _, clean := range afterwards.list {
		clean()
	}
	os.Exit(code)
}

// crowd limits the tests that use a browser at the same time.
var crowd = make(chan struct{}, 4)

// parallel lets a test run beside others, but not beside many.
func parallel(t *testing.T) {
	t.Helper()
	t.Parallel()
	crowd <- struct{}{}
	t.Cleanup(func() { <-crowd })
}

// afterwards is what is left to do when all tests have run.
var afterwards struct {
	sync.Mutex
	list []func()
}

func later(f func()) {
	afterwards.Lock()
	defer afterwards.Unlock()
	afterwards.list = append(afterwards.list, f)
}

var buildFlags []string // -race, where this test has it

// program builds the example once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "msauth-e2e-")
	if err != nil {
		return "", err
	}
	later(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "example")
	cmd := exec.Command("go", append(append([]string{"build"}, buildFlags...), "-o", path, "./example")...)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./example: %w\n%s", err, out)
	}
	return path, nil
})

// An app is the example, or the program at path, as a process.
type app struct {
	path string
	t    testing.TB
	url  string // what people type, without a slash at the end
	port string
	env  []string
	log  *buffer
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// newMicrosoft starts a provider that the test can turn and count at.
func newMicrosoft(t testing.TB) *msauthtest.Server {
	ms := msauthtest.NewServer()
	t.Cleanup(ms.Close)
	return ms
}

func newKeys() string {
	var key [32]byte
	rand.Read(key[:])
	return base64.StdEncoding.EncodeToString(key[:])
}

// newApp starts the example at the provider. More of the environment can be
// given; it wins.
func newApp(t testing.TB, ms *msauthtest.Server, env ...string) *app {
	t.Helper()
	port := freePort(t)
	a := &app{t: t, port: port, url: "http://localhost:" + port, log: &buffer{}}
	a.env = append([]string{
		"PORT=" + port,
		"AZURE_CLIENT_ID=" + ms.ClientID,
		"AZURE_CLIENT_SECRET=" + ms.ClientSecret,
		"AZURE_TENANT_ID=common",
		"AZURE_AUTHORITY_HOST=" + ms.URL + "/",
		"MSAUTH_BASE_URL=" + a.url + "/auth",
		"MSAUTH_KEYS=" + newKeys(),
	}, env...)
	for _, e := range env {
		if base, ok := strings.CutPrefix(e, "MSAUTH_BASE_URL="); ok {
			a.url = strings.TrimSuffix(base, "/auth")
		}
	}
	a.start()
	t.Cleanup(func() {
		for _, secret := range ms.Secrets() {
			if a.log.contains(secret) {
				t.Error("a token, a code or the client secret is in the log of the app")
				break
			}
		}
	})
	return a
}

// start starts the process and waits until it answers.
func (a *app) start() {
	a.t.Helper()
	if a.path == "" {
		var err error
		if a.path, err = program(); err != nil {
			a.t.Fatal(err)
		}
	}
	cmd, done := exec.Command(a.path), make(chan struct{})
	cmd.Env = a.env // nothing of ours: a developer may have AZURE_CLIENT_ID set
	cmd.Stdout, cmd.Stderr = a.log, a.log
	if err := cmd.Start(); err != nil {
		a.t.Fatal(err)
	}
	go func() {
		cmd.Wait()
		close(done)
	}()
	a.cmd, a.done = cmd, done
	a.t.Cleanup(func() {
		if a.cmd == cmd {
			a.stop()
		}
		if a.t.Failed() {
			a.t.Logf("log of the app at %s:\n%s", a.url, a.log.tail(60))
		}
	})
	for deadline := time.Now().Add(patience); ; {
		res, err := http.Get("http://localhost:" + a.port + "/healthz")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-done:
			a.t.Fatalf("the example ended at once: %v\n%s", cmd.ProcessState, a.log.tail(20))
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("the example does not answer on port %s: %v", a.port, err)
		}
	}
}

// stop ends the process as Ctrl-C does, and expects it to end well.
func (a *app) stop() {
	a.t.Helper()
	a.cmd.Process.Signal(syscall.SIGINT)
	select {
	case <-a.done:
	case <-time.After(patience):
		a.t.Error("the example does not end at an interrupt")
		a.cmd.Process.Kill()
		<-a.done
	}
	if code := a.cmd.ProcessState.ExitCode(); code != 0 {
		a.t.Errorf("the example ended with status %d", code)
	}
	a.cmd = nil
}

// A buffer collects the output of a process.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) contains(s string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.b.Bytes(), []byte(s))
}

func (b *buffer) tail(lines int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := strings.Split(strings.TrimSpace(b.b.String()), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Ports are taken below those that systems hand out by themselves, so that
// nobody gets one between our look and the start of a process.
var nextPort = func() *atomic.Int64 {
	var n atomic.Int64
	start, _ := rand.Int(rand.Reader, big.NewInt(10_000))
	n.Store(20_000 + start.Int64())
	return &n
}()

func freePort(t testing.TB) string {
	t.Helper()
	for range 200 {
		port := strconv.FormatInt(20_000+nextPort.Add(1)%12_000, 10)
		l, err := net.Listen("tcp", "localhost:"+port)
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return ""
}

// A front is a reverse proxy before the app, as a load balancer is.
type front struct {
	url string
	// To be set before the first request: where the n-th one goes, counted
	// from 0, what happens before it is passed on, and before its answer is.
	backend func(n int, r *http.Request) *app
	ask     func(*http.Request)
	answer  func(*http.Response)
	// pages are served here, for what the example has no page for.
	pages map[string]string

	server *httptest.Server
	mu     sync.Mutex
	seen   []passed
}

// passed is a request that went through, and its answer.
type passed struct {
	r         *http.Request
	arrived   time.Time
	answered  time.Time
	status    int
	setCookie []string
}

// newFront makes a proxy that is not serving yet: start it once the apps
// behind are known. Over TLS browsers speak HTTP/2 to it, and so are not held
// to six requests at a time.
func newFront(t testing.TB, tls bool) *front {
	t.Helper()
	f := &front{}
	listener, err := net.Listen("tcp", "127.0.0.1:"+freePort(t))
	for tries := 0; err != nil && tries < 200; tries++ { // others may be faster, or have it on another address
		listener, err = net.Listen("tcp", "127.0.0.1:"+freePort(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Listener.Close()
	f.server.Listener = listener
	f.url = "http://localhost:" + port(listener.Addr().String())
	if tls {
		f.server.EnableHTTP2 = true
		f.url = "https" + strings.TrimPrefix(f.url, "http")
	}
	t.Cleanup(f.server.Close)
	return f
}

func (f *front) start(apps ...*app) {
	if f.backend == nil {
		f.backend = func(n int, _ *http.Request) *app { return apps[n%len(apps)] }
	}
	if strings.HasPrefix(f.url, "https:") {
		f.server.StartTLS()
	} else {
		f.server.Start()
	}
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if page, ok := f.pages[r.URL.Path]; ok {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, page)
		return
	}
	f.mu.Lock()
	n := len(f.seen)
	f.seen = append(f.seen, passed{r: r, arrived: time.Now()})
	target := f.backend(n, r)
	f.mu.Unlock()
	if f.ask != nil {
		f.ask(r)
	}
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(&url.URL{Scheme: "http", Host: "localhost:" + target.port})
			p.Out.Host = p.In.Host
		},
		ModifyResponse: func(res *http.Response) error {
			if f.answer != nil {
				f.answer(res)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			p := &f.seen[n]
			p.answered, p.status, p.setCookie = time.Now(), res.StatusCode, res.Header["Set-Cookie"]
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	proxy.ServeHTTP(w, r)
}

// passed lists the requests so far.
func (f *front) passed() []passed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]passed(nil), f.seen...)
}

func port(addr string) string {
	_, p, _ := net.SplitHostPort(addr)
	return p
}

// eventually waits for what cannot be waited for otherwise.
func eventually(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			return errors.New("timeout")
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil
}
