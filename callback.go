package msauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	session_ "example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// maxCode is far more than any code has, in bytes. It bounds what visitors can
// make this server send to the provider.
const maxCode = 8 << 10

// An answer is what comes back from the authorization endpoint.
type answer struct {
	state, issuer             string
	code                      seal.Secret
	err, description, subcode string
}

// readAnswer takes each parameter at most once (RFC 6749 section 3.1).
func readAnswer(r *http.Request) (a answer, err error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return a, errors.New("msauth: malformed query")
	}
	var code string
	for name, value := range map[string]*string{
		"state": &a.state, "code": &code, "iss": &a.issuer,
		"error": &a.err, "error_description": &a.description, "error_subcode": &a.subcode,
	} {
		switch values := q[name]; len(values) {
		case 0:
		case 1:
			*value = values[0]
		default:
			return a, fmt.Errorf("msauth: %s is repeated", name)
		}
	}
	a.code = seal.Secret(code)
	switch {
	case a.state == "":
		return a, session.ErrState
	case a.code != "" && a.err != "":
		return a, errors.New("msauth: both code and error")
	case len(a.code) > maxCode:
		return a, errors.New("msauth: code is too long")
	case a.code == "" && a.err == "":
		return a, errors.New("msauth: neither code nor error")
	}
	return a, nil
}

// Callback is where Microsoft sends people back to: BaseURL + "/callback". It
// redeems the code, makes the session and leads on to where the person was
// going. A callback that fails leaves a session that is there as it was.
func (m *Middleware) Callback(w http.ResponseWriter, r *http.Request) {
	web.Vary(w.Header(), "Cookie")
	if r.Method != http.MethodGet {
		m.wrongMethod(w, r, "GET")
		return
	}
	if web.IsPrefetch(r) {
		refusePrefetch(w)
		return
	}
	m.noteMisplaced(r)
	ans, err := readAnswer(r)
	if err != nil {
		m.startAgain(w, r, &session.Attempt{ReturnTo: m.cfg.Home}, err)
		return
	}
	a, err := m.attempts.Open(ans.state)
	if a != nil {
		m.recall(r, a)
	}
	if errors.Is(err, session.ErrStateExpired) {
		m.forget(w, a)
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "expired", Status: http.StatusBadRequest,
			Title: "Signing in took too long",
			Text:  fmt.Sprintf("For your safety a sign-in has to be finished within %d minutes. Nothing is lost: just start it again.", session.AttemptLifetime/time.Minute),
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if err != nil {
		m.startAgain(w, r, &session.Attempt{ReturnTo: m.cfg.Home}, err)
		return
	}
	_, cookie := m.attempts.Sent(r.Header, a.ID.String())
	binding := a.Bind(cookie)
	if cookie == "" || !seal.SameText(string(binding[:]), string(a.Binding[:])) {
		m.unbound(w, r, a, cookie != "")
		return
	}
	if a.Cut && !a.Kept {
		m.log.InfoContext(r.Context(), "msauth: an address to return to has lost its query: another sign-in with a long address was begun since", "path", web.OneLine(a.ReturnTo, 200))
	}
	// The attempt is over, however it ends: also for whoever has copied its cookie
	// before.
	m.forget(w, a)
	if !m.attempts.Finish(a.ID) {
		m.unbound(w, r, a, false)
		return
	}
	m.finish(w, r, a, ans, cookie)
}

// forget deletes the cookies of an attempt.
func (m *Middleware) forget(w http.ResponseWriter, a *session.Attempt) {
	m.attempts.Clear(w, a.ID.String())
	if a.Kept {
		m.attempts.ClearAddress(w.Header())
	}
}

// sentOwn reports whether a request carries any cookie of ours.
func (m *Middleware) sentOwn(r *http.Request) bool {
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if rest, ok := strings.CutPrefix(strings.Trim(part, " \t"), m.cookies.Name); ok && (strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "-")) {
				return true
			}
		}
	}
	return false
}

