//go:build unix

package redisshared_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"example.com/msauth/redisshared"
	"example.com/msauth/redisshared/redistest"
)

// told measures how long Wait takes to be told of a Swap, half a second after
// it has begun to wait.
func told(t *testing.T, s *redisshared.Shared) time.Duration {
	t.Helper()
	key := newPrefix()
	var swapped time.Time
	var group sync.WaitGroup
	group.Go(func() {
		time.Sleep(850 * time.Millisecond) // after it has asked again three times
		swapped = time.Now()
		if _, err := s.Swap(t.Context(), key, nil, []byte("value"), time.Minute); err != nil {
			t.Error(err)
		}
	})
	value, err := s.Wait(t.Context(), key, nil, 10*time.Second)
	at := time.Now()
	group.Wait()
	if err != nil || string(value) != "value" {
		t.Fatalf("Wait: %q, %v", value, err)
	}
	return at.Sub(swapped)
}

func subscribed(t *testing.T, admin *redis.Client, channel string) int64 {
	t.Helper()
	n, err := admin.PubSubNumSub(t.Context(), channel).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n[channel]
}

// By its message, Wait knows of a Swap much sooner than it would ask again: at
// 100, 300, 700 and 1500 ms.
func TestWaitIsTold(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, client(t, server), "app")
	best := time.Hour
	for range 5 {
		if best = min(best, told(t, s)); best < 100*time.Millisecond {
			return
		}
	}
	t.Errorf("at best it was told after %v", best)
}

// One connection is subscribed, however many wait, and is closed when nobody has
// waited for a while.
func TestSubscription(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "app")
	s.SetIdle(time.Second)
	if n := subscribed(t, admin, "app:changed"); n != 0 {
		t.Errorf("%d are subscribed before somebody waits", n)
	}
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := s.Wait(t.Context(), newPrefix(), nil, 2*time.Second); err != nil {
				t.Error(err)
			}
		})
	}
	redistest.Eventually(t, "somebody is subscribed", func() bool { return subscribed(t, admin, "app:changed") > 0 })
	group.Wait()
	if n := subscribed(t, admin, "app:changed"); n != 1 {
		t.Errorf("%d are subscribed, want 1", n)
	}
	redistest.Eventually(t, "nobody is subscribed", func() bool { return subscribed(t, admin, "app:changed") == 0 })
	told(t, s)
	if n := subscribed(t, admin, "app:changed"); n != 1 {
		t.Errorf("%d are subscribed again, want 1", n)
	}
}

// A connection that is lost, and what it should have told, is made up for.
func TestSubscriptionIsLost(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "app")
	told(t, s)
	for range 3 {
		if err := admin.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Err(); err != nil {
			t.Fatal(err)
		}
		if took := told(t, s); took > 2*time.Second {
			t.Errorf("it was told after %v", took)
		}
	}
	redistest.Eventually(t, "one is subscribed", func() bool { return subscribed(t, admin, "app:changed") == 1 })
}

func TestCloseEndsWaiting(t *testing.T) {
	notQuick(t)
	t.Parallel()
	server := redistest.Start(t)
	admin := client(t, server)
	s := open(t, client(t, server), "app")
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			if _, err := s.Wait(t.Context(), "key", nil, time.Minute); !errors.Is(err, redisshared.ErrClosed) {
				t.Errorf("Wait: %v", err)
			}
		})
	}
	redistest.Eventually(t, "one is subscribed", func() bool { return subscribed(t, admin, "app:changed") == 1 })
	begin := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	group.Wait()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
	redistest.Eventually(t, "nobody is subscribed", func() bool { return subscribed(t, admin, "app:changed") == 0 })
	if _, err := s.Wait(t.Context(), "key", nil, time.Minute); !errors.Is(err, redisshared.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
