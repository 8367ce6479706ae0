//go:build unix

package redisshared_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared/redistest"
)

// After a failover by Sentinel the replica is used, in whose logs positions go on.
func TestFailover(t *testing.T) {
	notQuick(t)
	t.Parallel()
	w := redistest.StartWatched(t)
	c := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: w.Name, SentinelAddrs: []string{w.Sentinel.Addr}})
	defer c.Close()
	s := open(t, c, "app")
	useAll(t, s)
	before, err := s.Append(t.Context(), "log", []byte("before"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(t.Context(), 1, 10*time.Second).Err(); err != nil { // until the replica has it
		t.Fatal(err)
	}
	told(t, s)
	w.Master.Kill()
	redistest.Eventually(t, "all works again", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		return tryAll(ctx, s) == nil
	})
	after, err := s.Append(t.Context(), "log", []byte("after"), time.Hour)
	if err != nil || after <= before {
		t.Errorf("position %d comes after %d, %v", after, before, err)
	}
	entries, err := s.Read(t.Context(), "log", 0, 0)
	if err != nil || len(entries) != 2 || entries[0].Position != before || entries[1].Position != after {
		t.Errorf("the log has %v, %v", entries, err)
	}
	redistest.Eventually(t, "somebody is subscribed", func() bool {
		told(t, s)
		return subscribed(t, w.Replica.Client(), "app:changed") == 1
	})
}
