package otelmsauth_test

import (
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// What is observed twice is counted once: the second time is an error.
func TestObserveOnce(t *testing.T) {
	t.Parallel()
	o := newTelemetry(t)
	s := testsite.New(t, o.use(t))
	if err := o.Observe(nil); err == nil || !strings.Contains(err.Error(), "is nil") {
		t.Errorf("error %v", err)
	}
	o.observe(t, s.Auth)
	if err := o.Observe(s.Auth); err == nil || !strings.Contains(err.Error(), "was called before") {
		t.Errorf("a second time: error %v", err)
	}
	s.Browser(t).SignIn(msauthtest.Ada)
	o.want(t, 1, "msauth_sign_ins_total")
}
