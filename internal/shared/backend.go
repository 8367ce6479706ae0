package shared

import (
	"context"
	"time"
)

// A Backend keeps logs and values for all processes of an app, as Shared of
// package msauth explains.
type Backend interface {
	Append(ctx context.Context, log string, entry []byte, life time.Duration) (position uint64, err error)
	Read(ctx context.Context, log string, after uint64, wait time.Duration) ([]Entry, error)
	Get(ctx context.Context, key string) ([]byte, error)
	Put(ctx context.Context, key string, value []byte, life time.Duration) error
	Swap(ctx context.Context, key string, old, value []byte, life time.Duration) (before []byte, err error)
	Wait(ctx context.Context, key string, old []byte, wait time.Duration) ([]byte, error)
}

// An Entry is an entry of a log.
type Entry struct {
	Position uint64
	Data     []byte
}
