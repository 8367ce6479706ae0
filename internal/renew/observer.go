package renew

import (
	"context"
	"time"

	"example.com/msauth/internal/provider"
)

// An Observer is told what happens to tokens, for logs and counters. Its methods
// are called without any lock held; they do not fail and do not panic.
type Observer interface {
	// Renewed reports a token request that succeeded and how long it took. user
	// is the key of the account; other says that it was for other scopes than the
	// session's own.
	Renewed(ctx context.Context, user, reason string, other bool, took time.Duration)
	// RenewalFailed reports a token request that failed.
	RenewalFailed(ctx context.Context, user, reason string, other bool, took time.Duration, err *provider.Failure)
	// SessionEnded reports that the provider ended a session: it refused its
	// refresh token until the person signs in again.
	SessionEnded(ctx context.Context, user string, err *provider.Failure)
	// Paused reports that token requests stop because the provider fails.
	Paused(ctx context.Context, err *provider.Failure)
	// Resumed reports that they go on.
	Resumed(ctx context.Context)
	// Troubled reports a failure that an operator must fix, once a minute at
	// most.
	Troubled(ctx context.Context, err *provider.Failure)
	// StoreFailed reports that a store of the app's fails; what is "session
	// store" or "token store".
	StoreFailed(ctx context.Context, what string, err error)
	// Weaken notes what does not work while people can sign in. It counts as
	// broken until Mend, or until nothing more was heard of it for as long as
	// lasts. about names which of several things it is about, "" if there is but
	// one. err is nil where something else has reported it.
	Weaken(ctx context.Context, what, about string, lasts time.Duration, err error)
	// Mend notes that it works again.
	Mend(ctx context.Context, what, about string)
}

// What Weaken and Mend are told. The texts are part of Stats.Degraded of package
// msauth.
const (
	weakApp    = "app misconfigured"
	weakSecret = "client secret suspected"
	weakAPI    = "tokens of an API refused"
	weakTokens = "token store fails"
)

// weakFor is how long a weakness lasts of which nothing more is heard.
const weakFor = troubleRecent
