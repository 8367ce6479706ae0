package otelmsauth_test

import (
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/tests/testsite"
)

// A site whose metrics Prometheus reads.
func Example() {
	cfg, mux, page := setUp()

	exporter, err := otelprometheus.New(otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	if err != nil {
		log.Fatal(err)
	}
	t, err := otelmsauth.New(&cfg, otelmsauth.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(exporter))})
	if err != nil {
		log.Fatal(err)
	}
	auth, err := msauth.New(cfg) // after otelmsauth.New
	if err != nil {
		log.Fatal(err)
	}
	if err := t.Observe(auth); err != nil {
		log.Fatal(err)
	}
	mux.Handle("/auth/", auth)
	mux.Handle("/", auth.Require(t.Pages(page)))
	internal := http.NewServeMux() // on an address that only Prometheus reaches
	internal.Handle("GET /metrics", promhttp.Handler())

	res := httptest.NewRecorder()
	internal.ServeHTTP(res, httptest.NewRequest("GET", "/metrics", nil))
	fmt.Println(res.Code)
	// Output: 200
}

// setUp is what an app has besides.
func setUp() (msauth.Config, *http.ServeMux, http.Handler) {
	ms := msauthtest.New("http://localhost:9")
	return msauth.Config{
		ClientID: ms.ClientID, ClientSecret: ms.ClientSecret, Authority: ms.URL,
		BaseURL: "http://localhost:8080/auth", Keys: [][]byte{testsite.NewKey()},
		Logger: slog.New(slog.DiscardHandler),
	}, http.NewServeMux(), http.NotFoundHandler()
}
