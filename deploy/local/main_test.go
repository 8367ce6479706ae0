//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// running is the command, as somebody sees it who has started it in a terminal.
type running struct {
	t         *testing.T
	dir       string
	out       testsite.LogBuffer
	stop      context.CancelFunc
	ended     chan error
	url, ca   string
	secret    string // of the app registration
	processes [3]int
	pages     [3]string
	metrics   [3]string
	others    map[string]int // processes of the stand-in, Redis and nginx
}

var (
	siteLine   = regexp.MustCompile(`(?m)^The site +(\S+)$`)
	caLine     = regexp.MustCompile(`(?m)^Trust its CA +(.+)$`)
	serverLine = regexp.MustCompile(`(?m)^app(\d) +process (\d+) +pages (\S+) +metrics (\S+)$`)
	otherLine  = regexp.MustCompile(`(?m)^(stand-in|redis|nginx) +process (\d+)$`)
	clientLine = regexp.MustCompile(`AZURE_CLIENT_ID=(\S+)`)
)

func start(t *testing.T, dir string, args ...string) *running {
	t.Helper()
	if testing.Short() {
		t.Skip("starts a whole deployment")
	}
	r := &running{t: t, dir: dir, ended: make(chan error, 1), others: map[string]int{}}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- run(ctx, append([]string{"-port", "0", "-dir", r.dir}, args...), &r.out) }()
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(r.dir, "log"))
			lines := strings.Split(string(log), "\n")
			t.Logf("%s\n%s", r.out.String(), strings.Join(lines[max(0, len(lines)-60):], "\n"))
		}
	})
	for began := time.Now(); !strings.Contains(r.out.String(), "Ctrl-C ends"); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-r.ended:
			t.Fatal(err)
		default:
		}
		if time.Since(began) > 4*time.Minute {
			t.Fatal("it does not start")
		}
	}
	text := r.out.String()
	r.url, r.ca = siteLine.FindStringSubmatch(text)[1], caLine.FindStringSubmatch(text)[1]
	for i, m := range serverLine.FindAllStringSubmatch(text, -1) {
		r.processes[i], _ = strconv.Atoi(m[2])
		r.pages[i], r.metrics[i] = m[3], m[4]
	}
	for _, m := range otherLine.FindAllStringSubmatch(text, -1) {
		r.others[m[1]], _ = strconv.Atoi(m[2])
	}
	if len(r.others) != 3 {
		t.Fatalf("processes %v in\n%s", r.others, text)
	}
	secret, err := os.ReadFile(filepath.Join(r.dir, "secrets", "client-secret"))
	if err != nil {
		t.Fatal(err)
	}
	r.secret = strings.TrimSpace(string(secret))
	return r
}

// end interrupts the command, and checks what it leaves behind.
func (r *running) end() {
	t := r.t
	t.Helper()
	r.stop()
	select {
	case err := <-r.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	for i, page := range r.pages {
		if res, err := http.Get(page + "/healthz"); err == nil {
			res.Body.Close()
			t.Errorf("server %d runs still", i+1)
		}
	}
	log, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(r.dir, "log")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the log can be read by others: %v, %v", info.Mode(), err)
	}
	if !bytes.Contains(log, []byte(`"GET /auth/callback HTTP/`)) {
		t.Error("nginx has logged no sign-in: what else is not in the log says nothing")
	}
	for _, secret := range []string{r.secret, "code=", "state=", "panic:", "level=ERROR"} {
		if line := lineWith(log, secret); line != "" {
			t.Errorf("in the log: %s", line)
		}
	}
	for _, name := range []string{"keys/keys", "redis-password", "site-key.pem"} {
		secret, err := os.ReadFile(filepath.Join(r.dir, "secrets", name))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(secret)), "\n")
		if text := lines[min(1, len(lines)-1)]; bytes.Contains(log, []byte(text)) || strings.Contains(r.out.String(), text) {
			t.Errorf("%s is in the log or was printed", name)
		}
	}
	if strings.Contains(r.out.String(), r.secret) {
		t.Error("the client secret was printed")
	}
}

