//go:build unix

package redisshared_test

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared"
	"example.com/msauth/redisshared/redistest"
)

// methods call each method, with all that waits waiting for a minute.
var methods = map[string]func(ctx context.Context, s *redisshared.Shared) error{
	"Append": func(ctx context.Context, s *redisshared.Shared) error {
		return second(s.Append(ctx, "log", []byte("entry"), time.Minute))
	},
	"Read": func(ctx context.Context, s *redisshared.Shared) error {
		return second(s.Read(ctx, "log", 1<<62, time.Minute))
	},
	"Read that does not wait": func(ctx context.Context, s *redisshared.Shared) error {
		return second(s.Read(ctx, "log", 0, 0))
	},
	"Get": func(ctx context.Context, s *redisshared.Shared) error { return second(s.Get(ctx, "key")) },
	"Put": func(ctx context.Context, s *redisshared.Shared) error {
		return s.Put(ctx, "key", []byte("value"), time.Minute)
	},
	"Swap": func(ctx context.Context, s *redisshared.Shared) error {
		return second(s.Swap(ctx, "swapped", nil, []byte("value"), time.Minute))
	},
	"Wait": func(ctx context.Context, s *redisshared.Shared) error {
		return second(s.Wait(ctx, "none", nil, time.Minute))
	},
}

// However the client is set up, and whether its connections are there already, a
// server that stands still makes nobody wait beyond the end of his context.
func TestServerStandsStill(t *testing.T) {
	notQuick(t)
	t.Parallel()
	for name, options := range map[string]redis.Options{
		"by default":             {},
		"without timeouts":       {ReadTimeout: -1, WriteTimeout: -1},
		"with context timeouts":  {ContextTimeoutEnabled: true},
		"with a small pool":      {PoolSize: 1},
		"with long dialing":      {DialTimeout: time.Minute, ReadTimeout: time.Minute},
		"without maintenance":    {Protocol: 2},
		"with connections ready": {MinIdleConns: 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := redistest.Start(t)
			options.Addr = server.Addr
			c := redis.NewClient(&options)
			defer c.Close()
			used := open(t, c, "app")
			useAll(t, used)
			fresh := redis.NewClient(&options)
			defer fresh.Close()
			server.Stop()
			for _, s := range []*redisshared.Shared{used, open(t, fresh, "app")} {
				standsStill(t, s)
			}
			server.Cont()
			redistest.Eventually(t, "all works again", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				return tryAll(ctx, used) == nil
			})
		})
	}
}

// standsStill calls all methods at once, half of them with a deadline, and half of
// them cancelled.
func standsStill(t *testing.T, s *redisshared.Shared) {
	t.Helper()
	var group sync.WaitGroup
	for name, call := range methods {
		try := func(what string, want error, make func(ctx context.Context) (context.Context, context.CancelFunc)) {
			group.Go(func() {
				begin := time.Now()
				ctx, cancel := make(t.Context())
				defer cancel()
				if err := call(ctx, s); !errors.Is(err, want) {
					t.Errorf("%s %s: %v, want %v", name, what, err, want)
				}
				if took := time.Since(begin); took > 1500*time.Millisecond {
					t.Errorf("%s %s has returned after %v", name, what, took)
				}
			})
		}
		try("with a deadline", context.DeadlineExceeded, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 300*time.Millisecond)
		})
		try("that is cancelled", context.Canceled, func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(300*time.Millisecond, cancel)
			return ctx, cancel
		})
	}
	group.Wait()
}

// What is left behind when contexts end is bounded by the client's pool.
func TestFewAreLeftBehind(t *testing.T) {
	notQuick(t)
	server := redistest.Start(t) // not parallel: it counts goroutines
	c := redis.NewClient(&redis.Options{Addr: server.Addr, PoolSize: 5, ReadTimeout: time.Minute})
	defer c.Close()
	s := open(t, c, "app")
	useAll(t, s)
	before := runtime.NumGoroutine()
	server.Stop()
	var group sync.WaitGroup
	for range 500 {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			if _, err := s.Get(ctx, "key"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Get: %v", err)
			}
		})
	}
	group.Wait()
	var after int
	for range 20 {
		if after = runtime.NumGoroutine(); after < before+20 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("%d goroutines, before it were %d", after, before)
}

