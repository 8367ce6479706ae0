// Command soak runs the example for minutes under conditions that are worse
// than any day at work: tokens of five seconds, one renewal in ten going wrong
// at the provider, and a crowd of people who click all the time. It counts what
// must not happen and exits with status 1 if anything did:
//
//	go run ./e2e/soak -duration 5m
//
// A wrong sign-out is an answer that takes somebody who is signed in for
// nobody, or for somebody else. A 5xx is any such status, but for one that is
// counted apart: a page that needs an access token, asked for while the only
// token has expired and the provider has just refused another one. The example
// says then "you are still signed in, try again in a moment", which is the
// truth. Renewals that fail are tried again after 5 to 10 seconds; a token of an
// hour, which is renewed five minutes before its end, bridges that, a token of
// five seconds does not.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	random "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"example.com/msauth/msauthtest"
)

func main() {
	log.SetFlags(0)
	duration := flag.Duration("duration", 5*time.Minute, "how long people click")
	people := flag.Int("people", 24, "how many browsers there are")
	faults := flag.Float64("faults", 0.1, "share of token renewals that go wrong at the provider")
	life := flag.Duration("life", 5*time.Second, "life of an access token")
	verbose := flag.Bool("v", false, "show the log of the example")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ok, err := soak(ctx, *duration, *people, *faults, *life, *verbose)
	if err != nil {
		log.Fatal("soak: ", err)
	}
	if !ok {
		os.Exit(1)
	}
}

func soak(ctx context.Context, duration time.Duration, people int, faults float64, life time.Duration, verbose bool) (ok bool, err error) {
	ms := msauthtest.NewServer()
	defer ms.Close()
	site, stop, err := startExample(ctx, ms, verbose)
	if err != nil {
		return false, err
	}
	defer stop()

	c := &crowd{ms: ms, site: site.url, statuses: map[int]int{}}
	// What becomes of each renewal: more of them than there will be.
	plan := make([]string, 200_000)
	ms.Set(func(b *msauthtest.Behavior) {
		b.AccessTokenLifetime = life
		for i := range plan {
			var failure msauthtest.Failure
			if random.Float64() < faults {
				plan[i], failure = fault()
			}
			b.Fail[msauthtest.TokenRefresh] = append(b.Fail[msauthtest.TokenRefresh], failure)
		}
	})

	began := time.Now()
	until, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	memory := site.memory()
	var wg sync.WaitGroup
	for i := range people {
		wg.Go(func() { c.live(until, i) })
	}
	for tick := time.NewTicker(30 * time.Second); until.Err() == nil; {
		select {
		case <-until.Done():
			tick.Stop()
		case <-tick.C:
			log.Printf("%v: %s", time.Since(began).Round(time.Second), c.line())
		}
	}
	wg.Wait()
	took := time.Since(began)
	died := site.died()

	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.waits)
	quantile := func(q float64) time.Duration {
		if len(c.waits) == 0 {
			return 0
		}
		return c.waits[int(q*float64(len(c.waits)-1))].Round(100 * time.Microsecond)
	}
	renewals := ms.Count(msauthtest.TokenRefresh)
	injected, given := 0, map[string]int{}
	for _, name := range plan[:min(renewals, len(plan))] {
		if name != "" {
			injected++
			given[name]++
		}
	}
	fmt.Printf(`
%v, %d people, tokens of %v
requests            %d (%.0f a second), by status %v
  waited            half %v, 99 %% %v, longest %v
sign-ins            %d, sign-outs by people %d
renewals            %d, of which %d went wrong at the provider: %v
memory of the app   %s at the start, %s at the end

wrong sign-outs     %d
wrong person        %d
5xx                 %d
no answer           %d
(no token for now   %d of %d answers of pages that need one)
`, took.Round(time.Second), people, life,
		len(c.waits), float64(len(c.waits))/took.Seconds(), c.statuses,
		quantile(0.5), quantile(0.99), quantile(1),
		c.signIns, c.signOuts, renewals, injected, given, memory, site.memory(),
		c.wrongSignOuts, c.wrongPerson, c.failures, c.noAnswer, c.noToken, c.needToken)
	for _, detail := range c.details {
		fmt.Println(" ", detail)
	}
	if died != nil {
		fmt.Println("the example ended by itself:", died)
	}
	ok = c.wrongSignOuts == 0 && c.wrongPerson == 0 && c.failures == 0 && c.noAnswer == 0 && died == nil
	if faults > 0 && injected == 0 || renewals == 0 || c.signIns == 0 {
		fmt.Println("nothing was put to the test")
		ok = false
	}
	return ok, nil
}

// fault is one way for a renewal to go wrong, and its name.
func fault() (string, msauthtest.Failure) {
	cut := func(wait time.Duration) http.HandlerFunc {
		return func(http.ResponseWriter, *http.Request) {
			time.Sleep(wait)
			panic(http.ErrAbortHandler)
		}
	}
	switch random.IntN(5) {
	case 0:
		return "500", msauthtest.Failure{Status: 500}
	case 1:
		return "cut", msauthtest.Failure{Handler: cut(0)}
	case 2:
		return "silent for 2s, then cut", msauthtest.Failure{Handler: cut(2 * time.Second)}
	case 3:
		header := http.Header{}
		if wait := random.IntN(4); wait > 0 {
			header.Set("Retry-After", fmt.Sprint(wait))
		}
		return "429", msauthtest.Failure{Status: 429, Header: header}
	}
	return "reply lost", msauthtest.Failure{LoseReply: true} // renewed, and nobody told
}