func lineWith(log []byte, text string) string {
	for line := range strings.SplitSeq(string(log), "\n") {
		if strings.Contains(line, text) {
			return line
		}
	}
	return ""
}

// A person is a browser that trusts the CA, and nothing else.
type person struct {
	r      *running
	client *http.Client
}

func (r *running) signIn(name string) *person {
	r.t.Helper()
	client, err := msauthtest.Client(r.url+"/me", name)
	if err != nil {
		r.t.Fatal(err)
	}
	client.CloseIdleConnections()
	ca, err := os.ReadFile(r.ca)
	if err != nil {
		r.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		r.t.Fatal("the CA cannot be read")
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	r.t.Cleanup(client.CloseIdleConnections)
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	client.Timeout = 20 * time.Second
	return &person{r, client}
}

var (
	personOf   = regexp.MustCompile(`<strong id="person">([^<]*)<`)
	instanceOf = regexp.MustCompile(`<code id="instance">([^<]*)<`)
)

// page opens a page, and returns who is signed in and which server says so.
func (p *person) page(method, path string) (status int, name, instance string, err error) {
	req, err := http.NewRequest(method, p.r.url+path, nil)
	if err != nil {
		return 0, "", "", err
	}
	for name, value := range map[string]string{"Accept": "text/html", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
		req.Header.Set(name, value)
	}
	res, err := p.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if m := personOf.FindSubmatch(body); m != nil {
		name = string(m[1])
	}
	if m := instanceOf.FindSubmatch(body); m != nil {
		instance = string(m[1])
	}
	return res.StatusCode, name, instance, err
}

// everywhere asks until all three servers have answered, and wants all to say the same.
func (p *person) everywhere(what, want string) {
	t := p.r.t
	t.Helper()
	answered := map[string]bool{}
	for began := time.Now(); len(answered) < 3; {
		status, name, instance, err := p.page(http.MethodGet, "/")
		if err != nil || status != http.StatusOK || name != want {
			t.Fatalf("%s: %s says status %d, %q, error %v, want %q", what, instance, status, name, err, want)
		}
		if answered[instance] = true; time.Since(began) > 30*time.Second {
			t.Fatalf("%s: only %v answer", what, answered)
		}
	}
}

// checkCommand is what is printed for the check.
var checkCommand = regexp.MustCompile(`(?s)env '?SSL_CERT_FILE=.*?msauth-check\n`)

// metricsCommand is what is printed for the metrics.
var metricsCommand = regexp.MustCompile(`for address in .*; done`)

func scrape(t *testing.T, address string) string {
	t.Helper()
	res, err := http.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v", address, res.StatusCode, err)
	}
	return string(text)
}

// sum adds up a metric over its labels.
func sum(t *testing.T, text, name string) (n float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, name+"{") {
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(strings.TrimSpace(line), ' ')+1:len(line)-1], 64)
			if err != nil {
				t.Fatal(err)
			}
			n += value
		}
	}
	return n
}

// A crowd opens pages all the time, and counts what is not a page for the right person.
type crowd struct {
	stop  chan struct{}
	all   sync.WaitGroup
	mu    sync.Mutex
	asked int
	wrong []string
}

func (r *running) crowd(names ...string) *crowd {
	r.t.Helper()
	c := &crowd{stop: make(chan struct{})}
	for _, mail := range names {
		p := r.signIn(mail)
		_, want, _, _ := p.page(http.MethodGet, "/me")
		if want == "" {
			r.t.Fatalf("%s is not signed in", mail)
		}
		for range 3 {
			c.all.Go(func() {
				for ticker := time.NewTicker(50 * time.Millisecond); ; {
					select {
					case <-c.stop:
						return
					case <-ticker.C:
					}
					status, name, instance, err := p.page(http.MethodGet, "/me")
					c.mu.Lock()
					if c.asked++; err != nil || status != http.StatusOK || name != want {
						c.wrong = append(c.wrong, fmt.Sprintf("%s says status %d, %q, error %v", instance, status, name, err))
					}
					c.mu.Unlock()
				}
			})
		}
	}
	return c
}

