package renew

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/internal/provider"
)

// That the app is at fault is believed of whoever sees it where one tenant is the
// app's; where there are many, of several.
func TestWhoseFailuresAreTheAppsOwn(t *testing.T) {
	t.Parallel()
	one := func(int) string { return "t" }
	each := func(n int) string { return fmt.Sprint("t", n) }
	tests := []struct {
		name    string
		tenants int
		tenant  func(n int) string
		err     *provider.Failure
		want    int // failures until it is believed, 0 for never
	}{
		{"its secret", many, one, secret, 1},
		{"an API, the one tenant", 0, one, noAPI, 1},
		{"an API, one tenant of many", many, one, noAPI, 0},
		{"an API, many tenants", many, each, noAPI, 5},
		{"an API, both tenants of two", 2, each, noAPI, 2},
		{"the app was removed from a tenant of many", many, each, removed, 0},
		{"the app was removed from the one tenant", 0, one, removed, 1},
		{"the provider is down", 0, one, down, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, got := newBreaker(test.tenants, test.tenants == 0), 0
			for n := 1; n <= 10 && got == 0; n++ {
				if b.failure(of(n, test.tenant(n)), test.err).blamed {
					got = n
				}
			}
			if got != test.want || (b.recent() != nil) != (test.want > 0) {
				t.Errorf("believed after %d failures, %v; want %d", got, b.recent(), test.want)
			}
		})
	}
}

// Ready fails for ten minutes after the app was refused, or until something
// succeeds; the log says it once a minute.
func TestReadyFailsWhileTheAppIsRefused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, told := fixture(nil, nil)
		r.ReportTrouble(t.Context(), down)
		if err := r.Ready(); err != nil || len(told.take()) > 0 {
			t.Errorf("%v: that is not the app's fault", err)
		}
		steps := []struct {
			after time.Duration
			want  []string
		}{
			{0, []string{"troubled invalid_client", "weak: app misconfigured"}},
			{troubleLogStep - time.Second, []string{"weak: app misconfigured"}},
			{time.Second, []string{"troubled invalid_client", "weak: app misconfigured"}},
		}
		for _, step := range steps {
			time.Sleep(step.after)
			r.ReportTrouble(t.Context(), secret)
			if got := told.take(); !slices.Equal(got, step.want) || r.Ready() != secret {
				t.Errorf("told %q, want %q; %v", got, step.want, r.Ready())
			}
		}
		time.Sleep(troubleRecent - time.Second)
		if r.Ready() == nil {
			t.Error("ready before ten minutes are over")
		}
		time.Sleep(time.Second)
		if err := r.Ready(); err != nil {
			t.Errorf("%v after ten minutes", err)
		}
		r.ReportTrouble(t.Context(), secret)
		told.take()
		r.Succeeded(t.Context())
		if got := told.take(); !slices.Equal(got, []string{"mended: app misconfigured"}) || r.Ready() != nil {
			t.Errorf("told %q, %v", got, r.Ready())
		}
	})
}
