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
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
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
	fmt.Printf("\n%v, %d people, tokens of %v\n", took.Round(time.Second), people, life)
	renewals, injected := c.report(took, plan, memory+" at the start, "+site.memory()+" at the end")
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

// report prints what was counted, after the crowd has gone. It returns how many
// renewals there were, and how many of them went wrong as planned.
func (c *crowd) report(took time.Duration, plan []string, memory string) (renewals, injected int) {
	slices.Sort(c.waits)
	quantile := func(q float64) time.Duration {
		if len(c.waits) == 0 {
			return 0
		}
		return c.waits[int(q*float64(len(c.waits)-1))].Round(100 * time.Microsecond)
	}
	renewals = c.ms.Count(msauthtest.TokenRefresh)
	given := map[string]int{}
	for _, name := range plan[:min(renewals, len(plan))] {
		if name != "" {
			injected++
			given[name]++
		}
	}
	fmt.Printf(`requests            %d (%.0f a second), by status %v
  waited            half %v, 99 %% %v, longest %v
sign-ins            %d, sign-outs by people %d
renewals            %d, of which %d went wrong at the provider: %v
memory of the app   %s

wrong sign-outs     %d
wrong person        %d
5xx                 %d
no answer           %d
(no token for now   %d of %d answers of pages that need one)
`, len(c.waits), float64(len(c.waits))/took.Seconds(), c.statuses,
		quantile(0.5), quantile(0.99), quantile(1),
		c.signIns, c.signOuts, renewals, injected, given, memory,
		c.wrongSignOuts, c.wrongPerson, c.failures, c.noAnswer, c.noToken, c.needToken)
	for _, detail := range c.details {
		fmt.Println(" ", detail)
	}
	return renewals, injected
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
