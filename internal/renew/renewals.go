package renew

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/ttl"
)

// Renewals renews tokens: one request per refresh token at a time, its outcome
// shared by all who wait and remembered for those who come late. It is safe for
// concurrent use.
type Renewals struct {
	Settings

	flights singleflight.Group // renewals under way: see flight.key
	slots   chan struct{}      // holds one value for each token request under way
	breaker *breaker           // whether the provider may be asked at all

	outcomes outcomes       // what is known of refresh tokens
	pending  pendingUpdates // what the next cookie of a session has to say
	stored   storedState    // what is known of tokens that the app stores

	// others are the tokens for other scopes than the session's own, by
	// RequestKey.
	others *ttl.Map[Key, *provider.TokenSet]
	// Challenges has the RequestKey, without claims, of each token that was
	// requested because of a claims challenge: see Challenged. Whoever adds one
	// says how long it counts.
	Challenges *ttl.Map[Key, struct{}]

	doubts *ttl.Map[Key, time.Time] // when a refusal of a refresh token was first doubted
	under  atomic.Int64             // flights, and what is being shared of them
}

// Settings are what renewals have to know of the app.
type Settings struct {
	Endpoint     *provider.TokenEndpoint // takes the token requests
	Registration session.Registration    // the app at its provider: part of every Key
	Rules        provider.Scopes         // which API a scope is of
	Scopes       []string                // the app's own
	// Tenants is how many tenants people may be from; 0 for one, or none.
	Tenants   int
	OneTenant bool     // everyone is from the one tenant that the app was made for
	Observer  Observer // is told what happens
	Vault     *Vault   // the app's token store, nil if it has none
	Shared    *Sharing // what other processes know, nil if there are none
	// Trace, if not nil, is told that a token request begins; other says that it is
	// for other scopes than the session's own. It returns the context to make it
	// with, and what to call with its error at the end. Neither panics.
	Trace func(ctx context.Context, other bool) (context.Context, func(error))
}

// New returns renewals that remember nothing yet.
func New(s Settings) *Renewals {
	b := newBreaker(s.Tenants, s.OneTenant)
	return &Renewals{
		Settings:   s,
		slots:      make(chan struct{}, maxFlights),
		breaker:    b,
		outcomes:   newOutcomes(b),
		pending:    newPendingUpdates(),
		stored:     newStoredState(),
		others:     ttl.New[Key, *provider.TokenSet](MaxOutcomes),
		Challenges: ttl.New[Key, struct{}](MaxOutcomes),
		doubts:     ttl.New[Key, time.Time](MaxOutcomes),
	}
}