// leaves ends it, and wants every page to have been right.
func (c *crowd) leaves(t *testing.T, what string) {
	t.Helper()
	close(c.stop)
	c.all.Wait()
	t.Logf("%s: %d pages", what, c.asked)
	if len(c.wrong) > 0 || c.asked < 50 {
		t.Errorf("%s: %d of %d pages are wrong: %q", what, len(c.wrong), c.asked, c.wrong[:min(5, len(c.wrong))])
	}
}

// backAgain waits until a server that has ended runs again, and returns its process.
func (r *running) backAgain(i, before int) int {
	r.t.Helper()
	process := r.runsAgain(fmt.Sprintf("app%d", i+1), before)
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if res, err := http.Get(r.pages[i] + "/startupz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return process
			}
		}
	}
	r.t.Fatalf("server %d does not come back:\n%s", i+1, r.out.String())
	return 0
}

// runsAgain waits until it is said of a program that it has ended and runs again, and
// returns its new process.
func (r *running) runsAgain(name string, before int) int {
	r.t.Helper()
	line := regexp.MustCompile(`(?ms)^` + name + ` has ended \((?:signal: killed|exit status \d+)\)\. It starts again in \d+s\.$.*^` + name + ` runs again, as process (\d+)\.$`)
	for began := time.Now(); time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		if m := line.FindStringSubmatch(r.out.String()); m != nil {
			if process, _ := strconv.Atoi(m[1]); process != before {
				return process
			}
		}
	}
	r.t.Fatalf("%s does not come back:\n%s", name, r.out.String())
	return 0
}

