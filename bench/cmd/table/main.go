// Command table measures ways to keep a Microsoft session side by side and
// prints one table of ratios and sizes. Everything is measured in turns, for
// several rounds, and the median counts: on a machine that does other things
// too, times drift, ratios less.
//
//	go run ./cmd/table            # about seven minutes
//	go run ./cmd/table -quick     # half a minute, rough
package main

import (
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/bench/contender"
	"example.com/msauth/bench/fixture"
)

var (
	quick  = flag.Bool("quick", false, "few and short rounds")
	seed   = flag.Uint64("seed", 1, "of the tokens")
	served = flag.String("serve", "", "serve one contender (for the command's own use)")
	redis  = flag.String("redis", "", "address of the Redis server (for the command's own use)")
)

func main() {
	testing.Init()
	flag.Parse()
	err := error(nil)
	if *served != "" {
		err = serve(*served, *redis, *seed)
	} else {
		err = table()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// A row is one contender and what was measured of it.
type row struct {
	*contender.Contender
	identity, token, save, page sample
	server                      *server
}

// A sample is one operation: nanoseconds of each round, and allocations.
type sample struct {
	ns     []float64
	allocs int64
}

func (s *sample) measure(op func()) {
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			op()
		}
	})
	s.ns = append(s.ns, float64(r.T.Nanoseconds())/float64(r.N))
	s.allocs = r.AllocsPerOp()
}

func median(list []float64) float64 {
	if len(list) == 0 {
		return 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/2]
}

func table() error {
	rounds, benchTime, requests := 7, "200ms", 20000
	if *quick {
		rounds, benchTime, requests = 3, "50ms", 5000
	}
	flag.Set("test.benchtime", benchTime)
	address, stop, err := contender.StartRedis()
	if err != nil {
		return err
	}
	defer stop()

	fmt.Printf("%s, %s/%s, %d processors; %d rounds in turns, medians; seed %d\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds, *seed)
	if err := sizes(); err != nil {
		return err
	}
	for _, kind := range []fixture.Kind{fixture.Work, fixture.Personal} {
		rows, err := newRows(fixture.New(kind, *seed, 0), address)
		if err != nil {
			return err
		}
		for i := range rounds {
			progress("%s: round %d of %d", kind, i+1, rounds)
			for _, r := range rows {
				if err := r.measure(); err != nil {
					return err
				}
			}
		}
		progress("")
		printTimes(kind, rows)
		for _, r := range rows {
			r.Close()
		}
	}
	return endToEnd(address, rounds, requests)
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}

func newRows(a *fixture.Account, redis string) ([]*row, error) {
	all, err := contender.All(a, redis)
	rows := make([]*row, len(all))
	for i, c := range all {
		rows[i] = &row{Contender: c}
	}
	return rows, err
}

// measure adds one round to each of a row's samples.
func (r *row) measure() (err error) {
	request := r.Request()
	fail := func(e error) {
		if e != nil && err == nil {
			err = fmt.Errorf("%s: %w", r.Name, e)
		}
	}
	runtime.GC()
	r.identity.measure(func() { _, e := r.Identity(request); fail(e) })
	r.token.measure(func() { _, e := r.Token(request); fail(e) })
	page := r.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	r.page.measure(func() {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, request)
		if w.Code != http.StatusNoContent {
			fail(fmt.Errorf("status %d", w.Code))
		}
	})
	if r.Save != nil {
		request := r.Request()
		out := httptest.NewRecorder()
		fail(r.Save(out, request)) // whatever has to be made ready
		r.save.measure(func() {
			clear(out.Header())
			fail(r.Save(out, request))
		})
	}
	return err
}

// saved is what Save costs without the reading before it.
func (r *row) saved() (ns float64, allocs int64) {
	if r.SaveReads {
		return median(r.save.ns) - median(r.token.ns), r.save.allocs - r.token.allocs
	}
	return median(r.save.ns), r.save.allocs
}

