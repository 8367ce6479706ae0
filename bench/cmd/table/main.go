// Command table measures ways to keep a Microsoft session side by side and
// prints one table of ratios and sizes. All contenders take turns within one
// process, for a few milliseconds each, and many times. What counts is the median
// over these rounds, and of a ratio the median of the ratios of each round: times
// drift on a machine that does other things too, those ratios hardly do.
//
//	go run ./cmd/table            # about five minutes
//	go run ./cmd/table -own       # without the peers: half a minute
//	go run ./cmd/table -own -heap 64
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/bench/contender"
	"example.com/msauth/bench/fixture"
)

var (
	own    = flag.Bool("own", false, "measure this module and the floor only")
	heap   = flag.Int("heap", 0, "megabytes of other memory in use, as a server has: the collector then runs less often")
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
	err                         error // of the last operation that failed
}

// A sample is one operation: nanoseconds of one in each round, and allocations.
type sample struct {
	op     func()
	times  int // of a turn
	ns     []float64
	allocs float64
}

const (
	rounds   = 41
	turn     = 10 * time.Millisecond // of one operation, in each round
	requests = 5_000                 // of a round from end to end
)

// prepare finds out how many operations make a turn.
func (s *sample) prepare(op func()) {
	s.op, s.times = op, 1
	for s.take() < turn && s.times < 1<<20 {
		s.times *= 2
	}
	s.allocs = testing.AllocsPerRun(100, op)
}

// take runs one turn.
func (s *sample) take() time.Duration {
	began := time.Now()
	for range s.times {
		s.op()
	}
	return time.Since(began)
}

// measure adds one round.
func (s *sample) measure() {
	if s.op != nil {
		s.ns = append(s.ns, float64(s.take().Nanoseconds())/float64(s.times))
	}
}

// quartiles returns the median of a list, and the values that half of it lies
// between.
func quartiles(list []float64) (low, median, high float64) {
	if len(list) == 0 {
		return 0, 0, 0
	}
	list = slices.Sorted(slices.Values(list))
	return list[len(list)/4], list[len(list)/2], list[len(list)*3/4]
}

func median(list []float64) float64 {
	_, m, _ := quartiles(list)
	return m
}

func table() error {
	inUse := make([]byte, *heap<<20)
	defer runtime.KeepAlive(inUse)
	if *own {
		fmt.Printf("%s, %s/%s, %d processors; %d rounds in turns, medians and quartiles; seed %d\n\n",
			runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds, *seed)
		return times(contender.Own)
	}
	address, stop, err := contender.StartRedis()
	if err != nil {
		return err
	}
	defer stop()

	fmt.Printf("%s, %s/%s, %d processors; %d rounds in turns, medians and quartiles; seed %d\n\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), rounds, *seed)
	if err := sizes(); err != nil {
		return err
	}
	if err := times(func(a *fixture.Account) ([]*contender.Contender, error) { return contender.All(a, address) }); err != nil {
		return err
	}
	if err := endToEnd(address); err != nil {
		return err
	}
	return memory()
}

// memory prints what a process keeps of the sessions that it sees.
func memory() error {
	const sessions = 5000
	seen, signedOut, err := contender.Remembered(fixture.New(fixture.Work, *seed, 0), sessions)
	if err != nil {
		return err
	}
	fmt.Printf("\nMemory of the process for 100,000 sessions, from %d: %.1f MB for those that it has seen, %.1f MB for those signed out of\n",
		sessions, seen/10, signedOut/10)
	return nil
}

// times measures what the operations take, for each kind of account.
func times(of func(*fixture.Account) ([]*contender.Contender, error)) error {
	for _, kind := range []fixture.Kind{fixture.Work, fixture.Personal} {
		all, err := of(fixture.New(kind, *seed, 0))
		if err != nil {
			return err
		}
		var rows []*row
		for _, c := range all {
			r := &row{Contender: c}
			r.prepare()
			rows = append(rows, r)
		}
		for i := range rounds {
			progress("%s: round %d of %d", kind, i+1, rounds)
			for _, sample := range []func(*row) *sample{
				func(r *row) *sample { return &r.identity }, func(r *row) *sample { return &r.token },
				func(r *row) *sample { return &r.page }, func(r *row) *sample { return &r.save },
			} {
				runtime.GC()
				for _, r := range rows {
					sample(r).measure()
				}
			}
		}
		progress("")
		for _, r := range rows {
			if r.Close(); r.err != nil {
				return fmt.Errorf("%s: %w", r.Name, r.err)
			}
		}
		printTimes(kind, rows)
	}
	return nil
}

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "\r\033[K"+format, args...)
}

// prepare makes the operations ready.
func (r *row) prepare() {
	request := r.Request()
	fail := func(err error) {
		if err != nil {
			r.err = err
		}
	}
	r.identity.prepare(func() { _, err := r.Identity(request); fail(err) })
	r.token.prepare(func() { _, err := r.Token(request); fail(err) })
	page := r.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	out := &answer{header: http.Header{}}
	r.page.prepare(func() {
		clear(out.header)
		if page.ServeHTTP(out, request); out.status != http.StatusNoContent {
			fail(fmt.Errorf("status %d", out.status))
		}
	})
	if r.Save != nil {
		request := r.Request()
		out := &answer{header: http.Header{}}
		fail(r.Save(out, request)) // whatever has to be made ready
		r.save.prepare(func() {
			clear(out.header)
			fail(r.Save(out, request))
		})
	}
}

// An answer is a ResponseWriter that is used again and again, so that only what
// the contenders themselves allocate is counted.
type answer struct {
	header http.Header
	status int
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) Write(b []byte) (int, error) { return len(b), nil }
func (a *answer) WriteHeader(status int)      { a.status = status }

// saved is what Save costs without the reading before it.
func (r *row) saved() (ns, allocs float64) {
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
	ratio := func(s, f sample) string {
		var list []float64
		for i := range s.ns {
			list = append(list, s.ns[i]/f.ns[i])
		}
		low, middle, high := quartiles(list)
		return fmt.Sprintf("%.2f (%.2f to %.2f)", middle, low, high)
	}
	show := func(ns, allocs float64) string {
		if ns <= 0 {
			return "" // nothing to measure
		}
		return fmt.Sprintf("%.1f (%.0f)", ns/1000, allocs)
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
	for _, r := range rows[1:] {
		if strings.HasPrefix(r.Name, rows[0].Name) {
			fmt.Printf("\n%s: a page takes %s times that of %s\n", r.Name, ratio(r.page, rows[0].page), rows[0].Name)
		}
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
func endToEnd(redis string) error {
	const connections, rounds = 16, 21
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
				s.perSecond, s.cpu, s.gc = nil, nil, nil
			}
		}
	}
	progress("")
	fmt.Printf("\nEnd to end, F1: HTTP/1.1 over loopback, %d connections, a server with one processor; %d requests a round\n\n", connections, requests)
	fmt.Println(cells("", "requests/s", "processor us/request", "of them GC", "x msauth", "x no cookie"))
	fmt.Println(cells("---", "---", "---", "---", "---", "---"))
	ours, none := median(servers[0].perSecond), median(servers[len(servers)-1].perSecond)
	for _, s := range servers {
		fmt.Println(cells(s.name, fmt.Sprintf("%.0f", median(s.perSecond)), fmt.Sprintf("%.1f", median(s.cpu)), fmt.Sprintf("%.0f %%", 100*median(s.gc)),
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
