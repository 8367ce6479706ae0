package contender_test

import (
	"math"
	"net/http/httptest"
	"testing"

	"example.com/msauth"
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

// What the README promises of the size of a session, in bytes of the Cookie
// header and of the header block over HTTP/2.
func TestSizes(t *testing.T) {
	for _, test := range []struct {
		name         string
		kind         fixture.Kind
		hint, budget int
		most, block  int
		cookies      int
	}{
		{"work account", fixture.Work, 0, 0, 2850, 450, 1},
		{"work account with a login_hint", fixture.Work, 120, 0, 3000, 0, 1},
		{"work account, claims never seen", fixture.Unseen, 0, 0, 3226, 0, 1},
		{"personal account", fixture.Personal, 0, 0, 2400, 450, 1},
		{"personal account with a login_hint", fixture.Personal, 120, 0, 2550, 450, 1},
		{"200 groups", fixture.Groups, 0, 0, 2850, 450, 1},
		{"200 groups, larger budget", fixture.Groups, 0, 7168, 7168, 0, 2},
	} {
		for seed := range uint64(2 * seeds) {
			a := fixture.New(test.kind, seed, test.hint)
			c, err := contender.NewMsauth(a, func(cfg *msauth.Config) { cfg.CookieBudget = test.budget })
			if err != nil {
				t.Fatal(err)
			}
			if n := len(c.Header()); n > test.most || len(c.Cookies) != test.cookies {
				t.Errorf("%s, seed %d: %d bytes in %d cookies, want at most %d in %d", test.name, seed, n, len(c.Cookies), test.most, test.cookies)
			}
			if n := contender.HeaderBlock(c); test.block > 0 && n > test.block {
				t.Errorf("%s, seed %d: a header block of %d bytes, want at most %d", test.name, seed, n, test.block)
			}
			if n := len(c.Header()); test.kind == fixture.Unseen && n < 3000 {
				t.Errorf("%s, seed %d: %d bytes, which have no access token", test.name, seed, n)
			}
		}
	}
}
