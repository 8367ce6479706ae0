package otelmsauth_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/tests/testsite"
)

// A whole life of a session: sign-in, page, requests to Graph and to an API of the
// app, renewal, outage, refusal and sign-out.
func TestALifeOfASession(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	var traceparent string // as the app's API gets it
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		traceparent = r.Header.Get("Traceparent")
	}))
	t.Cleanup(api.Close)
	o.options.Propagator = propagation.TraceContext{}
	refuse := ""
	s := testsite.New(t, func(c *msauth.Config) {
		c.TokenHosts = map[string][]string{strings.TrimPrefix(api.URL, "http://"): {testsite.OrdersRead}}
		c.OnSignIn = func(_ http.ResponseWriter, _ *http.Request, in *msauth.SignIn) error {
			if in.Session.User.Name == refuse {
				return errors.New(in.Session.User.Email + " may not") // nobody's business
			}
			return nil
		}
	}, o.use(t))
	o.observe(t, s.Auth)
	s.MS.AddAPI(msauthtest.API{ID: "api://orders"})
	s.MS.Consent(msauthtest.Ada, testsite.OrdersRead)
	calls := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		res, err := session.Client(r.Context()).Get(r.URL.Query().Get("call"))
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		res.Body.Close()
	})
	s.Mux.Handle("/call", s.Auth.Require(o.Pages(calls)))
	s.Mux.Handle("/pages/", s.Auth.Require(o.Pages(http.HandlerFunc(testsite.Hello))))
	o.served(s)
	seen := map[trace.ReadOnlySpan]bool{}
	b := s.Browser(t)

	b.SignIn(msauthtest.Ada)
	o.wait(t, seen, "a sign-in", "page", "page", "page", "GET in page", "msauth.sign_in in page", "POST in msauth.sign_in in page", "GET in msauth.sign_in in page")
	o.want(t, 1, "msauth_sign_ins_total")
	o.want(t, 1, "msauth_sign_in_duration_seconds", "error_type", "")
	provider, _ := url.Parse(s.MS.URL)
	wantAttributes(t, o.last(t, "POST"), map[string]string{
		"http.request.method": "POST", "server.address": provider.Hostname(), "server.port": provider.Port(),
		"http.response.status_code": "200", "url.full": s.MS.URL + "/common/oauth2/v2.0/token",
	})
	if span := o.last(t, "POST"); span.SpanKind() != oteltrace.SpanKindClient || span.Status().Code != codes.Unset {
		t.Errorf("kind %v, status %v", span.SpanKind(), span.Status())
	}
	if span := o.last(t, "msauth.sign_in"); span.SpanKind() != oteltrace.SpanKindInternal || span.Status().Code != codes.Unset || len(span.Attributes()) > 0 {
		t.Errorf("kind %v, status %v, attributes %v", span.SpanKind(), span.Status(), span.Attributes())
	}

	b.Get("/pages/")
	o.wait(t, seen, "a page", "page")
	o.want(t, 1, "msauth_page_token_age_seconds")

	b.Get("/call?call=" + url.QueryEscape(s.MS.URL+"/v1.0/me/drive/root:/Salaries%202026.xlsx?$select=name"))
	o.wait(t, seen, "a request to Graph", "page", "msauth.api_request in page", "GET in msauth.api_request in page")
	if got, want := attributesOf(o.last(t, "GET"))["url.full"], s.MS.URL+"/v1.0/me/drive/REDACTED/REDACTED"; got != want {
		t.Errorf("url.full %q, want %q", got, want)
	}
	b.Get("/call?call=" + url.QueryEscape(api.URL+"/orders/Kowalski"))
	o.wait(t, seen, "a request to an API", "page", "msauth.api_request in page", "msauth.token in msauth.api_request in page",
		"POST in msauth.token in msauth.api_request in page", "GET in msauth.api_request in page")
	if id := o.last(t, "GET").SpanContext().SpanID().String(); !strings.Contains(traceparent, "-"+id+"-") {
		t.Errorf("traceparent %q, want span %s in it", traceparent, id)
	}
	o.want(t, 2, "msauth_api_request_duration_seconds", "error_type", "")
	o.want(t, 1, "msauth_token_duration_seconds", "error_type", "")

	// Microsoft is out of order, and then not.
	s.Lifetime(time.Hour)
	late := s.Browser(t)
	late.SignInExpired(msauthtest.Ada)
	o.trees(seen)
	s.Failing(msauthtest.Failure{Status: 503})
	late.Get("/pages/")
	o.wait(t, seen, "an outage", "page", "msauth.renewal in page", "POST in msauth.renewal in page")
	wantAttributes(t, o.last(t, "msauth.renewal"), map[string]string{"error.type": "retry"})
	if post := attributesOf(o.last(t, "POST")); post["http.response.status_code"] != "503" || post["error.type"] != "503" {
		t.Errorf("attributes %v", post)
	}
	o.want(t, 1, "msauth_renewals_total", "msauth_outcome", "retry")
	o.want(t, 0, "msauth_renewals_total", "msauth_outcome", "renewed")
	s.MS.Set(func(b *msauthtest.Behavior) { clear(b.FailAlways) })
	time.Sleep(1100 * time.Millisecond) // until the failure is forgotten
	late.Get("/pages/")
	o.wait(t, seen, "a renewal", "page", "msauth.renewal in page", "POST in msauth.renewal in page")
	o.want(t, 1, "msauth_renewals_total", "msauth_outcome", "renewed")
	o.want(t, 1, "msauth_renewal_duration_seconds", "error_type", "")
	o.want(t, 1, "msauth_renewal_duration_seconds", "error_type", "retry")

	// Microsoft refuses the session.
	gone := s.Browser(t)
	gone.SignInExpired(msauthtest.Ada)
	o.trees(seen)
	s.Failing(msauthtest.Failure{Codes: []int{50173}})
	gone.Still().Get("/pages/")
	o.wait(t, seen, "a session that is revoked", "page", "msauth.renewal in page", "POST in msauth.renewal in page")
	refused := attributesOf(o.last(t, "msauth.renewal"))
	if refused["error.type"] != "sign in again" || refused["msauth.aadsts"] != "[50173]" || refused["msauth.correlation_id"] == "" || refused["msauth.trace_id"] == "" || len(refused) != 4 {
		t.Errorf("attributes %v", refused)
	}
	o.want(t, 1, "msauth_sessions_ended_total")

	// The app refuses somebody.
	refuse = "Mia Castellanos"
	s.As(msauthtest.Mia)
	before := o.value(t, "msauth_refusals_total", "msauth_refusal_kind", "on_sign_in")
	other := s.Browser(t)
	name := other.Get("/pages/")
	if name.StatusCode != http.StatusForbidden {
		refuse = strings.TrimPrefix(name.Text, "hello ")
		other = s.Browser(t)
		other.Get("/pages/")
	}
	o.want(t, before+1, "msauth_refusals_total", "msauth_refusal_kind", "on_sign_in")
	o.want(t, 1, "msauth_sign_ins_refused_total")
	wantAttributes(t, o.last(t, "msauth.sign_in"), map[string]string{"error.type": "_OTHER"})
	if strings.Contains(o.everything(t), "may not") {
		t.Error("the app's error is exported")
	}

	b.Request(http.MethodPost, "/auth/logout", "Sec-Fetch-Site", "same-origin", "Origin", s.URL)
	o.want(t, 1, "msauth_sign_outs_total")

	s.WantNoSecrets(t, "what is exported", o.everything(t))
	for _, private := range []string{"Ada", "Mia", "@", "Salaries", "Kowalski", "select"} {
		if strings.Contains(o.everything(t), private) {
			t.Errorf("%q is exported", private)
		}
	}
}

