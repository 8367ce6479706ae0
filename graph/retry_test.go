package graph_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth/graph"
)

func TestWhichRequestsAreRepeated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		method string
		first  answerFunc
		want   int // requests
	}{
		{"GET", reply(429, ""), 2},
		{"POST", reply(429, ""), 2}, // it was not processed
		{"PATCH", reply(429, ""), 2},
		{"DELETE", reply(429, ""), 2},
		{"GET", reply(503, ""), 2},
		{"GET", reply(502, ""), 2},
		{"GET", reply(504, ""), 2},
		{"GET", reply(509, ""), 2},
		{"DELETE", reply(503, ""), 2},
		{"POST", reply(503, "", "Retry-After", "1"), 1}, // it may have been
		{"POST", reply(504, ""), 1},
		{"PATCH", reply(503, ""), 1},
		{"GET", reply(500, ""), 1},
		{"GET", reply(404, ""), 1},
		{"GET", reply(401, ""), 1},
		{"GET", reply(200, "{"), 1},
		{"GET", lost, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			c, w := clientOf(test.first, reply(200, "{}"))
			var err error
			switch test.method {
			case "GET":
				_, err = graph.Get[map[string]any](t.Context(), c, "me")
			case "POST":
				_, err = graph.Post[map[string]any](t.Context(), c, "me", 1)
			case "PATCH":
				_, err = graph.Patch[map[string]any](t.Context(), c, "me", 1)
			case "DELETE":
				err = c.Delete(t.Context(), "me")
			}
			if len(w.got) != test.want || (err == nil) != (test.want == 2) {
				t.Errorf("%s after %v: %d requests, %v", test.method, w.got[0], len(w.got), err)
			}
			for _, s := range w.got {
				if s.method != test.method || (test.method == "POST" || test.method == "PATCH") && s.body != "1" {
					t.Errorf("sent %+v", s)
				}
			}
		})
	}
}

func TestHowLongACallWaits(t *testing.T) {
	t.Parallel()
	in := func(d time.Duration) func() string {
		return func() string { return time.Now().Add(d).UTC().Format(http.TimeFormat) }
	}
	text := func(s string) func() string { return func() string { return s } }
	for _, test := range []struct {
		name        string
		wait        func() string // Retry-After
		requests    int
		least, most time.Duration // of all waits
	}{
		{"seconds", text("20"), 3, 40 * time.Second, 50 * time.Second},
		{"part of a second", text("0.249"), 6, 5 * 249 * time.Millisecond, 5 * 312 * time.Millisecond},
		{"a date", in(20 * time.Second), 2, 20 * time.Second, 25 * time.Second}, // the second answer is another
		{"a minute", text("60"), 1, 0, 0},
		{"absurd", text("1e300"), 1, 0, 0},
		{"an absurd date", in(1000 * time.Hour), 1, 0, 0},
		{"negative", text("-5"), 6, 15500 * time.Millisecond, 19375 * time.Millisecond},
		{"a date that has passed", in(-time.Hour), 6, 15500 * time.Millisecond, 19375 * time.Millisecond},
		{"no number", text("soon"), 6, 15500 * time.Millisecond, 19375 * time.Millisecond},
		{"nothing", text(""), 6, 15500 * time.Millisecond, 19375 * time.Millisecond}, // 0.5, 1, 2, 4 and 8 seconds
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				wait, begin := test.wait(), time.Now()
				answers := []answerFunc{reply(429, "", "Retry-After", wait)}
				if test.name == "a date" {
					answers = append(answers, reply(400, ""))
				}
				c, w := clientOf(answers...)
				_, err := graph.Get[struct{}](t.Context(), c, "me")
				var e *graph.Error
				if took := time.Since(begin); !errors.As(err, &e) || len(w.got) != test.requests || took < test.least || took > test.most {
					t.Errorf("%d requests in %v, %v, want %d in %v to %v", len(w.got), took, err, test.requests, test.least, test.most)
				}
			})
		})
	}
}

// Those who are refused together do not come back together, and nobody too early.
func TestJitterIsNeverShorterThanAsked(t *testing.T) {
	t.Parallel()
	waits := map[time.Duration]bool{}
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			c, w := clientOf(reply(503, "", "Retry-After", "8"), reply(200, "{}"))
			if _, err := graph.Get[struct{}](t.Context(), c, "me"); err != nil {
				t.Fatal(err)
			}
			wait := w.got[1].at.Sub(w.got[0].at)
			if wait < 8*time.Second || wait > 10*time.Second {
				t.Errorf("waited %v", wait)
			}
			waits[wait] = true
		})
	}
	if len(waits) < 10 {
		t.Errorf("%d different waits", len(waits))
	}
}

func TestACallEndsWithItsContext(t *testing.T) {
	t.Parallel()
	t.Run("a deadline before the wait is over", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			begin := time.Now()
			c, w := clientOf(reply(429, "", "Retry-After", "6"))
			_, err := graph.Get[struct{}](ctx, c, "me")
			if wantError(t, err, 429, "").RetryAfter != 6*time.Second || len(w.got) != 1 || time.Since(begin) != 0 {
				t.Errorf("%d requests in %v, %v", len(w.got), time.Since(begin), err)
			}
		})
	})
	t.Run("cancelled while it waits", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			cause := errors.New("the page was closed")
			begin := time.Now()
			time.AfterFunc(2*time.Second, func() { cancel(cause) })
			c, w := clientOf(reply(429, "", "Retry-After", "20"))
			_, err := graph.Get[struct{}](ctx, c, "me")
			if !errors.Is(err, cause) || len(w.got) != 1 || time.Since(begin) != 2*time.Second {
				t.Errorf("%d requests in %v, %v", len(w.got), time.Since(begin), err)
			}
		})
	})
	t.Run("cancelled before", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		c, w := clientOf(reply(200, "{}"))
		if _, err := graph.Get[struct{}](ctx, c, "me"); !errors.Is(err, context.Canceled) || len(w.got) != 0 {
			t.Errorf("%d requests, %v", len(w.got), err)
		}
	})
}

// An answer that does not come, and one that stops.
func TestAnAttemptIsBounded(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(*http.Request) (*http.Response, error){
		"no answer": func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		},
		"half an answer": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: &stalled{r.Context()}, ContentLength: 10}, nil
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			c := graph.New(&http.Client{Transport: roundTripper(answer)}, base)
			_, err := graph.Get[struct{}](t.Context(), c, "me")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != 30*time.Second {
				t.Errorf("%s: %v after %v", name, err, time.Since(begin))
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type stalled struct{ ctx context.Context }

func (s *stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}
func (s *stalled) Close() error { return nil }
