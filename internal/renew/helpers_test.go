package renew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
)

// A recorder is an Observer that takes down what it is told. Each of its methods
// asks Ready, as a log handler may: that hangs where a lock is held.
type recorder struct {
	mu    sync.Mutex
	told  []string
	ready func() error
}

func (o *recorder) note(format string, args ...any) {
	if o.ready != nil {
		_ = o.ready()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.told = append(o.told, fmt.Sprintf(format, args...))
}

// take returns what was told since the last call.
func (o *recorder) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.told
	o.told = nil
	return told
}

func (o *recorder) Renewed(_ context.Context, _, reason string, other bool, _ time.Duration) {
	o.note("renewed %s %t", reason, other)
}

func (o *recorder) RenewalFailed(_ context.Context, _, reason string, other bool, _ time.Duration, err *provider.Failure) {
	o.note("failed %s %t: %s", reason, other, err.Class)
}

func (o *recorder) SessionEnded(context.Context, string, *provider.Failure) { o.note("ended") }

func (o *recorder) Paused(context.Context, *provider.Failure) { o.note("paused") }

func (o *recorder) Resumed(context.Context) { o.note("resumed") }

func (o *recorder) Troubled(_ context.Context, err *provider.Failure) {
	o.note("troubled %s", err.Code)
}

func (o *recorder) StoreFailed(_ context.Context, what string, err error) {
	o.note("%s fails: %v", what, err)
}

func (o *recorder) Weaken(_ context.Context, what, about string, _ time.Duration, _ error) {
	o.note("%s", strings.TrimSpace("weak: "+what+" "+about))
}

func (o *recorder) Mend(_ context.Context, what, about string) {
	o.note("%s", strings.TrimSpace("mended: "+what+" "+about))
}

// A fakeProvider publishes discovery and answers token requests. The n-th request,
// from 1, is answered by reply, or else with access token A<n> and refresh token
// R<n>.
type fakeProvider struct {
	reply func(n int, form url.Values) (status int, body string)

	mu    sync.Mutex
	forms []url.Values
}

// answer changes how requests are answered from now on.
func (p *fakeProvider) answer(reply func(n int, form url.Values) (status int, body string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reply = reply
}

const issuer = "https://id.example.com"

func (p *fakeProvider) RoundTrip(req *http.Request) (*http.Response, error) {
	status, body := http.StatusOK, ""
	switch req.URL.Path {
	case "/.well-known/openid-configuration":
		body = fmt.Sprintf(`{"issuer":%q,"authorization_endpoint":"%[1]s/authorize","token_endpoint":"%[1]s/token","jwks_uri":"%[1]s/keys"}`, issuer)
	case "/token":
		data, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(data))
		if err != nil {
			return nil, err
		}
		p.mu.Lock()
		p.forms = append(p.forms, form)
		n, reply := len(p.forms), p.reply
		p.mu.Unlock()
		body = tokens(n)
		if reply != nil {
			status, body = reply(n, form)
		}
	default:
		status = http.StatusServiceUnavailable
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)), Request: req,
	}, nil
}

// used returns the refresh tokens of the token requests, in order.
func (p *fakeProvider) used() (list []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, form := range p.forms {
		list = append(list, form.Get("refresh_token"))
	}
	return list
}

// tokens is the n-th reply that has tokens, with further members as JSON.
func tokens(n int, more ...string) string {
	return fmt.Sprintf(`{"token_type":"Bearer","access_token":"A%d","refresh_token":"R%[1]d","expires_in":3600%s}`, n, strings.Join(more, ""))
}

// refuse answers every token request with an OAuth error.
func refuse(status int, code string) func(int, url.Values) (int, string) {
	return func(int, url.Values) (int, string) { return status, fmt.Sprintf(`{"error":%q}`, code) }
}

// fixture makes renewals at a provider.
func fixture(p http.RoundTripper, change func(*Settings)) (*Renewals, *recorder) {
	client := &http.Client{Transport: p}
	told := &recorder{}
	s := Settings{
		Endpoint: &provider.TokenEndpoint{
			Authority: provider.NewAuthority(provider.Settings{Kind: provider.OtherProvider, Issuer: issuer, ClientID: "app", Client: client}),
			ClientID:  "app", Credentials: secretRing("secret"), Client: client,
		},
		Registration: session.Registration{1}, Observer: told,
	}
	if change != nil {
		change(&s)
	}
	r := New(s)
	told.ready = r.Ready
	return r, told
}