// A server that is lost and comes back empty is used again, and its scripts are sent
// again.
func TestServerComesBackEmpty(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, client(t, server), "app")
	before, err := s.Append(t.Context(), "log", []byte("entry"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	told(t, s)
	server.Kill()
	var group sync.WaitGroup
	for name, call := range methods {
		group.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := call(ctx, s); err == nil {
				t.Errorf("%s succeeds without a server", name)
			}
		})
	}
	group.Wait()
	server.Restart()
	redistest.Eventually(t, "all works again", func() bool { return tryAll(t.Context(), s) == nil })
	after, err := s.Append(t.Context(), "log", []byte("entry"), time.Hour)
	if err != nil || after <= before {
		t.Errorf("position %d comes after %d, %v", after, before, err)
	}
	redistest.Eventually(t, "somebody is subscribed", func() bool {
		told(t, s)
		return subscribed(t, client(t, server), "app:changed") == 1
	})
}

// Reads and Waits that wait end with an error, and not with an answer, when the
// server is lost meanwhile.
func TestServerIsLostMeanwhile(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, client(t, server), "app")
	useAll(t, s)
	var group sync.WaitGroup
	for _, name := range []string{"Read", "Wait"} {
		group.Go(func() {
			begin := time.Now()
			if err := methods[name](t.Context(), s); err == nil || time.Since(begin) > 20*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begin))
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	server.Kill()
	group.Wait()
}

// When the answer to a write is lost, it is not sent again by itself: what somebody
// else has done since would be undone, or found to be the other's.
func TestWritesAreSentOnce(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	useAll(t, open(t, admin, "app")) // scripts are known
	proxy := newDeafProxy(t, server.Addr)
	for name, counted := range map[string]string{"Append": "evalsha", "Swap": "evalsha", "Put": "set"} {
		c := redis.NewClient(&redis.Options{Addr: proxy.addr})
		s := open(t, c, "app")
		if _, err := s.Get(t.Context(), "key"); err != nil { // makes the connection
			t.Fatal(err)
		}
		before := calls(t, admin)
		proxy.deaf.Store(true)
		err := methods[name](t.Context(), s)
		if err == nil {
			t.Errorf("%s succeeds without an answer", name)
		}
		if _, err := s.Get(t.Context(), "key"); err != nil {
			t.Errorf("Get afterwards: %v", err)
		}
		if n := calls(t, admin)[counted] - before[counted]; n != 1 {
			t.Errorf("%s was sent %d times, want once", name, n)
		}
		_ = c.Close()
	}
}

// A deafProxy passes all on to a server, and the answers back. When it is deaf
// it ends a connection in place of the next answer, and hears again.
type deafProxy struct {
	addr string
	deaf atomic.Bool
}

func newDeafProxy(t *testing.T, server string) *deafProxy {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	p := &deafProxy{addr: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(conn, server)
		}
	}()
	return p
}

func (p *deafProxy) serve(conn net.Conn, server string) {
	defer conn.Close()
	to, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(to, conn)
		_ = to.Close()
	}()
	buffer := make([]byte, 1<<16)
	for {
		n, err := to.Read(buffer)
		if err != nil || p.deaf.CompareAndSwap(true, false) {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// A server that is full says so, where it does not evict.
func TestServerIsFull(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
	s := open(t, client(t, server), "app")
	for _, name := range []string{"Append", "Put", "Swap"} {
		if err := methods[name](t.Context(), s); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"Get", "Read that does not wait"} {
		if err := methods[name](t.Context(), s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
