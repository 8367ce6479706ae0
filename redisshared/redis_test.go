//go:build unix

package redisshared_test

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared"
	"example.com/msauth/redisshared/redistest"
)

// sent is a hook of a client that notes its commands.
type sent struct {
	mu       sync.Mutex
	commands []string
}

func (s *sent) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *sent) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if name := cmd.Name(); name != "hello" && name != "client" { // which make a connection
			s.mu.Lock()
			s.commands = append(s.commands, name)
			s.mu.Unlock()
		}
		return next(ctx, cmd)
	}
}

func (s *sent) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next // only connections are made so; the server counts all commands
}

func (s *sent) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.commands, " ")
	s.commands = nil
	return all
}

// calls are how many commands of clients a server has had, without those that are
// sent with connections, and without those that scripts call.
func calls(t *testing.T, admin *redis.Client) map[string]int {
	t.Helper()
	stats, err := admin.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]int{}
	for name, stat := range stats["Commandstats"] {
		name = strings.TrimPrefix(name, "cmdstat_")
		stat, _, _ = strings.Cut(strings.TrimPrefix(stat, "calls="), ",")
		n, err := strconv.Atoi(stat)
		if err != nil {
			t.Fatal(err)
		}
		switch name {
		case "evalsha", "eval", "xread", "get", "set", "xrange", "exists", "pttl", "watch", "multi":
			found[name] = n
		}
	}
	return found
}

// Each call of a method is one command, as the client sees it and as the server
// does.
func TestOneCommandEach(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	c := client(t, server)
	hook := &sent{}
	c.AddHook(hook)
	s := open(t, c, "app")
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	all := func() { // also makes the scripts known, and the connections
		must(second(s.Append(ctx, "log", []byte("entry"), time.Hour)))
		must(second(s.Swap(ctx, "swapped", nil, []byte("value"), time.Hour)))
		must(s.Put(ctx, "key", []byte("value"), time.Hour))
		must(second(s.Wait(ctx, "key", nil, time.Hour)))
	}
	all()
	if got, want := hook.take(), "evalsha eval evalsha eval set get"; got != want {
		t.Errorf("at first %s were sent, want %s", got, want)
	}
	for _, c := range []struct {
		method, command string
		call            func() error
	}{
		{"Append", "evalsha", func() error { return second(s.Append(ctx, "log", []byte("entry"), time.Hour)) }},
		{"Read", "xread", func() error { return second(s.Read(ctx, "log", 0, time.Hour)) }},
		{"Read of nothing", "xread", func() error { return second(s.Read(ctx, "none", 0, 0)) }},
		{"Read that waits", "xread", func() error { return second(s.Read(ctx, "none", 0, 300*time.Millisecond)) }},
		{"Get", "get", func() error { return second(s.Get(ctx, "key")) }},
		{"Put", "set", func() error { return s.Put(ctx, "key", []byte("value"), time.Hour) }},
		{"Swap", "evalsha", func() error { return second(s.Swap(ctx, "key", nil, []byte("value"), time.Hour)) }},
		{"Swap that replaces", "evalsha", func() error { return second(s.Swap(ctx, "key", []byte("value"), nil, 0)) }},
		{"Wait", "get", func() error { return second(s.Wait(ctx, "key", []byte("value"), time.Hour)) }},
	} {
		hook.take()
		before := calls(t, admin)
		must(c.call())
		after := calls(t, admin)
		if got := hook.take(); got != c.command {
			t.Errorf("%s: the client has sent %q, want %q", c.method, got, c.command)
		}
		for name := range after {
			want := 0
			if name == c.command {
				want = 1
			}
			inScript := c.command == "evalsha" && (name == "get" || name == "set" || name == "exists")
			if got := after[name] - before[name]; got != want && !inScript {
				t.Errorf("%s: the server has had %d times %s, want %d", c.method, got, name, want)
			}
		}
	}
}

