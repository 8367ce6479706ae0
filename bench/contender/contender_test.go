package contender_test

import (
	"math"
	"net/http/httptest"
	"testing"

	"example.com/msauth/bench/contender"
	"example.com/msauth/bench/fixture"
)

const seeds = 5

// The hand-written baseline is the one of the study that the targets come
// from: 5768 bytes for F1, or it does not do the same work.
func TestHandWritten(t *testing.T) {
	for seed := range uint64(seeds) {
		c, err := contender.NewHandWritten(fixture.New(fixture.Work, seed, 0))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(c.Header()); math.Abs(float64(n)/5768-1) > 0.03 {
			t.Errorf("seed %d: %d bytes, want 5768 within 3 %%", seed, n)
		}
	}
}

func TestContenders(t *testing.T) {
	address, stop, err := contender.StartRedis()
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	for _, kind := range []fixture.Kind{fixture.Work, fixture.Personal} {
		all, err := contender.All(fixture.New(kind, 1, 0), address)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			t.Logf("%s %-50s %5d bytes, %d cookies", kind, c.Name, len(c.Header()), len(c.Cookies))
			if c.Save != nil {
				if err := c.Save(httptest.NewRecorder(), c.Request()); err != nil {
					t.Errorf("%s: saving once more: %v", c.Name, err)
				}
			}
			c.Close()
		}
	}
}

func TestSizes(t *testing.T) {
	for _, kind := range []fixture.Kind{fixture.Work, fixture.Unseen, fixture.Personal, fixture.Groups} {
		for _, hint := range []int{0, 120} {
			for seed := range uint64(seeds) {
				c, err := contender.NewMsauth(fixture.New(kind, seed, hint))
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s hint %d seed %d: %5d bytes, %d cookies", kind, hint, seed, len(c.Header()), len(c.Cookies))
			}
		}
	}
}
