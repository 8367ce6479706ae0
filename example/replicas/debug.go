package main

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// What is in this file is for the tests of this example, which set REPLICAS_DEBUG: it
// tells what a server does, to everybody who asks. No site should have it.

// debug adds two pages of JSON: which commands were sent to Redis, and the Stats of
// package msauth.
func (a *app) debug(mux *http.ServeMux) {
	mux.HandleFunc("GET /debug/commands", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(a.commands.counts())
	})
	mux.HandleFunc("GET /debug/stats", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(a.auth.Stats())
	})
}

// counts are numbers of commands by name. The subscription of redisshared, which has a
// connection of its own, is not among them.
type counts struct {
	// Follower are those by which a server follows what the others do, all the time
	// and whatever is requested: reading the log, and the epoch of Redis's memory.
	Follower map[string]int
	// Connection are those that go-redis sends for its own connections.
	Connection map[string]int
	// Others belong to requests.
	Others map[string]int
}

// commands counts what a client sends. It implements [redis.Hook].
type commands struct {
	mu    sync.Mutex
	sofar counts
}

// countCommands counts the commands of a client from now on.
func countCommands(client redis.UniversalClient) *commands {
	c := &commands{sofar: counts{map[string]int{}, map[string]int{}, map[string]int{}}}
	client.AddHook(c)
	return c
}

func (c *commands) counts() counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return counts{maps.Clone(c.sofar.Follower), maps.Clone(c.sofar.Connection), maps.Clone(c.sofar.Others)}
}

func (c *commands) count(cmd redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch name := cmd.Name(); {
	case name == "hello" || name == "client" || name == "auth" || name == "select" || name == "ping":
		c.sofar.Connection[name]++
	case name == "xread" && mentions(cmd, ":log") || mentions(cmd, ":epoch"):
		c.sofar.Follower[name]++
	default:
		c.sofar.Others[name]++
	}
}

// mentions reports whether a command has a key with this end.
func mentions(cmd redis.Cmder, end string) bool {
	for _, arg := range cmd.Args() {
		if text, ok := arg.(string); ok && strings.HasSuffix(text, end) {
			return true
		}
	}
	return false
}

// DialHook implements [redis.Hook].
func (c *commands) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements [redis.Hook].
func (c *commands) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c.count(cmd)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (c *commands) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			c.count(cmd)
		}
		return next(ctx, cmds)
	}
}