// Trace context goes to the app's own APIs only.
func TestMicrosoftGetsNoTraceContext(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	o.options.Propagator = propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	sent := 0
	s := testsite.New(t, func(c *msauth.Config) {
		c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
			if sent++; r.Header.Get("Traceparent") != "" {
				t.Errorf("%s gets a trace context", r.URL.Path)
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
	}, o.use(t))
	s.Mux.Handle("/graph", s.Auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		session, _ := msauth.FromContext(r.Context())
		res, err := session.Client(r.Context()).Get(s.MS.URL + "/v1.0/me")
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
	})))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/graph")
	if sent < 4 {
		t.Errorf("%d requests", sent)
	}
}

// What must be right is said, and what is set already is kept.
func TestNew(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	c := testsite.LeastConfig()
	if _, err := otelmsauth.New(&c, o.options); err != nil {
		t.Fatal(err)
	}
	if c.HTTPClient.Timeout != 15*time.Second || c.Shared != nil {
		t.Errorf("HTTPClient has a timeout of %v, Shared is %v", c.HTTPClient.Timeout, c.Shared)
	}
	if _, err := otelmsauth.New(&c, o.options); err == nil || !strings.Contains(err.Error(), "Config.Trace is set already") {
		t.Errorf("a second time: error %v", err)
	}
	own := &http.Client{Timeout: time.Minute}
	c = testsite.LeastConfig()
	c.HTTPClient = own
	if _, err := otelmsauth.New(&c, otelmsauth.Options{}); err != nil { // the global providers, which do nothing
		t.Fatal(err)
	}
	if c.HTTPClient == own || c.HTTPClient.Timeout != time.Minute || own.Transport != nil {
		t.Error("the app's client is changed, or its timeout lost")
	}
}

