package main

import (
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"

	"example.com/msauth"
	"example.com/msauth/otelmsauth"
)

// metrics are what the server measures: of package msauth, and of the Go runtime.
type metrics struct {
	*otelmsauth.Telemetry
	handler http.Handler // for Prometheus
}

// measure has measured what is done with cfg.
func measure(cfg *msauth.Config) (*metrics, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// The dashboard and the alert rules know the names that this makes.
	names := otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes)
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), names)
	if err != nil {
		return nil, err
	}
	t, err := otelmsauth.New(cfg, otelmsauth.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(exporter))})
	if err != nil {
		return nil, err
	}
	return &metrics{t, promhttp.HandlerFor(registry, promhttp.HandlerOpts{})}, nil
}

// serve serves /metrics at an address of its own, which nobody but Prometheus should
// reach, until the returned function is called. Without an address it does nothing.
func (m *metrics) serve(address string) (stop func(), err error) {
	if address == "" {
		return func() {}, nil
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", m.handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(listener)
	return func() { server.Close() }, nil
}
