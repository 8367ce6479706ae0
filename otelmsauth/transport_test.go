package otelmsauth_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/otelmsauth"
	"example.com/msauth/tests/testsite"
)

// The SDK takes down the text of a panic that passes a deferred end of a span.
func TestTheTextOfAPanicIsNotExported(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	c := testsite.LeastConfig()
	c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(*http.Request) (*http.Response, error) {
		panic("no route for ada@example.com")
	})}
	o.use(t)(&c)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic is lost")
			}
		}()
		_, _ = c.HTTPClient.Get("https://graph.microsoft.com/v1.0/me")
	}()
	if strings.Contains(o.everything(t), "ada@") {
		t.Error("the text of the panic is exported")
	}
	if span := o.last(t, "GET"); span.Status().Code != codes.Error || attributesOf(span)["error.type"] != "_OTHER" {
		t.Errorf("status %v, attributes %v", span.Status(), span.Attributes())
	}
	o.want(t, 1, "http_client_request_duration_seconds", "error_type", "_OTHER")
}

// OnSignIn may fetch a photo, say, from where Graph leads to. That has the context of
// the sign-in, and is no host of the configuration all the same.
func TestHostsThatOnSignInAsksAreFew(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	s := testsite.New(t, func(c *msauth.Config) {
		c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Hostname(), ".sharepoint.com") {
				return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
		c.OnSignIn = func(_ http.ResponseWriter, r *http.Request, in *msauth.SignIn) error {
			for _, address := range []string{"https://contoso-my.sharepoint.com/photo", c.Authority + "/v1.0/me"} {
				call, err := http.NewRequestWithContext(r.Context(), "GET", address, nil)
				if err != nil {
					return err
				}
				res, err := in.Session.Client(r.Context()).Do(call)
				if err != nil {
					return err
				}
				res.Body.Close()
			}
			return nil
		}
	}, o.use(t))
	s.Browser(t).SignIn(msauthtest.Ada)
	const name = "http_client_request_duration_seconds"
	o.want(t, 1, name, "server_address", "_OTHER")
	o.want(t, -1, name, "server_address", "contoso-my.sharepoint.com")
	o.want(t, 1, name, "http_request_method", "POST", "server_address", "127.0.0.1") // the token
	if got := o.value(t, "msauth_api_request_duration_seconds"); got != 1 {
		t.Errorf("%v requests with a token", got)
	}
}

// TokenHosts may name the port that is meant anyway.
func TestTraceContextGoesToAHostWithItsPort(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"api.example.com": true, "api.example.com:443": true, "API.example.com": true,
		"api.example.com:8443": false, "example.com": false,
	} {
		o := newTelemetry(t)
		o.options.Propagator = propagation.TraceContext{}
		c := testsite.LeastConfig()
		c.TokenHosts = map[string][]string{host: {testsite.OrdersRead}}
		sent := false
		c.HTTPClient = &http.Client{Transport: testsite.RoundTripper(func(r *http.Request) (*http.Response, error) {
			sent = r.Header.Get("Traceparent") != ""
			return &http.Response{StatusCode: 200, Body: http.NoBody, Request: r}, nil
		})}
		o.use(t)(&c)
		if _, err := c.HTTPClient.Get("https://api.example.com/orders"); err != nil {
			t.Fatal(err)
		}
		if sent != want {
			t.Errorf("%s: trace context is sent: %t, want %t", host, sent, want)
		}
	}
}

// What the app has set for its client stays: only requests are measured.
func TestTheClientStaysWhatItWas(t *testing.T) {
	t.Parallel()
	closed := 0
	own := &http.Client{
		Transport:     &idle{closed: &closed},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c := testsite.LeastConfig()
	c.HTTPClient = own
	if _, err := otelmsauth.New(&c, newTelemetry(t).options); err != nil {
		t.Fatal(err)
	}
	from := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	t.Cleanup(from.Close)
	res, err := c.HTTPClient.Get(from.URL)
	if err != nil || res.StatusCode != http.StatusFound {
		t.Fatalf("%v, %v", res, err)
	}
	res.Body.Close()
	if c.HTTPClient.CloseIdleConnections(); closed != 1 {
		t.Errorf("idle connections closed %d times", closed)
	}
}

type idle struct{ closed *int }

func (i *idle) RoundTrip(r *http.Request) (*http.Response, error) {
	return http.DefaultTransport.RoundTrip(r)
}

func (i *idle) CloseIdleConnections() { *i.closed++ }
