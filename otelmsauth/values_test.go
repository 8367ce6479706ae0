package otelmsauth

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"example.com/msauth"
)

// Each count is exported under its own name, and what may happen is 0 before it does.
func TestWhatStatsBecome(t *testing.T) {
	t.Parallel()
	reader := metric.NewManualReader()
	var c msauth.Config
	telemetry, err := New(&c, Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader))})
	if err != nil {
		t.Fatal(err)
	}
	if err := telemetry.export(func() msauth.Stats {
		return msauth.Stats{
			SignIns: 1, SignOuts: 2, SignInsRefused: 3, SessionsEnded: 4, EndingsForgotten: 5,
			Renewals: 6, RenewalsFailed: map[msauth.Class]uint64{msauth.ClassRetry: 7},
			Refused: map[string]uint64{"role": 8, "later": 9},
			Paused:  true, Degraded: []string{"last credential: secret", "token store fails"},
			KeyIDs:      []string{"aaaa", "bbbb"},
			Credentials: []msauth.CredentialStatus{{Name: "certificate", Ends: time.Unix(10, 0)}, {Name: "secret", InUse: true}},
			SharedQueue: 11, SharedDropped: 12,
			Devices: msauth.DeviceStats{
				Offered: 13, Registered: 14, Refreshed: 15, Refused: map[string]uint64{"proof": 16},
				Unproved: map[string]uint64{"missing": 17}, Skipped: map[string]uint64{"unreachable": 18},
			},
		}
	}); err != nil {
		t.Fatal(err)
	}
	want := strings.Fields(`
		sign_ins=1 sign_outs=2 sign_ins_refused=3 sessions_ended=4 endings_forgotten=5
		renewals{renewed}=6 renewals{retry}=7 renewals{sign-in-again}=0 renewals{step-up}=0 renewals{app-misconfigured}=0
		renewals_paused=1 degraded{last-credential}=1 degraded{token-store-fails}=1
		key.position{aaaa}=1 key.position{bbbb}=2
		credential.ends_timestamp{0,certificate}=10 credential.in_use{0,certificate}=0 credential.in_use{1,secret}=1
		shared.queue=11 shared.dropped=12
		device.offered=13 device.registered=14 device.refreshed=15
		device.refused{proof}=16 device.refused{request}=0 device.refused{challenge}=0 device.refused{session}=0 device.refused{store}=0
		device.unproved{missing}=17 device.unproved{expired}=0 device.unproved{forged}=0 device.unproved{of-another-session}=0
		device.skipped{unreachable}=18 device.skipped{server_error}=0 device.skipped{quota_exceeded}=0 device.skipped{other}=0
		refusals{role}=8 refusals{later}=9`)
	for _, kind := range refusals {
		if kind != "role" {
			want = append(want, "refusals{"+kind+"}=0")
		}
	}
	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range data.ScopeMetrics[0].Metrics {
		var points []metricdata.DataPoint[int64]
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			if points = data.DataPoints; !data.IsMonotonic || data.Temporality != metricdata.CumulativeTemporality {
				t.Errorf("%s is no counter", m.Name)
			}
		case metricdata.Gauge[int64]:
			points = data.DataPoints
		}
		for _, p := range points {
			got = append(got, fmt.Sprintf("%s%s=%d", strings.TrimPrefix(m.Name, "msauth."), values(p.Attributes), p.Value))
		}
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("exported\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// values are those of attributes, in braces.
func values(set attribute.Set) string {
	var all []string
	for _, a := range set.ToSlice() {
		all = append(all, strings.ReplaceAll(a.Value.AsString(), " ", "-"))
	}
	if len(all) == 0 {
		return ""
	}
	return "{" + strings.Join(all, ",") + "}"
}
