package renew

import (
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// A second, two, four, eight, then ten; and up to a fifth less.
func TestBackOffGrowsToTenSeconds(t *testing.T) {
	t.Parallel()
	for failures, want := range map[int]time.Duration{1: 1, 2: 2, 3: 4, 4: 8, 5: 10, 6: 10, 100: 10} {
		want *= time.Second
		for range 100 {
			if got := backOff(failures); got > want || got <= want-want/5 {
				t.Fatalf("%v after %d failures, want up to %v", got, failures, want)
			}
		}
	}
}

func TestARefusalIsForgottenAtItsTime(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		grace time.Duration
		want  time.Duration
	}{
		{"ten minutes", refusalGrace, refusalGrace},
		{"as the provider asks", 7 * time.Second, 7 * time.Second},
		{"a second at least", time.Millisecond, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				refused := New(Settings{}).NewRefusals()
				why := &provider.Failure{Class: provider.SignIn}
				refused.Remember(Key{1}, why, test.grace)
				time.Sleep(test.want - time.Millisecond)
				if refused.Find(Key{1}) != why || refused.Find(Key{2}) != nil {
					t.Error("not known, or of another key too")
				}
				time.Sleep(time.Millisecond)
				if refused.Find(Key{1}) != nil {
					t.Error("still known")
				}
			})
		})
	}
}

// Failures in a row rest longer each time, even if the rest is over in between; the
// end of a pause ends that, but not a time that the provider named.
func TestRefusalsInARow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := New(Settings{})
		refused := r.NewRefusals()
		why := &provider.Failure{Class: provider.Retry}
		for _, most := range []time.Duration{1, 2, 4, 8, 10} {
			most *= time.Second
			refused.Remember(Key{1}, why, 0)
			time.Sleep(most - most/5)
			if refused.Find(Key{1}) == nil {
				t.Errorf("rests less than four fifths of %v", most)
			}
			time.Sleep(most / 5)
			if refused.Find(Key{1}) != nil {
				t.Errorf("rests longer than %v", most)
			}
		}
		refused.Remember(Key{1}, why, 0)
		refused.Remember(Key{2}, why, time.Minute)
		r.breaker.recoveries.Add(1)
		if refused.Find(Key{1}) != nil {
			t.Error("rests although the provider has recovered")
		}
		if refused.Find(Key{2}) == nil {
			t.Error("a time that the provider named does not hold")
		}
		refused.Remember(Key{1}, why, 0)
		time.Sleep(time.Second)
		if refused.Find(Key{1}) != nil {
			t.Error("the first failure after a recovery does not count as the first")
		}
	})
}
