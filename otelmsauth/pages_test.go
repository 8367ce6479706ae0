package otelmsauth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"example.com/msauth"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/tests/testsite"
)

// The age of tokens is measured where somebody is signed in, and if it is known.
func TestPages(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	c := testsite.LeastConfig()
	o.use(t)(&c)
	served := 0
	page := o.Pages(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served++ }))
	for _, session := range []*msauth.Session{
		nil,
		msauth.NewSession(msauth.User{Name: "Ada"}, nil),
		msauth.NewSessionFrom(msauth.SessionParts{Renewed: time.Now().Add(-50 * time.Minute)}),
		msauth.NewSessionFrom(msauth.SessionParts{Renewed: time.Now().Add(time.Minute)}), // by a clock that is ahead
	} {
		r := httptest.NewRequest("GET", "/", nil)
		if session != nil {
			r = r.WithContext(msauth.NewContext(r.Context(), session))
		}
		page.ServeHTTP(httptest.NewRecorder(), r)
	}
	if served != 4 {
		t.Errorf("%d pages are served", served)
	}
	histogram := o.families(t)["msauth_page_token_age_seconds"].Metric[0].Histogram
	if n, sum := histogram.GetSampleCount(), histogram.GetSampleSum(); n != 2 || sum < 2999 || sum > 3060 {
		t.Errorf("%d ages, in all %v s; want 2, of 0 and 50 minutes", n, sum)
	}
}

// BenchmarkPages is what Pages adds to a page, with the SDK.
func BenchmarkPages(b *testing.B) {
	c := testsite.LeastConfig()
	t, err := otelmsauth.New(&c, otelmsauth.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))})
	if err != nil {
		b.Fatal(err)
	}
	w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
	r = r.WithContext(msauth.NewContext(r.Context(), msauth.NewSessionFrom(msauth.SessionParts{Renewed: time.Now()})))
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	for name, page := range map[string]http.Handler{"without": nothing, "with": t.Pages(nothing)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				page.ServeHTTP(w, r)
			}
		})
	}
}
