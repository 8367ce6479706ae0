package provider

import (
	"errors"
	"testing"
)

func TestTextOfFailures(t *testing.T) {
	t.Parallel()
	cause := errors.New("connection refused")
	for _, test := range []struct {
		name    string
		failure Failure
		want    string
	}{
		{"a class alone", Failure{Class: StepUp}, "msauth: step up"},
		{"a status", Failure{Class: Retry, StatusCode: 503}, "msauth: retry: HTTP status 503"},
		{"a code hides the status", Failure{Class: SignIn, StatusCode: 400, Code: "invalid_grant"}, "msauth: sign in again: invalid_grant"},
		{"all", Failure{Class: SignIn, Code: "invalid_grant", Suberror: "bad_token", Description: "AADSTS50173: revoked", Err: cause},
			"msauth: sign in again: invalid_grant (bad_token): AADSTS50173: revoked: connection refused"},
		{"advice", Failure{Class: Misconfigured, Code: "invalid_client", Numbers: []int{1, 7000222}},
			"msauth: app misconfigured: invalid_client. What helps: " + remedies[7000222]},
		{"no advice to a person", Failure{Class: SignIn, Code: "invalid_grant", Numbers: []int{7000222}}, "msauth: sign in again: invalid_grant"},
		{"no advice is known", Failure{Class: Misconfigured, Code: "x", Numbers: []int{1}}, "msauth: app misconfigured: x"},
	} {
		if got := test.failure.Error(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	if !errors.Is(&Failure{Err: cause}, cause) {
		t.Error("the cause is not wrapped")
	}
}

func TestRecoverInto(t *testing.T) {
	t.Parallel()
	run := func(f func() error) (err error) {
		defer RecoverInto(&err)
		return f()
	}
	err := run(func() error { panic("a bug") })
	if wantFault(t, err, "panic: a bug"); err == nil {
		return
	}
	if failure, ok := errors.AsType[*Failure](err); !ok || failure.Class != Retry {
		t.Errorf("%#v, want class %q", err, Retry)
	}
	cause := errors.New("no panic")
	if err := run(func() error { return cause }); err != cause {
		t.Errorf("%v in place of the function's own error", err)
	}
}
