package renew

import (
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Whether the app's secret is bad is for the provider to say, not for whoever
// signs in with a wrong code.
func TestASuspicionIsProbed(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		reply func(int, url.Values) (int, string)
		ready bool
		want  []string
	}{
		{"the secret is bad", refuse(401, "invalid_client"), false,
			[]string{"weak: client secret suspected", "troubled invalid_client", "weak: app misconfigured", "mended: client secret suspected"}},
		{"the secret is good", refuse(400, "invalid_grant"), true,
			[]string{"weak: client secret suspected", "mended: client secret suspected"}},
		{"the provider is down", func(int, url.Values) (int, string) { return 503, "" }, true,
			[]string{"weak: client secret suspected"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &fakeProvider{reply: test.reply}
				r, told := fixture(p, nil)
				for range 10 {
					r.Suspect(t.Context(), secret)
				}
				synctest.Wait()
				if got := told.take(); !slices.Equal(got, test.want) || (r.Ready() == nil) != test.ready {
					t.Errorf("told %q, want %q; Ready returns %v", got, test.want, r.Ready())
				}
				if got := p.used(); len(got) != 1 {
					t.Errorf("%d requests in a minute, want 1", len(got))
				}
			})
		})
	}
}

// A good probe takes back what another has found, but not what a renewal has met.
func TestAGoodProbeTakesBackABadOneOnly(t *testing.T) {
	t.Parallel()
	for _, real := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := &fakeProvider{reply: refuse(401, "invalid_client")}
			r, told := fixture(p, nil)
			r.Suspect(t.Context(), secret)
			if real {
				r.ReportTrouble(t.Context(), secret)
			}
			time.Sleep(probeEvery)
			told.take()
			p.answer(refuse(400, "invalid_grant"))
			r.Suspect(t.Context(), secret)
			synctest.Wait()
			if (r.Ready() != nil) != real {
				t.Errorf("met by a renewal: %t, Ready returns %v", real, r.Ready())
			}
			if got := told.take(); slices.Contains(got, "mended: app misconfigured") == real {
				t.Errorf("met by a renewal: %t, told %q", real, got)
			}
		})
	}
}

// The first to suspect waits a second at most; a panic of the transport is the
// provider's silence.
func TestAProbeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := fixture(&fakeProvider{reply: func(int, url.Values) (int, string) {
			time.Sleep(10 * time.Second)
			panic("transport")
		}}, nil)
		began := time.Now()
		r.Suspect(t.Context(), secret)
		if took := time.Since(began); took != ValidPatience {
			t.Errorf("took %v", took)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if err := r.Ready(); err != nil {
			t.Error(err)
		}
	})
}
