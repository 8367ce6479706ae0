//go:build unix

package redisshared_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/shared"
	"example.com/msauth/redisshared/redistest"
)

// BenchmarkStart measures what a process that starts reads of a million sessions
// that were signed out of one by one, and what they take in its memory and in
// Redis's. It takes minutes:
//
//	go test -run '^$' -bench Start -benchtime 1x ./redisshared
func BenchmarkStart(b *testing.B) {
	const (
		sessions = 1 << 20
		at       = 64 // a time
		maxAge   = 7 * 24 * time.Hour
	)
	server := redistest.Start(b)
	admin := client(b, server)
	store := backend{open(b, client(b, server), "bench")}
	ring, err := seal.NewKeyring([][]byte{binary.BigEndian.AppendUint64(make([]byte, 24), 1)})
	if err != nil {
		b.Fatal(err)
	}
	start := func() (*shared.Hub, *session.Revoked) {
		ended := session.NewRevoked(maxAge)
		hub := shared.New(shared.Settings{
			Backend: store, Keys: ring.Derive("bench"), Life: maxAge, Observer: silent{},
			Apply: ended.Apply, Restart: ended.Restart, Missing: ended.Endings,
		})
		hub.Start()
		return hub, ended
	}
	hub, ended := start()
	var next atomic.Uint64
	var all sync.WaitGroup
	for range at {
		all.Go(func() {
			for i := next.Add(1); i <= sessions; i = next.Add(1) {
				rec := &session.Record{SignedIn: time.Now().Unix(), User: provider.Account{Issuer: "https://id.example.com", Subject: fmt.Sprint(i)}}
				binary.BigEndian.PutUint64(rec.ID[:], i*0x9e3779b97f4a7c15)
				if err := hub.Publish(b.Context(), ended.End(rec, 0)); err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	ended = nil
	if err := hub.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	info, err := admin.Info(b.Context(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	_, used, _ := strings.Cut(info, "used_memory:")
	var inRedis float64
	_, _ = fmt.Sscan(used, &inRedis)

	for b.Loop() {
		before := inUse()
		began := time.Now()
		hub, ended := start()
		for !hub.Ready() {
			time.Sleep(time.Millisecond)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		b.ReportMetric(float64(inUse()-before)/(1<<20), "MB")
		b.ReportMetric(inRedis/(1<<20), "MB-in-Redis")
		runtime.KeepAlive(ended)
		if err := hub.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

func inUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc) // #nosec G115 -- far less
}

// backend is a [msauth.Shared] as package shared takes it.
type backend struct{ msauth.Shared }

func (s backend) Read(ctx context.Context, log string, after uint64, wait time.Duration) (entries []shared.Entry, err error) {
	list, err := s.Shared.Read(ctx, log, after, wait)
	for _, e := range list {
		entries = append(entries, shared.Entry{Position: e.Position, Data: e.Entry})
	}
	return entries, err
}

// silent is an observer that nobody asks.
type silent struct{}

func (silent) SharedFails(error)    {}
func (silent) SharedWorks()         {}
func (silent) SharedUnread()        {}
func (silent) SharedLost()          {}
func (silent) SharedUnreadable(int) {}
func (silent) SharedDropped()       {}
