package web_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"example.com/msauth/internal/web"
)

func TestReadAtMost(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text  string
		limit int64
		want  string // in the error, "" if there is none
	}{
		{"", 0, ""},
		{"four", 4, ""},
		{"four", 3, "reply too large"},
	} {
		got, err := web.ReadAtMost(strings.NewReader(test.text), test.limit)
		if test.want == "" && (err != nil || string(got) != test.text) || test.want != "" && (err == nil || err.Error() != test.want || got != nil) {
			t.Errorf("%q, at most %d bytes: %q, %v, want error %q", test.text, test.limit, got, err, test.want)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		value string
		want  time.Duration
	}{
		{"", 0},
		{"5", 5 * time.Second},
		{"0.5", 500 * time.Millisecond},
		{"0", 0},
		{"-5", 0},
		{"soon", 0},
		{"NaN", 0},
		{"1e300", web.MaxRetryAfter},
		{"7200", web.MaxRetryAfter},
		{now.Add(time.Minute).Format(http.TimeFormat), time.Minute},
		{now.Add(-time.Minute).Format(http.TimeFormat), 0},
		{now.Add(24 * time.Hour).Format(http.TimeFormat), web.MaxRetryAfter},
	} {
		if got := web.RetryAfter(test.value, now); got != test.want {
			t.Errorf("%q: %v, want %v", test.value, got, test.want)
		}
	}
}