// An example is the app as a process.
type example struct {
	url    string
	cmd    *exec.Cmd
	exited chan error
}

func startExample(ctx context.Context, ms *msauthtest.Server, verbose bool) (*example, func(), error) {
	dir, err := os.MkdirTemp("", "soak")
	if err != nil {
		return nil, nil, err
	}
	binary := filepath.Join(dir, "example")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "example.com/msauth/example")
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return nil, nil, fmt.Errorf("building the example: %w\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
	key := make([]byte, 32)
	rand.Read(key)

	e := &example{url: "http://localhost:" + port, exited: make(chan error, 1)}
	e.cmd = exec.Command(binary)
	e.cmd.Env = append(os.Environ(),
		"PORT="+port, "MSAUTH_KEYS="+base64.StdEncoding.EncodeToString(key),
		"AZURE_CLIENT_ID="+ms.ClientID, "AZURE_CLIENT_SECRET="+ms.ClientSecret, "AZURE_AUTHORITY_HOST="+ms.URL,
		"AZURE_TENANT_ID=", "MSAUTH_BASE_URL=", "MSAUTH_ISSUER=", "MSAUTH_SCOPES=")
	if verbose {
		e.cmd.Stdout, e.cmd.Stderr = os.Stderr, os.Stderr
	}
	if err := e.cmd.Start(); err != nil {
		os.RemoveAll(dir)
		return nil, nil, err
	}
	go func() { e.exited <- e.cmd.Wait() }()
	stop := func() {
		e.cmd.Process.Kill()
		<-e.exited
		os.RemoveAll(dir)
	}
	for range 100 {
		if res, err := http.Get(e.url + "/healthz"); err == nil {
			res.Body.Close()
			return e, stop, nil
		}
		select {
		case err := <-e.exited:
			e.exited <- err
			stop()
			return nil, nil, fmt.Errorf("the example does not start (try -v): %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
	stop()
	return nil, nil, errors.New("the example does not answer")
}

// died tells whether the process has ended.
func (e *example) died() error {
	select {
	case err := <-e.exited:
		if err == nil {
			err = errors.New("status 0")
		}
		e.exited <- err
		return err
	default:
		return nil
	}
}

// memory is the process's resident memory, where the system tells.
func (e *example) memory() string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid))
	if err != nil {
		return "unknown"
	}
	for text := range strings.Lines(string(status)) {
		if value, ok := strings.CutPrefix(text, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// A crowd is people who click, and what is known of them all.
type crowd struct {
	ms   *msauthtest.Server
	site string

	signing sync.Mutex // one at a time picks who signs in

	mu       sync.Mutex
	waits    []time.Duration
	statuses map[int]int
	details  []string

	signIns, signOuts, needToken, noToken          int
	wrongSignOuts, wrongPerson, failures, noAnswer int
}

func (c *crowd) line() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Sprintf("%d requests, %d renewals, %d wrong sign-outs, %d wrong person, %d 5xx, %d without answer",
		len(c.waits), c.ms.Count(msauthtest.TokenRefresh), c.wrongSignOuts, c.wrongPerson, c.failures, c.noAnswer)
}

// wrong counts what must not happen, and keeps the first few for the reader.
func (c *crowd) wrong(count *int, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*count++
	if len(c.details) < 20 {
		c.details = append(c.details, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

var visitors = []struct{ signIn, name string }{
	{msauthtest.Ada, "Ada Lindqvist"}, {msauthtest.Bruno, "Bruno Okafor"}, {msauthtest.Mia, "Mia Müller"},
}

// A browser keeps the cookies of localhost, where Go's own jar would not send
// them: it takes Secure to need https even there, browsers do not.
type browser struct {
	crowd  *crowd
	client *http.Client
	who    int

	mu  sync.Mutex
	jar map[string]string
}

// live is one person's day: sign in, click, sometimes several pages at once,
// sometimes sign out and in again.
func (c *crowd) live(ctx context.Context, i int) {
	b := &browser{crowd: c, who: i % len(visitors), jar: map[string]string{}, client: &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	defer b.client.CloseIdleConnections()
	if !b.signIn(ctx) {
		return
	}
	pages := []struct {
		path      string
		needToken bool
	}{{"/", false}, {"/session", false}, {"/session", false}, {"/profile", true}, {"/files", true}, {"/api/me", true}, {"/profile/photo", true}}
	for ctx.Err() == nil {
		at := 1
		if random.IntN(5) == 0 {
			at = 2 + random.IntN(4) // a page with its scripts, or tabs restored
		}
		var wg sync.WaitGroup
		for range at {
			page := pages[random.IntN(len(pages))]
			wg.Go(func() { b.click(ctx, page.path, page.needToken) })
		}
		wg.Wait()
		if random.IntN(200) == 0 {
			b.signOut(ctx)
			if !b.signIn(ctx) {
				return
			}
		}
		pause := time.Duration(50+random.IntN(500)) * time.Millisecond
		if random.IntN(100) == 0 {
			pause = 8 * time.Second // a cup of coffee, longer than a token
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// click opens a page and looks whether it is this person's.
func (b *browser) click(ctx context.Context, path string, needToken bool) {
	c, name := b.crowd, visitors[b.who].name
	status, location, body, err := b.do(ctx, http.MethodGet, c.site+path)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		c.wrong(&c.noAnswer, "%s: %v", path, err)
		return
	}
	if needToken {
		c.mu.Lock()
		c.needToken++
		c.mu.Unlock()
	}
	switch {
	case status == http.StatusServiceUnavailable && needToken && strings.Contains(body, "You are still signed in."):
		c.mu.Lock()
		c.noToken++
		c.mu.Unlock()
	case status >= 500:
		c.wrong(&c.failures, "%s: status %d: %.200q", path, status, body)
	case status == http.StatusUnauthorized, status >= 300 && status < 400:
		c.wrong(&c.wrongSignOuts, "%s as %s: status %d to %.60q", path, name, status, location)
	case path == "/" && strings.Contains(body, "Sign in") && !strings.Contains(body, name):
		c.wrong(&c.wrongSignOuts, "%s as %s: the page of a stranger", path, name)
	default:
		for i, other := range visitors {
			if i != b.who && strings.Contains(body, other.name) {
				c.wrong(&c.wrongPerson, "%s as %s: the page of %s", path, name, other.name)
			}
		}
		if path == "/session" && !strings.Contains(body, name) {
			c.wrong(&c.wrongPerson, "%s as %s: nobody's page: %.300q", path, name, body)
		}
	}
}

func (b *browser) signIn(ctx context.Context) bool {
	c := b.crowd
	fail := func(step string, status int, err error) bool {
		if ctx.Err() == nil {
			c.wrong(&c.failures, "signing in as %s, %s: status %d, %v", visitors[b.who].name, step, status, err)
		}
		return false
	}
	status, location, _, err := b.do(ctx, http.MethodGet, c.site+"/auth/login?return_to=%2Fsession")
	if status != http.StatusSeeOther {
		return fail("login", status, err)
	}
	c.signing.Lock()
	c.ms.Set(func(s *msauthtest.Behavior) { s.AutoSignIn = visitors[b.who].signIn })
	status, location, _, err = b.do(ctx, http.MethodGet, location)
	c.signing.Unlock()
	if !strings.HasPrefix(location, c.site+"/auth/callback?") {
		return fail("at the provider", status, err)
	}
	if status, location, _, err = b.do(ctx, http.MethodGet, location); status != http.StatusSeeOther || location != "/session" {
		return fail("callback", status, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signIns++
	return true
}

func (b *browser) signOut(ctx context.Context) {
	c := b.crowd
	status, location, _, err := b.do(ctx, http.MethodPost, c.site+"/auth/logout")
	if ctx.Err() != nil {
		return
	}
	if status != http.StatusSeeOther || !strings.HasPrefix(location, c.ms.URL) {
		c.wrong(&c.failures, "signing out: status %d to %.60q, %v", status, location, err)
	}
	status, _, body, err := b.do(ctx, http.MethodGet, c.site+"/session")
	if ctx.Err() == nil && status != http.StatusSeeOther {
		c.wrong(&c.wrongPerson, "signed out, yet /session: status %d, %v, %.100q", status, err, body)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signOuts++
}

func (b *browser) do(ctx context.Context, method, target string) (status int, location, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return 0, "", "", err
	}
	c := b.crowd
	ours := strings.HasPrefix(target, c.site)
	if strings.HasPrefix(target, c.site+"/api/") {
		req.Header.Set("Sec-Fetch-Mode", "cors")
		req.Header.Set("Sec-Fetch-Dest", "empty")
		req.Header.Set("Accept", "application/json")
	} else {
		req.Header.Set("Sec-Fetch-Mode", "navigate")
		req.Header.Set("Sec-Fetch-Dest", "document")
		req.Header.Set("Accept", "text/html")
	}
	if ours {
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		b.mu.Lock()
		for name, value := range b.jar {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		b.mu.Unlock()
	}
	began := time.Now()
	res, err := b.client.Do(req)
	if err != nil {
		return 0, "", "", err
	}
	defer res.Body.Close()
	var text bytes.Buffer
	if _, err := io.Copy(&text, res.Body); err != nil {
		return 0, "", "", err
	}
	if ours {
		b.mu.Lock()
		for _, cookie := range res.Cookies() {
			if cookie.MaxAge < 0 {
				delete(b.jar, cookie.Name)
			} else {
				b.jar[cookie.Name] = cookie.Value
			}
		}
		b.mu.Unlock()
		c.mu.Lock()
		c.waits = append(c.waits, time.Since(began))
		c.statuses[res.StatusCode]++
		c.mu.Unlock()
	}
	return res.StatusCode, res.Header.Get("Location"), text.String(), nil
}
