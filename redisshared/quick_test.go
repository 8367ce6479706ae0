package redisshared_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared"
)

func TestPositions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		id       string
		position uint64
	}{
		{"0-0", 0},
		{"0-1", 1},
		{"1-0", 1 << 21},
		{"1785226000123-7", 1785226000123<<21 | 7},
		{"1785226000123-2097151", 1785226000123<<21 | 2097151},
		{"8796093022207-2097151", math.MaxUint64},
	} {
		position, err := redisshared.PositionOf(c.id)
		if err != nil || position != c.position {
			t.Errorf("%s: position %d, %v, want %d", c.id, position, err, c.position)
		}
		if id := redisshared.IDOf(c.position); id != c.id {
			t.Errorf("position %d: id %s, want %s", c.position, id, c.id)
		}
	}
	for _, id := range []string{"", "1", "-", "1-", "-1", "a-1", "1-2097152", "8796093022208-0", "18446744073709551615-18446744073709551615"} {
		if position, err := redisshared.PositionOf(id); err == nil {
			t.Errorf("%q: position %d, want an error", id, position)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	single := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer single.Close()
	for _, prefix := range []string{"", "a b", "{a}", "a*", "ä", strings.Repeat("a", 101)} {
		if _, err := redisshared.New(single, prefix); err == nil {
			t.Errorf("prefix %q is taken", prefix)
		}
	}
	if _, err := redisshared.New(nil, "app"); err == nil {
		t.Error("nil is taken")
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": "127.0.0.1:1"}})
	defer ring.Close()
	if _, err := redisshared.New(ring, "app"); err == nil {
		t.Error("a Ring is taken")
	}
	for _, options := range []redis.ClusterOptions{{ReadOnly: true}, {RouteByLatency: true}, {RouteRandomly: true}} {
		options.Addrs = []string{"127.0.0.1:1"}
		cluster := redis.NewClusterClient(&options)
		defer cluster.Close()
		if _, err := redisshared.New(cluster, "app"); err == nil {
			t.Errorf("%+v is taken", options)
		}
	}
	s, err := redisshared.New(single, strings.Repeat("-", 100))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// What is not legal is not sent: there is nobody who would answer.
func TestArgumentsAreChecked(t *testing.T) {
	t.Parallel()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer client.Close()
	s, err := redisshared.New(client, "app")
	if err != nil {
		t.Fatal(err)
	}
	ctx, value := t.Context(), []byte("value")
	calls := map[string]error{
		"no bytes appended": second(s.Append(ctx, "log", nil, time.Hour)),
		"64 KB and 1 byte":  second(s.Append(ctx, "log", make([]byte, 65537), time.Hour)),
		"no life":           second(s.Append(ctx, "log", value, 0)),
		"no bytes put":      s.Put(ctx, "key", nil, time.Hour),
		"no life put":       s.Put(ctx, "key", value, -1),
		"no bytes swapped":  second(s.Swap(ctx, "key", nil, []byte{}, time.Hour)),
		"no bytes before":   second(s.Swap(ctx, "key", []byte{}, value, time.Hour)),
		"no life swapped":   second(s.Swap(ctx, "key", nil, value, 0)),
		"name of Append":    second(s.Append(ctx, "a b", value, time.Hour)),
		"name of Read":      second(s.Read(ctx, "", 0, 0)),
		"name of Get":       second(s.Get(ctx, "ä")),
		"name of Put":       s.Put(ctx, "*", value, time.Hour),
		"name of Swap":      second(s.Swap(ctx, "a\n", nil, value, time.Hour)),
		"name of Wait":      second(s.Wait(ctx, strings.Repeat("a", 101), nil, time.Minute)),
	}
	for what, err := range calls {
		if err == nil || !strings.Contains(err.Error(), "must be") && !strings.Contains(err.Error(), "no bytes") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// documented returns the command of the package comment that begins so.
func documented(t testing.TB, begin string) []string {
	t.Helper()
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, command, ok := strings.Cut(string(source), "//\t"+begin)
	if !ok {
		t.Fatalf("doc.go has no %q", begin)
	}
	command, _, _ = strings.Cut(command, "//\n")
	command, _, _ = strings.Cut(command, "\n//\n")
	return strings.Fields(strings.ReplaceAll(begin+command, "//", ""))
}
