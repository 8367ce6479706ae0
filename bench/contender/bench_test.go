package contender

import (
	"net/http"
	"testing"

	"example.com/msauth/bench/fixture"
)

// benchmarks runs op for this module and the floor, on all processors that -cpu
// names:
//
//	GOWORK=off go test -run '^$' -bench . -cpu 1,2,4 ./contender
func benchmarks(b *testing.B, op func(*Contender) func(*testing.B)) {
	for _, kind := range []fixture.Kind{fixture.Work, fixture.Personal} {
		all, err := Own(fixture.New(kind, 1, 0))
		if err != nil {
			b.Fatal(err)
		}
		for i, name := range []string{"msauth", "floor", "bare"} {
			b.Run(string(kind)+"/"+name, op(all[i]))
		}
	}
}

// BenchmarkPage is a protected handler that does nothing.
func BenchmarkPage(b *testing.B) {
	benchmarks(b, func(c *Contender) func(*testing.B) {
		page := c.Protect(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
		return func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r, w := c.Request(), plainWriter{}
				for pb.Next() {
					clear(w)
					page.ServeHTTP(w, r)
				}
			})
		}
	})
}

// BenchmarkToken reads the session with its access token.
func BenchmarkToken(b *testing.B) {
	benchmarks(b, func(c *Contender) func(*testing.B) {
		return func(b *testing.B) {
			r := c.Request()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.Token(r); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
