package bearer

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/oauth2"
)

type key string

// traced is a transport whose Trace adds a value, and counts the ends.
func traced(ctx context.Context, base http.RoundTripper, ends *[]error) *Transport {
	t := transport(ctx, base)
	t.Trace = func(ctx context.Context) (context.Context, func(error)) {
		return context.WithValue(ctx, key("trace"), "this one"), func(err error) { *ends = append(*ends, err) }
	}
	return t
}

func get(t *testing.T, ctx context.Context) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, "GET", "https://api.example.com/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// The end is reported whatever the app's transport does.
func TestATracedRequestThatPanicsEndsOnce(t *testing.T) {
	t.Parallel()
	var ends []error
	tr := traced(t.Context(), roundTripper(func(*http.Request) (*http.Response, error) { panic(http.ErrAbortHandler) }), &ends)
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler {
				t.Errorf("panic %v", p)
			}
		}()
		_, _ = tr.RoundTrip(get(t, t.Context()))
	}()
	if len(ends) != 1 || ends[0] == nil {
		t.Errorf("ended with %v", ends)
	}
}

// A request that is traced is canceled as others are, for the same cause.
func TestATracedRequestIsCanceledForItsCause(t *testing.T) {
	t.Parallel()
	why := errors.New("the upload was given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	var ends []error
	tr := traced(context.Background(), roundTripper(func(r *http.Request) (*http.Response, error) {
		below, stop := context.WithCancel(r.Context()) // as net/http does
		defer stop()
		cancel(why)
		<-below.Done()
		return nil, context.Cause(below)
	}), &ends)
	if _, err := tr.RoundTrip(get(t, ctx)); !errors.Is(err, why) || len(ends) != 1 || !errors.Is(ends[0], why) {
		t.Errorf("%v, ended with %v", err, ends)
	}
}

// A client whose context is over has no part in how its requests are canceled.
func TestTheClientsContextDoesNotCancelItsRequests(t *testing.T) {
	t.Parallel()
	client, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	var ends []error
	tr := traced(client, roundTripper(func(r *http.Request) (*http.Response, error) {
		cancel(errors.New("the page is over"))
		if err, cause := r.Context().Err(), context.Cause(r.Context()); err != nil || cause != nil {
			t.Errorf("canceled: %v, because %v", err, cause)
		}
		return status(200)(r), nil
	}), &ends)
	if _, err := tr.RoundTrip(get(t, context.Background())); err != nil {
		t.Error(err)
	}
}

// Values are those of the trace, then of the request, then of the client. Tokens are
// waited for as long as both the client's context and the request's last.
func TestContextsOfATracedRequest(t *testing.T) {
	t.Parallel()
	const want = "this one, request's, client's, "
	check := func(what string, ctx context.Context) {
		t.Helper()
		var got []string
		for _, k := range []key{"trace", "a", "b", "c"} {
			text, _ := ctx.Value(k).(string)
			got = append(got, text)
		}
		if got := strings.Join(got, ", "); got != want {
			t.Errorf("%s has values %q, want %q", what, got, want)
		}
	}
	for _, which := range []string{"neither", "client", "request"} {
		client, endClient := context.WithCancel(context.WithValue(context.WithValue(t.Context(), key("a"), "client's"), key("b"), "client's"))
		request, endRequest := context.WithCancel(context.WithValue(t.Context(), key("a"), "request's"))
		var ends []error
		tr := traced(client, roundTripper(func(r *http.Request) (*http.Response, error) {
			check("the request", r.Context())
			return status(200)(r), nil
		}), &ends)
		tr.Token = func(ctx context.Context, _ []string) (*oauth2.Token, error) {
			check("the wait for a token", ctx)
			switch which {
			case "client":
				endClient()
			case "request":
				endRequest()
			default:
				return bearerOf("own"), ctx.Err()
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		_, err := tr.RoundTrip(get(t, request))
		if canceled := errors.Is(err, context.Canceled); canceled != (which != "neither") || len(ends) != 1 || ends[0] != err {
			t.Errorf("canceled %s: error %v, ended with %v", which, err, ends)
		}
		endClient()
		endRequest()
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
