package otelmsauth

import (
	"net/http"
	"time"

	"example.com/msauth"
)

// Pages measures how old the tokens of the session are at each request to next
// (msauth.page.token_age). It belongs inside [msauth.Middleware.Require] or
// [msauth.Middleware.Load]; requests without a session are not counted. Tokens that
// get older than they used to are the first sign that renewals fail.
func (t *Telemetry) Pages(next http.Handler) http.Handler {
	attributes := t.with() // made once
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s, ok := msauth.FromContext(r.Context()); ok {
			if renewed := s.Renewed(); !renewed.IsZero() {
				t.tokenAge.Record(r.Context(), max(0, time.Since(renewed).Seconds()), attributes)
			}
		}
		next.ServeHTTP(w, r)
	})
}
