package web

import (
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// FollowNothing is a CheckRedirect function for an http.Client: redirects are
// returned as they are. Requests with secrets use it, so that the secrets stay with
// the host they were sent to.
func FollowNothing(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var errReplyTooLarge = errors.New("reply too large")

// ReadAtMost reads r to its end. It fails if there are more than limit bytes.
func ReadAtMost(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, errReplyTooLarge
	}
	return body, nil
}

// MaxRetryAfter is the longest wait that a server can ask for.
const MaxRetryAfter = 1 * time.Hour

// RetryAfter reads a Retry-After header (RFC 9110 section 10.2.3). The result is
// between 0 and MaxRetryAfter; 0 if the header is empty or malformed.
func RetryAfter(value string, now time.Time) time.Duration {
	if value == "" {
		return 0
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil && !math.IsNaN(n) {
		if n <= 0 {
			return 0
		}
		return time.Duration(min(n, MaxRetryAfter.Seconds()) * float64(time.Second))
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter)
}
