package sharedtest

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
)

// faults are what implementations may get wrong, and the checks that must find it.
// Each check has one at least.
var faults = []struct {
	name  string
	make  func() *fault
	found []string // beginnings of the names of checks
}{
	{"positions fall", func() *fault {
		return &fault{append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			position, err := s.Append(ctx, log, entry, life)
			return 1<<40 - position, err
		}}
	}, []string{"positions of a log grow"}},
	{"an entry is lost", func() *fault {
		return &fault{append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			if bytes.HasPrefix(entry, []byte("3 of")) {
				log += "lost"
			}
			return s.Append(ctx, log, entry, life)
		}}
	}, []string{"a log has what many", "a reader who follows"}},
	{"a reader goes on behind the next", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			if after > 0 {
				after++
			}
			return s.Read(ctx, log, after, wait)
		})
	}, []string{"entries are read from any", "Read waits for an entry"}},
	{"a reader gets the last once more", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			return s.Read(ctx, log, max(after, 1)-1, wait)
		})
	}, []string{"entries are read from any"}},
	{"more than 1000 at once", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			some, err := s.Read(ctx, log, after, wait)
			if len(some) < 1000 {
				return some, err
			}
			more, err := s.Read(ctx, log, some[999].Position, 0)
			return append(some, more...), err
		})
	}, []string{"more than 1000"}},
	{"never more than 1000", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			if after > 1000 {
				return nil, nil
			}
			return s.Read(ctx, log, after, wait)
		})
	}, []string{"more than 1000"}},
	{"a log begins with an entry", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			some, err := s.Read(ctx, log, after, wait)
			if err == nil && len(some) == 0 && after == 0 {
				some = []msauth.SharedEntry{{Position: 1, Entry: []byte("first")}}
			}
			return some, err
		})
	}, []string{"a log that was never"}},
	{"each log counts for itself", func() *fault {
		counts := map[string]uint64{}
		return &fault{append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			_, err := s.Append(ctx, log, entry, life)
			if log == "log:0" {
				counts[log] += 1000
			}
			counts[log]++
			return counts[log], err
		}}
	}, []string{"positions do not fall"}},
	{"names end at a colon", func() *fault { return named(func(name string) string { return strings.TrimRight(name, ":12") }) },
		[]string{"two logs are apart", "all legal names"}},
	{"names are in lower case", func() *fault { return named(strings.ToLower) },
		[]string{"names of logs differ", "keys differ in case"}},
	{"names are cut off", func() *fault { return named(func(name string) string { return name[:min(len(name), 99)] }) },
		[]string{"all legal names", "keys differ in case"}},
	{"logs are values", func() *fault {
		return &fault{append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			_ = s.Put(ctx, log, entry, life)
			return s.Append(ctx, log, entry, life)
		}}
	}, []string{"a log and a value"}},
	{"bytes are text", func() *fault {
		return &fault{
			append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
				return s.Append(ctx, log, bytes.ToValidUTF8(entry, []byte("?")), life)
			},
			put: func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error {
				return s.Put(ctx, key, bytes.ToValidUTF8(value, []byte("?")), life)
			},
		}
	}, []string{"entries are bytes", "values are bytes"}},
	{"what was read is kept", func() *fault {
		var mu sync.Mutex
		kept, got := map[uint64][]byte{}, map[string][]byte{}
		f := reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			mu.Lock()
			defer mu.Unlock()
			some, err := s.Read(ctx, log, after, wait)
			for i, e := range some {
				if kept[e.Position] == nil {
					kept[e.Position] = e.Entry
				}
				some[i].Entry = kept[e.Position]
			}
			return some, err
		})
		f.get = func(ctx context.Context, s msauth.Shared, key string) ([]byte, error) {
			mu.Lock()
			defer mu.Unlock()
			value, err := s.Get(ctx, key)
			if got[key] == nil {
				got[key] = value
			}
			return got[key], err
		}
		return f
	}, []string{"entries are bytes", "values are bytes"}},
	{"Read does not wait", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, _ time.Duration) ([]msauth.SharedEntry, error) {
			return s.Read(ctx, log, after, 0)
		})
	}, []string{"Read waits for an entry", "Read waits for the first", "many wait for one entry", "Read returns none"}},
	{"Read waits for a log that is there", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			if all, _ := s.Read(ctx, log, 0, 0); len(all) == 0 {
				wait = 0
			}
			return s.Read(ctx, log, after, wait)
		})
	}, []string{"Read waits for the first"}},
	{"Read is told late", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			some, err := s.Read(ctx, log, after, 0)
			if len(some) > 0 || wait <= 0 {
				return some, err
			}
			time.Sleep(min(wait, 3*time.Second))
			return s.Read(ctx, log, after, 0)
		})
	}, []string{"Read waits for an entry"}},
	{"an entry is for one reader", func() *fault {
		var mu sync.Mutex
		taken := map[uint64]bool{}
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			some, err := s.Read(ctx, log, after, wait)
			mu.Lock()
			defer mu.Unlock()
			some = slices.DeleteFunc(some, func(e msauth.SharedEntry) bool { return taken[e.Position] })
			for _, e := range some {
				taken[e.Position] = true
			}
			return some, err
		})
	}, []string{"many wait for one entry"}},
	{"not to wait is to wait forever", func() *fault {
		f := reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			if wait < time.Millisecond {
				wait = time.Hour
			}
			return s.Read(ctx, log, after, wait)
		})
		f.wait = func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error) {
			if wait < time.Millisecond {
				wait = time.Hour
			}
			return s.Wait(ctx, key, old, wait)
		}
		return f
	}, []string{"Read returns none", "Wait returns the old value"}},
	{"lives are short", func() *fault {
		return &fault{
			append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
				return s.Append(ctx, log, entry, min(life, short))
			},
			put: func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error {
				return s.Put(ctx, key, value, min(life, short))
			},
		}
	}, []string{"an entry is kept", "a value is gone"}},
	{"lives are long", func() *fault {
		return &fault{put: func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error {
			return s.Put(ctx, key, value, max(life, long))
		}}
	}, []string{"a value is gone", "Wait notices that the life"}},
	{"Swap forgets the life", func() *fault {
		return swapping(func(ctx context.Context, s msauth.Shared, key string, old, value []byte, _ time.Duration) ([]byte, error) {
			return s.Swap(ctx, key, old, value, time.Hour)
		})
	}, []string{"a value is gone"}},
	{"an empty log is a new one", restarting, []string{"positions grow where"}},
	{"no value is an empty one", func() *fault {
		return &fault{get: func(ctx context.Context, s msauth.Shared, key string) ([]byte, error) {
			value, err := s.Get(ctx, key)
			return append([]byte{}, value...), err
		}}
	}, []string{"there is no value"}},
	{"Put replaces nothing", func() *fault {
		return &fault{put: func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error {
			_, err := s.Swap(ctx, key, nil, value, life)
			return err
		}}
	}, []string{"Put sets a value"}},
	{"Swap replaces whatever there is", func() *fault {
		return swapping(func(ctx context.Context, s msauth.Shared, key string, _, value []byte, life time.Duration) ([]byte, error) {
			before, _ := s.Get(ctx, key)
			return s.Swap(ctx, key, before, value, life)
		})
	}, []string{"Swap replaces"}},
	{"Swap returns what is then", func() *fault {
		return swapping(func(ctx context.Context, s msauth.Shared, key string, old, value []byte, life time.Duration) ([]byte, error) {
			_, _ = s.Swap(ctx, key, old, value, life)
			return s.Get(ctx, key)
		})
	}, []string{"Swap replaces"}},
	{"Swap deletes nothing", func() *fault {
		return swapping(func(ctx context.Context, s msauth.Shared, key string, old, value []byte, life time.Duration) ([]byte, error) {
			if value == nil {
				return s.Get(ctx, key)
			}
			return s.Swap(ctx, key, old, value, life)
		})
	}, []string{"Swap replaces", "Wait is told of a value that Swap has deleted"}},
	{"Swap is two steps", func() *fault {
		return swapping(func(ctx context.Context, s msauth.Shared, key string, old, value []byte, life time.Duration) ([]byte, error) {
			before, err := s.Get(ctx, key)
			if same(before, old) {
				time.Sleep(time.Millisecond)
				_ = s.Put(ctx, key, value, life)
			}
			return before, err
		})
	}, []string{"of fifty Swaps", "a counter by Swap"}},
	{"Wait is late", func() *fault {
		return waiting(func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error) {
			time.Sleep(min(wait, 4*time.Second))
			return s.Wait(ctx, key, old, 0)
		})
	}, []string{"Wait returns at once", "Wait is told of a first", "Wait is told of another", "Wait is told of a value that Swap",
		"Wait notices that the life"}},
	{"Wait asks ever more rarely", func() *fault {
		return waiting(func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error) {
			begin := time.Now()
			for poll := 100 * time.Millisecond; ; poll *= 2 {
				value, err := s.Get(ctx, key)
				if err != nil || !same(value, old) || time.Since(begin) > wait {
					return value, err
				}
				time.Sleep(poll)
			}
		})
	}, []string{"Wait notices what Put"}},
	{"Wait does not wait", func() *fault {
		return waiting(func(ctx context.Context, s msauth.Shared, key string, old []byte, _ time.Duration) ([]byte, error) {
			return s.Wait(ctx, key, old, 0)
		})
	}, []string{"Wait is told of a first", "many wait for one value", "Wait returns the old value"}},
	{"all wait for one key", func() *fault {
		return waiting(func(ctx context.Context, s msauth.Shared, _ string, old []byte, wait time.Duration) ([]byte, error) {
			return s.Wait(ctx, "key", old, wait)
		})
	}, []string{"many wait for one value"}},
	{"contexts do not end what waits", func() *fault {
		f := reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			return s.Read(context.WithoutCancel(ctx), log, after, wait)
		})
		f.wait = func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error) {
			return s.Wait(context.WithoutCancel(ctx), key, old, wait)
		}
		return f
	}, []string{"a Read that waits", "a Wait returns"}},
	{"a context is an empty answer", func() *fault {
		return reading(func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			some, _ := s.Read(ctx, log, after, wait)
			return some, nil
		})
	}, []string{"a Read that waits", "nothing succeeds"}},
}