// People sign in over HTTPS by nginx, at an access token that lasts seconds, and every
// server knows them. Nobody notices that a server is killed, or that all are restarted
// one by one: every page comes, and every session lasts. A sign-out holds at all servers.
func TestDeployment(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "it's a directory")
	r := start(t, dir, "-lifetime", "6s")
	ada := r.signIn(msauthtest.Ada)
	ada.everywhere("signed in", "Ada Lindqvist")

	c := r.crowd(msauthtest.Bruno, msauthtest.Grace)
	if err := syscall.Kill(r.processes[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	r.processes[0] = r.backAgain(0, r.processes[0])
	time.Sleep(time.Second)
	c.leaves(t, "a server is killed")

	c = r.crowd(msauthtest.Mia, msauthtest.Grace)
	for i := range r.processes {
		if err := syscall.Kill(r.processes[i], syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		r.processes[i] = r.backAgain(i, r.processes[i])
	}
	time.Sleep(time.Second)
	c.leaves(t, "all servers are restarted")
	time.Sleep(2 * time.Second) // nginx asks the last one again
	ada.everywhere("after restarts", "Ada Lindqvist")

	bruno := r.signIn(msauthtest.Bruno)
	other := r.signIn(msauthtest.Bruno)
	for _, p := range []*person{bruno, other} {
		p.everywhere("signed in twice", "Bruno Okafor")
	}
	if status, _, _, err := bruno.page(http.MethodPost, "/sign-out-everywhere"); err != nil || status != http.StatusSeeOther {
		t.Fatalf("signing out: status %d, %v", status, err)
	}
	time.Sleep(time.Second)
	bruno.everywhere("signed out", "")
	other.everywhere("signed out elsewhere", "")
	ada.everywhere("somebody else", "Ada Lindqvist")
	// A page that demands a sign-in signs in again without a question: the browser is still
	// signed in at the stand-in.
	other.client.CheckRedirect = nil
	if status, name, _, err := other.page(http.MethodGet, "/me"); err != nil || status != http.StatusOK || name != "Bruno Okafor" {
		t.Errorf("signed in again: status %d, %q, %v", status, name, err)
	}

	// The command that was printed finds nothing.
	check := exec.Command("sh", "-c", checkCommand.FindString(r.out.String()))
	check.Dir = "../.."
	if out, err := check.CombinedOutput(); err != nil || !strings.Contains(string(out), "msauth-check: OK, no errors") {
		t.Errorf("the check: %v\n%s", err, out)
	}
	// Each server measures for itself. In all there were six sign-ins, and Ada's tokens
	// were renewed.
	signIns, renewals := 0.0, 0.0
	for i, address := range r.metrics {
		text := scrape(t, address)
		if n := sum(t, text, "msauth_key_position"); n != 1 {
			t.Errorf("server %d has keys at the places %v, want one in the first:\n%s", i+1, n, text)
		}
		signIns += sum(t, text, "msauth_sign_ins_total")
		renewals += sum(t, text, "msauth_renewals_total")
	}
	if signIns < 2 || renewals < 1 { // since the servers were restarted
		t.Errorf("%v sign-ins and %v renewals were measured", signIns, renewals)
	}

	loop, err := exec.Command("sh", "-c", metricsCommand.FindString(r.out.String())).CombinedOutput()
	if strings.Count(string(loop), "127.0.0.1:") != 3 || !strings.Contains(string(loop), "\nmsauth_sign_ins_total{") {
		t.Errorf("the metrics: %v\n%s", err, loop)
	}

	// Whatever else ends is noticed and started again, and people can sign in.
	for _, name := range []string{"redis", "stand-in", "nginx"} {
		if err := syscall.Kill(r.others[name], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		r.runsAgain(name, r.others[name])
	}
	time.Sleep(time.Second)
	mia := r.signIn(msauthtest.Mia)
	mia.everywhere("signed in after that", "Mia Müller")

	// What operators ask is not for everybody.
	for _, path := range []string{"/healthz", "/readyz", "/startupz", "/metrics", "/debug/stats"} {
		if status, _, _, err := ada.page(http.MethodGet, path); err != nil || status != http.StatusNotFound {
			t.Errorf("%s: status %d, %v", path, status, err)
		}
	}

	// Nobody else can use its directory at the same time. Later somebody can, and the
	// registration is the same.
	if err := run(t.Context(), []string{"-port", "0", "-dir", dir}, io.Discard); err == nil || !strings.Contains(err.Error(), "another run uses "+dir) {
		t.Errorf("a second run in the directory: %v", err)
	}
	r.end()
	again := start(t, dir)
	before, now := clientLine.FindStringSubmatch(r.out.String())[1], clientLine.FindStringSubmatch(again.out.String())[1]
	if before != now || again.secret != r.secret {
		t.Errorf("the client ID was %s and is %s", before, now)
	}
	again.signIn(msauthtest.Ada).everywhere("the second time", "Ada Lindqvist")
	again.end()
}

// What keeps it from starting is said, with what to do, before anything is built.
func TestRefusals(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	six, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer six.Close()
	_, portSix, _ := net.SplitHostPort(six.Addr().String())
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-port", port}, "another program uses port " + port + ". Choose another one, for example: -port "},
		{[]string{"-port", portSix}, "another program uses port " + portSix + ". "},
		{[]string{"-port", "https"}, `-port is "https": must be a number from 0 to 65535`},
		{[]string{"-port", "65536"}, "must be a number"},
		{[]string{"-dir", file}, "not a directory"},
		{[]string{"-lifetime", "-5s"}, "-lifetime must not be negative"},
		{[]string{"9443"}, `unexpected argument "9443"`},
	} {
		var out bytes.Buffer
		err := run(t.Context(), tt.args, &out)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v, want %q in it", tt.args, err, tt.want)
			continue
		}
		if strings.Contains(err.Error(), "\n") || strings.Contains(out.String(), "Building") {
			t.Errorf("%q: more is said, or done, than the cause needs: %v\n%s", tt.args, err, out.String())
		}
		if _, other, ok := strings.Cut(err.Error(), "-port "); ok && strings.HasPrefix(err.Error(), "another") {
			if l, err := net.Listen("tcp", "127.0.0.1:"+other); err != nil {
				t.Errorf("%q: the port that is named: %v", tt.args, err)
			} else {
				l.Close()
			}
		}
	}
}