// Two Middlewares of one program are told apart by an attribute of all that they say.
func TestAttributesTellMiddlewaresApart(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	o.options.Attributes = append(o.options.Attributes, app)
	s := testsite.New(t, o.use(t))
	o.observe(t, s.Auth)
	s.Mux.Handle("/pages/", s.Auth.Require(o.Pages(http.HandlerFunc(testsite.Hello))))
	b := s.Browser(t)
	b.SignIn(msauthtest.Ada)
	b.Get("/pages/")
	for _, span := range o.spans.Ended() {
		if attributesOf(span)["app"] != "intranet" {
			t.Errorf("span %s: %v", span.Name(), span.Attributes())
		}
	}
	for name, family := range o.families(t) {
		for _, m := range family.Metric {
			if !strings.Contains(m.String(), `"intranet"`) && name != "target_info" {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// However many hosts files come from, there are few in metrics.
func TestHostsOfMetricsAreFew(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	c := testsite.LeastConfig()
	c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
	})}
	if _, err := otelmsauth.New(&c, o.options); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if _, err := c.HTTPClient.Get(fmt.Sprintf("https://tenant%d-my.sharepoint.com/personal/ada/file?tempauth=x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.HTTPClient.Get("https://LOGIN.microsoftonline.com:443/common/discovery/keys"); err != nil {
		t.Fatal(err)
	}
	o.want(t, 50, "http_client_request_duration_seconds", "server_address", "_OTHER")
	o.want(t, 1, "http_client_request_duration_seconds", "server_address", "login.microsoftonline.com", "server_port", "443")
	if got := attributesOf(o.spans.Ended()[0]); got["server.address"] != "tenant0-my.sharepoint.com" || got["url.full"] != "https://tenant0-my.sharepoint.com/REDACTED/REDACTED/REDACTED" {
		t.Errorf("span with %v", got)
	}
}

// What a request to Microsoft fails with has a type: one of few.
func TestErrorTypesOfRequests(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	c := testsite.LeastConfig()
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(slow.Close)
	c.HTTPClient = &http.Client{Timeout: 100 * time.Millisecond}
	if _, err := otelmsauth.New(&c, o.options); err != nil {
		t.Fatal(err)
	}
	if _, err := c.HTTPClient.Get(slow.URL); err == nil {
		t.Error("no error")
	}
	if _, err := c.HTTPClient.Get("http://127.0.0.1:1"); err == nil {
		t.Error("no error")
	}
	req, _ := http.NewRequest("BREW", slow.URL, nil)
	if _, err := c.HTTPClient.Do(req); err == nil {
		t.Error("no error")
	}
	o.want(t, 1, "http_client_request_duration_seconds", "error_type", "timeout", "http_request_method", "GET")
	o.want(t, 1, "http_client_request_duration_seconds", "error_type", "_OTHER")
	o.want(t, 1, "http_client_request_duration_seconds", "http_request_method", "_OTHER")
	missing := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(missing.Close)
	if res, err := c.HTTPClient.Get(missing.URL); err != nil {
		t.Error(err)
	} else {
		res.Body.Close()
	}
	if span := o.last(t, "GET"); span.Status().Code != codes.Error || attributesOf(span)["error.type"] != "404" {
		t.Errorf("status %v, attributes %v", span.Status(), span.Attributes())
	}
	if o.last(t, "HTTP").Status().Code != codes.Error {
		t.Error("the span of an unknown method has not failed")
	}
}