// secretRing is the ring of an app that has one client secret.
func secretRing(value string) *credential.Ring {
	secret, err := credential.NewSecret(value, "client secret")
	if err != nil {
		panic(err)
	}
	return credential.NewRing([]credential.Source{credential.Fixed(secret)}, 0, nil)
}

var layout = &session.Layout{Authority: issuer, ClientID: "app"}

// expired is the session of a person whose access token has expired.
func expired(person string, refresh seal.Secret) *session.Record {
	now := time.Now().Unix()
	id := session.ID{}
	copy(id[:], person)
	return &session.Record{
		Layout: layout, ID: id, User: provider.Account{Issuer: issuer, Subject: person},
		SignedIn: now - 7200, Used: now, Renewed: now - 7200, Expiry: now - 3600, RefreshAt: now - 3900, Access: "A", Refresh: refresh,
	}
}

// renewal asks for the session's own tokens, unless they are good.
func renewal(rec *session.Record) Request {
	return Request{
		Rec: rec, Reason: "expired", KeepUntil: time.Now().Add(24 * time.Hour),
		Due: func(g *provider.TokenSet) bool { return !g.Usable(time.Now()) },
	}
}

func classOf(err error) provider.Class {
	if failure, ok := errors.AsType[*provider.Failure](err); ok {
		return failure.Class
	}
	return ""
}

// A memoryStore is a TokenStore.
type memoryStore struct {
	mu      sync.Mutex
	entries map[string]StoredTokens
	fail    func(call string) error // if not nil, may fail a call
}

func (s *memoryStore) call(ctx context.Context, call string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	fail := s.fail
	s.mu.Unlock()
	if fail != nil {
		return fail(call)
	}
	return nil
}

// failing has calls fail, or none if fail is nil.
func (s *memoryStore) failing(fail func(call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

// savesFailAfter lets n saves succeed.
func savesFailAfter(n int) func(call string) error {
	var saves atomic.Int64
	return func(call string) error {
		if call == "save" && saves.Add(1) > int64(n) {
			return errStore
		}
		return nil
	}
}

func (s *memoryStore) Load(ctx context.Context, place string) (StoredTokens, error) {
	if err := s.call(ctx, "load"); err != nil {
		return StoredTokens{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[place]
	if !ok {
		return e, ErrNoTokens
	}
	e.Sealed = bytes.Clone(e.Sealed)
	return e, nil
}

func (s *memoryStore) Save(ctx context.Context, place string, old int64, t StoredTokens) error {
	if err := s.call(ctx, "save"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries[place].Version != old {
		return ErrConflict
	}
	for other, e := range s.entries {
		if other != place && e.Account == t.Account && !e.Shared && !t.Shared {
			return ErrAccountTaken
		}
	}
	if s.entries == nil {
		s.entries = map[string]StoredTokens{}
	}
	s.entries[place] = t
	return nil
}

func (s *memoryStore) Delete(ctx context.Context, place string) error {
	if err := s.call(ctx, "delete"); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, place)
	return nil
}

func (s *memoryStore) places() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.entries))
}

// vaultOn is a vault whose keys are made from the seeds, the first one seals.
func vaultOn(t *testing.T, store TokenStore, seeds ...byte) *Vault {
	t.Helper()
	var keys [][]byte
	for _, seed := range seeds {
		keys = append(keys, bytes.Repeat([]byte{seed, seed + 1, seed + 2, seed + 3}, 8))
	}
	ring, err := seal.NewKeyring(keys)
	if err != nil {
		t.Fatal(err)
	}
	registration := session.Registration{1}
	return &Vault{
		Store: store, Keys: ring.Derive("msauth stored tokens v1"),
		Registration: registration, Layout: layout, Prefix: registration.Prefix(),
	}
}

// connect signs a person in as the app's user, and returns the session in their
// browser.
func connect(t *testing.T, r *Renewals, rec *session.Record, user string) *session.Record {
	t.Helper()
	browser, _, err := r.KeepStored(t.Context(), rec, user, false, false)
	if err != nil {
		t.Fatal(err)
	}
	return browser
}