// What is in Redis is what the package comment says, and all of it ends.
func TestKeys(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "my:app")
	ctx := t.Context()
	position, err := s.Append(ctx, "log", []byte("entry"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "put", []byte("value"), 2*time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Swap(ctx, "swapped", nil, []byte("value"), 3*time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(ctx, "gone", []byte("value"), time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(ctx, "gone", []byte("entry"), time.Nanosecond); err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Millisecond)
	want := map[string]time.Duration{"my:app:l:log": time.Hour, "my:app:v:put": 2 * time.Hour, "my:app:v:swapped": 3 * time.Hour}
	got := map[string]time.Duration{}
	for _, key := range admin.Keys(ctx, "*").Val() {
		got[key] = (admin.PTTL(ctx, key).Val() + time.Minute).Truncate(time.Hour)
	}
	if !maps.Equal(got, want) {
		t.Errorf("there is %v, want %v", got, want)
	}
	stream, err := admin.XRange(ctx, "my:app:l:log", redisshared.IDOf(position), redisshared.IDOf(position)).Result()
	if err != nil || len(stream) != 1 || stream[0].Values["e"] != "entry" || stream[0].Values["l"] != "3600000" {
		t.Errorf("the stream has %v, %v", stream, err)
	}
}

// A log loses what is over, keeps what is not, and ends with the longest life.
func TestLogIsTrimmedByAge(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "app")
	ctx := t.Context()
	write := func(log string, life time.Duration, times int) {
		t.Helper()
		for range times {
			if _, err := s.Append(ctx, log, []byte("entry"), life); err != nil {
				t.Fatal(err)
			}
		}
	}
	write("short", 2*time.Second, 1000)
	write("long", time.Hour, 1)
	write("long", 2*time.Second, 999)
	time.Sleep(3 * time.Second)
	write("short", 2*time.Second, 1)
	write("long", 2*time.Second, 1)
	// It drops nodes, which have 100 entries; the log is not gone, as a new entry
	// came, at least where that was in time.
	if n := admin.XLen(ctx, "app:l:short").Val(); n < 1 || n > 200 {
		t.Errorf("%d entries are left, want 1 to 200", n)
	}
	if n := admin.XLen(ctx, "app:l:long").Val(); n != 1001 {
		t.Errorf("%d entries are kept, want 1001", n)
	}
	if ttl := admin.PTTL(ctx, "app:l:long").Val(); ttl < 59*time.Minute {
		t.Errorf("the log ends after %v, want an hour", ttl)
	}
}

// The script that trims does so while the log lives, too.
func TestLogThatGoesOnIsTrimmed(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "app")
	written := 0
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); written++ {
		if _, err := s.Append(t.Context(), "log", []byte("entry"), 500*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		time.Sleep(500 * time.Microsecond)
	}
	left := admin.XLen(t.Context(), "app:l:log").Val()
	if written < 600 {
		t.Skipf("only %d entries in 3 seconds", written)
	}
	if left < 1 || left > int64(written)/2 {
		t.Errorf("%d of %d entries are left, want about a sixth", left, written)
	}
}

// The server of an app may let it do what the package comment says, and nothing
// else.
func TestAccessControl(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	command := documented(t, "ACL SETUSER msauth")
	args := make([]any, len(command))
	for i, field := range command {
		args[i] = field
	}
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", command, err)
	}
	c := redis.NewClient(&redis.Options{Addr: server.Addr, Username: "msauth", Password: "PASSWORD"})
	defer c.Close()
	s := open(t, c, "myapp")
	useAll(t, s)
	if err := c.Get(t.Context(), "other:v:key").Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Errorf("GET of another key: %v", err)
	}
	// Wait is told by Pub/Sub, and does not have to ask.
	told(t, s)
	if n := admin.PubSubNumSub(t.Context(), "myapp:changed").Val()["myapp:changed"]; n != 1 {
		t.Errorf("%d are subscribed, want 1", n)
	}
}

// useAll uses each method, with new names.
func useAll(t *testing.T, s *redisshared.Shared) {
	t.Helper()
	if err := tryAll(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func tryAll(ctx context.Context, s *redisshared.Shared) error {
	name := newPrefix()
	if _, err := s.Append(ctx, name, []byte("entry"), time.Minute); err != nil {
		return err
	}
	if entries, err := s.Read(ctx, name, 0, time.Minute); err != nil || len(entries) != 1 {
		return fmt.Errorf("%d entries, %w", len(entries), err)
	}
	if err := s.Put(ctx, name, []byte("put"), time.Minute); err != nil {
		return err
	}
	if before, err := s.Swap(ctx, name, []byte("put"), []byte("swapped"), time.Minute); err != nil || string(before) != "put" {
		return fmt.Errorf("Swap: %q, %w", before, err)
	}
	if value, err := s.Wait(ctx, name, []byte("put"), time.Minute); err != nil || string(value) != "swapped" {
		return fmt.Errorf("Wait: %q, %w", value, err)
	}
	if value, err := s.Get(ctx, name); err != nil || string(value) != "swapped" {
		return fmt.Errorf("Get: %q, %w", value, err)
	}
	if before, err := s.Swap(ctx, name, []byte("swapped"), nil, 0); err != nil || string(before) != "swapped" {
		return fmt.Errorf("Swap: %q, %w", before, err)
	}
	return nil
}