// finish completes an attempt that is known to be this browser's.
func (m *Middleware) finish(w http.ResponseWriter, r *http.Request, a *session.Attempt, ans answer, cookie string) {
	ctx := r.Context()
	meta, err := m.authority.Metadata.Get(ctx)
	if err != nil {
		m.unavailable(w, r, a, err)
		return
	}
	if err := checkAnswerIssuer(meta, ans.issuer); err != nil {
		m.startAgain(w, r, a, err)
		return
	}
	if ans.err != "" {
		m.answeredWithError(w, r, a, ans)
		return
	}
	asked := m.scopesToAsk(meta, strings.Fields(a.Scopes))
	own, others := m.scopes.ByAPI(m.scopes.Order(asked))
	scopes := "" // of the session's own API, where others were asked for too
	if len(others) > 0 && len(own) > 0 {
		scopes = strings.Join(slices.Concat(provider.SignInScopes, own), " ")
	}
	g, failure := m.renewals.Endpoint.Redeem(ctx, ans.code, a.Verifier(cookie), scopes)
	if failure != nil {
		m.notRedeemed(w, r, a, failure)
		return
	}
	m.renewals.Succeeded(ctx)
	m.redeemed.Store(true)
	if g.IDToken == "" {
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "unavailable", Status: http.StatusBadGateway,
			Title: "Signing in did not work",
			Text:  "The answer to your sign-in was incomplete. Try again; if it happens again, tell the people who run this site.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New("msauth: the token reply holds no ID token, though the scope openid was asked for"),
		})
		return
	}
	nonce := a.Nonce(cookie)
	id, err := m.authority.Verify(ctx, g.IDToken, provider.IDTokenCheck{
		Access:    g.Access,
		NonceFits: func(got string, present bool) bool { return present && seal.SameText(got, nonce) },
	})
	if unavailable, ok := errors.AsType[provider.KeysUnavailableError](err); ok {
		m.unavailable(w, r, a, unavailable)
		return
	}
	if err != nil {
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "start-again", Status: http.StatusBadRequest,
			Title: "Signing in did not work",
			Text:  "Microsoft's answer could not be accepted. Trying again may help; if it does not, tell the people who run this site.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if !m.admits(&id.User) {
		m.notAllowed(w, r, a, &provider.Failure{Class: provider.NotAllowed, Err: fmt.Errorf("%w: tenant %s", provider.ErrNotAdmitted, id.User.TenantID)}, "tenant", &id.User)
		return
	}

	if a.MaxAge > 0 && !m.provedFresh(w, r, a, id) {
		return
	}
	if len(others) == 0 || len(own) > 0 {
		m.fillInNames(ctx, id, g.Access)
	}
	now := time.Now().Unix()
	rec := &session.Record{
		Layout: &m.layout, Attempt: a.ID, Rounds: a.Rounds, Asked: a.Asked,
		Nonce: session.NonceDigest(nonce), SignedIn: now, Used: now, Scopes: strings.Join(asked, " "),
	}
	seal.RandomBytes(rec.ID[:])
	if len(others) > 0 && len(own) == 0 {
		// That was a token for another API. Consent to it is all that was
		// wanted: the session goes on with one for its own.
		if g, failure = m.ownTokens(ctx, g, &id.User); failure != nil {
			m.notRedeemed(w, r, a, failure)
			return
		}
		rec.Identify(id)
		if g.IDToken != "" {
			if failure = m.renewals.Identify(ctx, rec, g); failure != nil {
				m.notRedeemed(w, r, a, failure)
				return
			}
		}
		rec.Scopes = strings.Join(m.cfg.Scopes, " ")
	}
	rec.Take(g)
	if len(others) == 0 || len(own) > 0 {
		rec.Scopes = m.scopes.Asked(m.cfg.Scopes, rec.Scopes)
	}
	rec.Identify(id)
	m.admit(w, r, a, rec)
}

// ownTokens are those of the session's own API, where a code gave others.
func (m *Middleware) ownTokens(ctx context.Context, g *provider.TokenSet, u *provider.Account) (*provider.TokenSet, *provider.Failure) {
	if g.Refresh == "" && m.cfg.Issuer != "" {
		without := *g
		without.Access = "" // it is of another API
		return &without, nil
	}
	if g.Refresh == "" {
		return nil, &provider.Failure{Class: provider.Misconfigured, Err: renew.ErrNoRefreshToken}
	}
	scopes := strings.Join(m.cfg.Scopes, " ")
	g, failure := m.renewals.Endpoint.Refresh(ctx, g.Refresh, provider.RefreshRequest{
		Asks: provider.GrantRenewal, Scopes: scopes, Fewer: scopes, Personal: u.Personal(),
	})
	if failure == nil {
		g.Scopes = m.scopes.Asked(m.cfg.Scopes, g.Scopes)
	}
	return g, failure
}