// The suite finds nothing wrong with what is right.
func TestSuitePasses(t *testing.T) {
	t.Parallel()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New()
				if finds(t, c, &fault{Shared: s}, s) {
					t.Error("it fails")
				}
			})
		})
	}
}

// Two clients of nothing in common are found by each check that has one write
// and the other read.
func TestSuiteNeedsOneBackend(t *testing.T) {
	t.Parallel()
	found := 0
	for _, c := range checks {
		synctest.Test(t, func(t *testing.T) {
			if finds(t, c, New(), New()) {
				found++
			}
		})
	}
	if found < len(checks)/2 {
		t.Errorf("%d of %d checks have found it", found, len(checks))
	}
}

func TestSuiteFindsFaults(t *testing.T) {
	t.Parallel()
	unused := map[string]bool{}
	for _, c := range checks {
		unused[c.name] = true
	}
	for _, f := range faults {
		for _, name := range f.found {
			i := slices.IndexFunc(checks, func(c check) bool { return strings.HasPrefix(c.name, name) })
			if i < 0 {
				t.Fatalf("there is no check %q", name)
			}
			delete(unused, checks[i].name)
			t.Run(f.name+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := New()
					one, other := f.make(), f.make()
					one.Shared, other.Shared = s, s
					if !finds(t, checks[i], one, other) {
						t.Error("it passes")
					}
				})
			})
		}
	}
	for name := range unused {
		t.Errorf("no fault is found by %q", name)
	}
}