func printTimes(kind fixture.Kind, rows []*row) {
	fmt.Printf("\n%s: microseconds and allocations; x is the ratio to the floor\n\n", kind)
	fmt.Println(cells("", "Cookie bytes", "cookies", "HTTP/2 block", "LOAD identity", "x", "LOAD token", "x", "SAVE", "a page", "x"))
	fmt.Println(cells("---", "---", "---", "---", "---", "---", "---", "---", "---", "---", "---"))
	floor := rows[1]
	ratio := func(s, f sample) string { return fmt.Sprintf("%.2f", median(s.ns)/median(f.ns)) }
	show := func(ns float64, allocs int64) string {
		if ns <= 0 {
			return "" // nothing to measure
		}
		return fmt.Sprintf("%.1f (%d)", ns/1000, allocs)
	}
	for _, r := range rows {
		bytes := fmt.Sprint(len(r.Header()))
		if r.Dropped() {
			bytes += " (!)"
		}
		ns, allocs := r.saved()
		fmt.Println(cells(r.Name, bytes, len(r.Cookies), contender.HeaderBlock(r.Contender),
			show(median(r.identity.ns), r.identity.allocs), ratio(r.identity, floor.identity),
			show(median(r.token.ns), r.token.allocs), ratio(r.token, floor.token),
			show(ns, allocs),
			show(median(r.page.ns), r.page.allocs), ratio(r.page, floor.page)))
	}
	fmt.Println("\n(!) a browser drops it: name and value of one cookie take more than 4096 bytes")
}

// sizes prints the bytes of this module's cookies for several seeds.
func sizes() error {
	fmt.Println(cells("Cookie bytes of msauth", "seeds", "median", "largest", "cookies", "HTTP/2 block"))
	fmt.Println(cells("---", "---", "---", "---", "---", "---"))
	const seeds = 9
	for _, f := range []struct {
		name   string
		kind   fixture.Kind
		hint   int
		budget int
	}{
		{"F1, work account", fixture.Work, 0, 0},
		{"F1 with a login_hint of 120", fixture.Work, 120, 0},
		{"F1, claims that no dictionary has seen", fixture.Unseen, 0, 0},
		{"F2, personal account", fixture.Personal, 0, 0},
		{"F2 with a login_hint of 120", fixture.Personal, 120, 0},
		{"F3, 200 groups (access token left out)", fixture.Groups, 0, 0},
		{"F3, CookieBudget 7168", fixture.Groups, 0, 7168},
	} {
		var bytes, blocks []float64
		cookies := 0
		for s := range uint64(seeds) {
			c, err := contender.NewMsauth(fixture.New(f.kind, s, f.hint), func(cfg *msauth.Config) { cfg.CookieBudget = f.budget })
			if err != nil {
				return err
			}
			bytes = append(bytes, float64(len(c.Header())))
			blocks = append(blocks, float64(contender.HeaderBlock(c)))
			cookies = max(cookies, len(c.Cookies))
		}
		fmt.Println(cells(f.name, seeds, median(bytes), slices.Max(bytes), cookies, median(blocks)))
	}
	return nil
}

// endToEnd prints requests per second over loopback.
func endToEnd(redis string, rounds, requests int) error {
	const connections = 16
	all, err := contender.All(fixture.New(fixture.Work, *seed, 0), redis)
	if err != nil {
		return err
	}
	all = append(all, contender.NewNothing())
	var servers []*server
	defer func() {
		for _, s := range servers {
			s.stop()
		}
	}()
	for _, c := range all {
		c.Close()
		s, err := startServer(c.Name, redis, *seed)
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	runtime.GOMAXPROCS(1) // one processor for the load, one for the server
	for i := range rounds + 1 {
		progress("end to end: round %d of %d", i, rounds)
		for _, s := range servers {
			if err := s.measure(connections, requests); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if i == 0 { // to warm up
				s.perSecond, s.cpu = nil, nil
			}
		}
	}
	progress("")
	fmt.Printf("\nEnd to end, F1: HTTP/1.1 over loopback, %d connections, a server with one processor; %d requests a round\n\n", connections, requests)
	fmt.Println(cells("", "requests/s", "processor us/request", "x msauth", "x no cookie"))
	fmt.Println(cells("---", "---", "---", "---", "---"))
	ours, none := median(servers[0].perSecond), median(servers[len(servers)-1].perSecond)
	for _, s := range servers {
		fmt.Println(cells(s.name, fmt.Sprintf("%.0f", median(s.perSecond)), fmt.Sprintf("%.1f", median(s.cpu)),
			fmt.Sprintf("%.2f", median(s.perSecond)/ours), fmt.Sprintf("%.2f", median(s.perSecond)/none)))
	}
	return nil
}

// cells joins the columns of a row of a Markdown table.
func cells(columns ...any) string {
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = fmt.Sprint(c)
	}
	return "| " + strings.Join(texts, " | ") + " |"
}