// fillInNames asks another provider how a person is called whose ID token does not
// say (OpenID Connect Core section 5.3). Nothing else is taken from there: it is
// not signed.
func (m *Middleware) fillInNames(ctx context.Context, id *provider.Identity, access seal.Secret) {
	u := &id.User
	if m.cfg.Issuer == "" || u.Name != "" || u.Email != "" || access == "" {
		return
	}
	if m.authority.Kind == provider.ExternalID && m.scopes.Own != "" {
		return // its userinfo is Graph's, and the token for another API
	}
	if err := m.authority.FillInNames(ctx, id, access); err != nil {
		m.log.WarnContext(ctx, "msauth: the ID token holds neither name nor e-mail, and userinfo does not help", "user", u.Key(), "err", err)
	}
}

// provedFresh reports whether credentials were entered as recently as a sign-in
// was to bring it about, and shows why not. The parameters that ask for it stand
// in the address bar, where anybody can take them out.
func (m *Middleware) provedFresh(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity) bool {
	age := time.Since(time.Unix(id.AuthTime, 0))
	switch {
	case id.AuthTime == 0:
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "no-auth-time", Status: http.StatusForbidden,
			Title: "This site is not set up correctly for this page",
			Text:  "Microsoft did not say when you entered your password. The app registration has to ask for it: Token configuration, Add optional claim, ID, auth_time. " + m.asBefore(r) + "Tell the people who run this site.",
			Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New("msauth: ID token: auth_time is missing: add it as an optional claim to the app registration"),
		}, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
	case age > a.MaxAge+provider.ExpLeeway:
		m.refuse(w, r, slog.LevelWarn, Page{
			Kind: "not-enough", Status: http.StatusForbidden,
			Title: "You were not asked to sign in again",
			Text:  "This page needs you to enter your password, or what you use in its place, and Microsoft did not ask for it. " + m.asBefore(r) + "Try again.",
			Links: []Link{{URL: m.loginURL(LoginOptions{ReturnTo: a.ReturnTo}, provider.Requirement{MaxAge: a.MaxAge}), Label: "Sign in again"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   fmt.Errorf("msauth: ID token: auth_time is %v ago, where %v are allowed", age.Round(time.Second), a.MaxAge),
		}, m.events.refused("fresh_sign_in", &id.User, a.ReturnTo)...)
	default:
		return true
	}
	return false
}

// admit asks the app, makes the session and leads on.
func (m *Middleware) admit(w http.ResponseWriter, r *http.Request, a *session.Attempt, rec *session.Record) {
	if a.User != "" && !m.stillThere(w, r, a, &rec.User) {
		return
	}
	session := new(heldSession).of(m, rec, nil)
	in := &SignIn{
		Session: session, AppState: a.AppState, ReturnTo: a.ReturnTo,
		UserKey: a.User, Connecting: a.User != "",
	}
	if a.User == "" && m.vault != nil && m.cfg.User == nil {
		in.UserKey = rec.User.Key()
	}
	if m.cfg.OnSignIn != nil {
		if err := m.callOnSignIn(w, r, in); err != nil {
			if _, panicked := errors.AsType[hookPanic](err); panicked {
				m.appError(w, r, err)
				return
			}
			m.notAllowed(w, r, a, err, "on_sign_in", &rec.User)
			return
		}
		if len(in.AppData) > maxAppData {
			m.appError(w, r, fmt.Errorf("msauth: SignIn.AppData has %d bytes, more than %d", len(in.AppData), maxAppData))
			return
		}
		// The hook may have used the session for so long that it was renewed.
		if held, ok := session.tokens.(*heldTokens); ok {
			held.mu.Lock()
			rec = held.rec.Clone()
			held.mu.Unlock()
		}
		rec.AppData = in.AppData
	}
	undo := func() error { return nil }
	if m.vault != nil && in.UserKey != "" {
		kept, takeBack, err := m.renewals.KeepStored(r.Context(), rec, in.UserKey, in.ReplaceAccount, in.ShareAccount)
		if err != nil {
			m.notKept(w, r, a, &rec.User, err)
			return
		}
		rec, undo = kept, takeBack
		if held, ok := session.tokens.(*heldTokens); ok { // the hook may use it on
			held.mu.Lock()
			held.rec, held.access = rec, nil
			held.mu.Unlock()
		}
	}
	if a.User != "" && !in.MakeSession {
		if rec.UserKey != "" {
			m.events.connected(r.Context(), rec)
		}
		m.leadOn(w, r, a, m.returnPath(in.ReturnTo))
		return
	}
	old, _, _ := m.sessions.Load(r)
	if old != nil && m.judge(old, m.ended.Has(old.ID), time.Now()) == "" {
		rec.GoesOn(old)
	}
	m.withoutRefreshToken(rec)
	if err := m.sessions.Create(w, r, rec); err != nil {
		if err := undo(); err != nil {
			m.log.ErrorContext(r.Context(), "msauth: putting back the tokens of before a sign-in that failed", "err", err)
		}
		if errors.Is(err, session_.ErrTooLarge) {
			m.tooLarge(w, r, err)
			return
		}
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "unavailable", Status: http.StatusServiceUnavailable,
			Title: "Signing in is not possible right now",
			Text:  "The site could not keep your session. Try again in a moment.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if old != nil {
		grace := time.Duration(0)
		if old.User.Key() == rec.User.Key() {
			grace = replacedGrace
		}
		m.ended.Add(old, m.cfg.MaxAge, grace)
	}
	m.setMarker(w)
	m.events.signedIn(r.Context(), rec)
	own, _ := m.scopes.ByAPI(m.scopes.Order(slices.Concat(m.cfg.Scopes, strings.Fields(a.Scopes))))
	if missing := m.scopes.Missing(rec.Scopes, own); len(missing) > 0 {
		m.log.InfoContext(r.Context(), "msauth: fewer scopes granted than asked for", "user", rec.User.Key(), "missing", strings.Join(missing, " "))
	}
	m.leadOn(w, r, a, m.returnPath(in.ReturnTo))
}

// hookPanic is a panic of the app's hook, as an error.
type hookPanic struct {
	value any
	stack []byte
}

func (p hookPanic) Error() string {
	return fmt.Sprintf("msauth: OnSignIn panicked: %v\n%s", p.value, p.stack)
}

func (m *Middleware) callOnSignIn(w http.ResponseWriter, r *http.Request, in *SignIn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = hookPanic{p, debug.Stack()}
		}
	}()
	return m.cfg.OnSignIn(w, r, in)
}