func reading(f func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error)) *fault {
	return &fault{read: f}
}

func swapping(f func(ctx context.Context, s msauth.Shared, key string, old, value []byte, life time.Duration) ([]byte, error)) *fault {
	return &fault{swap: f}
}

func waiting(f func(ctx context.Context, s msauth.Shared, key string, old []byte, wait time.Duration) ([]byte, error)) *fault {
	return &fault{wait: f}
}

// named is a Shared that takes other names for those it is given.
func named(other func(name string) string) *fault {
	return &fault{
		append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			return s.Append(ctx, other(log)+"x", entry, life)
		},
		read: func(ctx context.Context, s msauth.Shared, log string, after uint64, wait time.Duration) ([]msauth.SharedEntry, error) {
			return s.Read(ctx, other(log)+"x", after, wait)
		},
		get: func(ctx context.Context, s msauth.Shared, key string) ([]byte, error) {
			return s.Get(ctx, other(key)+"x")
		},
		put: func(ctx context.Context, s msauth.Shared, key string, value []byte, life time.Duration) error {
			return s.Put(ctx, other(key)+"x", value, life)
		},
	}
}

// restarting is a Shared whose logs begin anew when all entries are gone.
func restarting() *fault {
	base := map[string]uint64{}
	return &fault{
		append: func(ctx context.Context, s msauth.Shared, log string, entry []byte, life time.Duration) (uint64, error) {
			before, _ := s.Read(ctx, log, 0, 0)
			position, err := s.Append(ctx, log, entry, life)
			if len(before) == 0 {
				base[log] = position - 1
			}
			return position - base[log], err
		},
	}
}