// checkAnswerIssuer is RFC 9207 section 2.4.
func checkAnswerIssuer(meta *provider.Metadata, issuer string) error {
	if issuer == "" {
		if meta.AnswerIssuer {
			return errors.New("msauth: iss is missing from the answer, though the provider announces it")
		}
		return nil
	}
	if issuer == meta.Issuer {
		return nil
	}
	if before, after, ok := strings.Cut(meta.Issuer, provider.TenantPattern); ok {
		tenant, ok := strings.CutPrefix(issuer, before)
		if tenant, ok2 := strings.CutSuffix(tenant, after); ok && ok2 && provider.GUIDForm.MatchString(tenant) {
			return nil
		}
	}
	return errors.New("msauth: iss of the answer is another issuer")
}

const (
	notYou = "You did nothing wrong. Tell the people who run this site."
)

// misdirected reports whether a request is the answer to a sign-in of ours
// that went past Callback: a proxy has changed its path, so that signing in
// would never end.
func (m *Middleware) misdirected(r *http.Request) bool {
	answer, err := readAnswer(r)
	if err != nil {
		return false
	}
	a, err := m.attempts.Open(answer.state)
	if err != nil {
		return false
	}
	_, cookie := m.attempts.Sent(r.Header, a.ID.String())
	binding := a.Bind(cookie)
	return cookie != "" && seal.SameText(string(binding[:]), string(a.Binding[:]))
}

// noteMisplaced logs, once, that the answer to a sign-in came to another path
// than Microsoft was told. Where it finds Callback all the same people can sign
// in, but what they wanted to see is found below a wrong path.
func (m *Middleware) noteMisplaced(r *http.Request) {
	if m.misplaced.Load() {
		return
	}
	want := m.base.Path + "/callback"
	asked, _, _ := strings.Cut(web.RequestPath(r), "?")
	if path, err := url.PathUnescape(asked); err == nil {
		asked = path
	}
	if asked == want || r.URL.Path == want {
		return
	}
	ans, err := readAnswer(r)
	if err != nil {
		return
	}
	if a, _ := m.attempts.Open(ans.state); a != nil && m.misplaced.CompareAndSwap(false, true) {
		m.log.WarnContext(r.Context(), "msauth: the answer to a sign-in arrived at an unexpected path: does something in front strip or add a prefix?",
			"base_url", m.cfg.BaseURL, "path", web.OneLine(asked, 200), "expected", want)
	}
}
