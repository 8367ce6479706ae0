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
	"strconv"
	"strings"
	"time"

	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/renew"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

// Callback serves the redirect URI, BaseURL + "/callback", to which Microsoft
// sends people back. It redeems the code, makes the session and redirects to
// the page that the person asked for. A callback that fails leaves an existing
// session unchanged.
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
			TextID: "took-too-long", Args: map[string]string{"minutes": strconv.Itoa(int(session.AttemptLifetime / time.Minute))},
			Links: []Link{m.againLink(a), m.home()},
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
		m.log.InfoContext(r.Context(), "msauth: return address has lost its query: another sign-in with a long address was started since", "path", web.OneLine(a.ReturnTo, 200))
	}
	// From here on the attempt is over, whatever comes of it, and a copy of its
	// cookie is worthless.
	m.forget(w, a)
	if !m.attempts.Finish(a.ID) {
		m.unbound(w, r, a, false)
		return
	}
	m.finish(&arrival{w: w, r: r, attempt: a, answer: ans, cookie: cookie})
}

// An answer is a response of the authorization endpoint.
type answer struct {
	state, issuer             string
	code                      seal.Secret
	err, description, subcode string
}

// maxCode, in bytes, is far more than any code has. It limits what visitors can
// make this server send to the provider.
const maxCode = 8 << 10

// readAnswer parses the query of a callback. Parameters must not be repeated
// (RFC 6749 section 3.1).
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

// forget deletes the cookies of an attempt.
func (m *Middleware) forget(w http.ResponseWriter, a *session.Attempt) {
	m.attempts.Clear(w, a.ID.String())
	if a.Kept {
		m.attempts.ClearAddress(w.Header())
	}
}

// An arrival is a sign-in between Microsoft's answer and the session. Each step
// of finish adds to it.
type arrival struct {
	w       http.ResponseWriter
	r       *http.Request
	attempt *session.Attempt
	answer  answer
	cookie  string // of the attempt

	meta   *provider.Metadata
	asked  []string   // the requested scopes
	own    []string   // of these, those of the session's own API
	others [][]string // and those of other APIs, by API

	tokens   *provider.TokenSet
	identity *provider.Identity
	record   *session.Record
	signIn   *SignIn
	held     *heldTokens  // of the session that OnSignIn receives
	undo     func() error // restores what Config.Tokens held before
}

// ownToken reports whether the code gives a token for the session's own API.
func (in *arrival) ownToken() bool { return len(in.others) == 0 || len(in.own) > 0 }

// finish completes an attempt that this browser has proved to be its own. A
// step that returns false has answered the request.
func (m *Middleware) finish(in *arrival) {
	ctx, end := m.trace.begin(in.r.Context(), traceSignIn)
	e := &ending{errUnfinished}
	defer func() { end(e.err) }()
	in.r = in.r.WithContext(context.WithValue(ctx, endingKey{}, e))
	_ = m.checkAnswer(in) && m.redeem(in) && m.identify(in) && m.record(in) && m.askApp(in) && m.keepTokens(in) && m.makeSession(in)
}

// checkAnswer checks that the answer holds a code and is the provider's own.
func (m *Middleware) checkAnswer(in *arrival) bool {
	var err error
	if in.meta, err = m.authority.Discover(in.r.Context()); err != nil {
		m.unavailable(in.w, in.r, in.attempt, err)
		return false
	}
	if err := checkAnswerIssuer(in.meta, in.answer.issuer); err != nil {
		m.startAgain(in.w, in.r, in.attempt, err)
		return false
	}
	if in.answer.err != "" {
		m.answeredWithError(in.w, in.r, in.attempt, in.answer)
		return false
	}
	return true
}

// checkAnswerIssuer checks the parameter iss as RFC 9207 section 2.4 says.
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

// redeem exchanges the code for tokens.
func (m *Middleware) redeem(in *arrival) bool {
	in.asked = m.scopesToAsk(in.meta, strings.Fields(in.attempt.Scopes))
	in.own, in.others = m.scopes.ByAPI(m.scopes.Order(in.asked))
	scopes := "" // of the session's own API, if others were requested too
	if len(in.others) > 0 && len(in.own) > 0 {
		scopes = strings.Join(slices.Concat(m.scopes.SignIn, in.own), " ")
	}
	ctx := in.r.Context()
	tokens, failure := m.renewals.Endpoint.Redeem(ctx, in.answer.code, in.attempt.Verifier(in.cookie), scopes)
	if failure != nil {
		m.notRedeemed(in.w, in.r, in.attempt, failure)
		return false
	}
	m.renewals.Succeeded(ctx)
	m.redeemed.Store(true)
	if tokens.IDToken == "" {
		m.withoutIDToken(in)
		return false
	}
	in.tokens = tokens
	return true
}

// identify verifies the ID token and checks that the account is allowed.
func (m *Middleware) identify(in *arrival) bool {
	ctx, nonce := in.r.Context(), in.attempt.Nonce(in.cookie)
	id, err := m.authority.Verify(ctx, in.tokens.IDToken, provider.IDTokenCheck{
		Access:    in.tokens.Access,
		NonceFits: func(got string, present bool) bool { return present && seal.SameText(got, nonce) },
	})
	if unavailable, ok := errors.AsType[provider.KeysUnavailableError](err); ok {
		m.unavailable(in.w, in.r, in.attempt, unavailable)
		return false
	}
	if err != nil {
		m.untrueIDToken(in, err)
		return false
	}
	if !m.admits(&id.User) {
		m.notAllowed(in.w, in.r, in.attempt, &provider.Failure{
			Class: provider.NotAllowed, Err: fmt.Errorf("%w: tenant %s", provider.ErrNotAdmitted, id.User.TenantID),
		}, "tenant", &id.User)
		return false
	}
	if in.attempt.MaxAge > 0 && !m.provedFresh(in.w, in.r, in.attempt, id) {
		return false
	}
	if in.attempt.User == "" && !m.mayBegin(in.w, in.r, in.attempt, id) { // connecting an account: see askApp
		return false
	}
	if in.ownToken() {
		m.fillInNames(ctx, id, in.tokens.Access)
	}
	in.identity = id
	return true
}

// fillInNames asks userinfo (OpenID Connect Core section 5.3) of a provider
// other than Microsoft for the names that an ID token lacks. Nothing else is
// taken from there, because it is not signed.
func (m *Middleware) fillInNames(ctx context.Context, id *provider.Identity, access seal.Secret) {
	u := &id.User
	if m.cfg.Issuer == "" || u.Name != "" || u.Email != "" || access == "" {
		return
	}
	if m.authority.Kind == provider.ExternalID && m.scopes.Own != "" {
		return // its userinfo is Graph's, and the token is for another API
	}
	if err := m.authority.FillInNames(ctx, id, access); err != nil {
		m.log.WarnContext(ctx, "msauth: neither name nor e-mail in the ID token, and userinfo failed", "user", u.Key(), "err", err)
	}
}

// record makes the session's record.
func (m *Middleware) record(in *arrival) bool {
	a, now := in.attempt, time.Now().Unix()
	rec := &session.Record{
		Layout: &m.layout, Attempt: a.ID, Rounds: a.Rounds, Asked: a.Asked,
		Nonce: session.NonceDigest(a.Nonce(in.cookie)), SignedIn: now, Used: now, Scopes: strings.Join(in.asked, " "),
	}
	seal.RandomBytes(rec.ID[:])
	if in.ownToken() {
		rec.Take(in.tokens)
		rec.Scopes = m.scopes.Asked(m.cfg.Scopes, rec.Scopes)
		rec.Identify(in.identity)
		in.record = rec
		return true
	}
	// The code gave a token for another API, to get consent to its scopes. The
	// session needs one for its own API.
	tokens, failure := m.ownTokens(in.r.Context(), in.tokens, &in.identity.User)
	if failure != nil {
		m.notRedeemed(in.w, in.r, a, failure)
		return false
	}
	rec.Identify(in.identity)
	if tokens.IDToken != "" {
		if failure = m.renewals.Identify(in.r.Context(), rec, tokens); failure != nil {
			m.notRedeemed(in.w, in.r, a, failure)
			return false
		}
	}
	rec.Scopes = strings.Join(m.cfg.Scopes, " ")
	rec.Take(tokens)
	rec.Identify(in.identity)
	in.tokens, in.record = tokens, rec
	return true
}

// ownTokens returns tokens for the session's own API after a code gave others.
func (m *Middleware) ownTokens(ctx context.Context, g *provider.TokenSet, u *provider.Account) (*provider.TokenSet, *provider.Failure) {
	if g.Refresh == "" && m.cfg.Issuer != "" {
		without := *g
		without.Access = "" // it is for another API
		return &without, nil
	}
	if g.Refresh == "" {
		return nil, &provider.Failure{Class: provider.Misconfigured, Err: renew.ErrNoRefreshToken}
	}
	scopes := strings.Join(m.cfg.Scopes, " ")
	g, failure := m.renewals.Endpoint.Refresh(ctx, g.Refresh, provider.RefreshRequest{
		Purpose: provider.PurposeRenewal, Scopes: scopes, Fewer: scopes, Personal: u.Personal(),
	})
	if failure == nil {
		g.Scopes = m.scopes.Asked(m.cfg.Scopes, g.Scopes)
	}
	return g, failure
}

// askApp calls [Config.OnSignIn], which may refuse the sign-in.
func (m *Middleware) askApp(in *arrival) bool {
	a, rec := in.attempt, in.record
	if a.User != "" && !m.stillThere(in.w, in.r, a, &rec.User) {
		return false
	}
	given := new(heldSession)
	in.held = &given.tokens
	in.signIn = &SignIn{
		Session: given.of(m, rec, nil), AppState: a.AppState, ReturnTo: a.ReturnTo,
		UserKey: a.User, Connecting: a.User != "",
	}
	if a.User == "" && m.vault != nil && m.cfg.User == nil {
		in.signIn.UserKey = rec.User.Key()
	}
	if m.cfg.OnSignIn == nil {
		return true
	}
	err := m.callOnSignIn(in.w, in.r, in.signIn)
	if _, panicked := errors.AsType[hookPanic](err); panicked {
		m.appError(in.w, in.r, err)
		return false
	}
	if err != nil {
		m.notAllowed(in.w, in.r, a, err, "on_sign_in", &rec.User)
		return false
	}
	if n := len(in.signIn.AppData); n > maxAppData {
		m.appError(in.w, in.r, fmt.Errorf("msauth: SignIn.AppData has %d bytes, more than %d", n, maxAppData))
		return false
	}
	if in.signIn.MakeSession && a.User != "" && !m.mayBegin(in.w, in.r, a, in.identity) {
		return false
	}
	// The hook may have used the session, and its tokens may have been renewed.
	in.record = in.held.record().Clone()
	in.record.AppData = in.signIn.AppData
	return true
}

func (m *Middleware) callOnSignIn(w http.ResponseWriter, r *http.Request, in *SignIn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = hookPanic{p, debug.Stack()}
		}
	}()
	return m.cfg.OnSignIn(w, r, in)
}

// hookPanic is a panic of OnSignIn, as an error.
type hookPanic struct {
	value any
	stack []byte
}

func (p hookPanic) Error() string {
	return fmt.Sprintf("msauth: OnSignIn panicked: %v\n%s", p.value, p.stack)
}

// keepTokens stores the tokens of one of the app's users in [Config.Tokens]. If
// the sign-in was to connect an account, it ends here.
func (m *Middleware) keepTokens(in *arrival) bool {
	in.undo = func() error { return nil }
	if m.vault != nil && in.signIn.UserKey != "" {
		kept, undo, err := m.renewals.KeepStored(in.r.Context(), in.record, in.signIn.UserKey, in.signIn.ReplaceAccount, in.signIn.ShareAccount)
		if err != nil {
			m.notKept(in.w, in.r, in.attempt, &in.record.User, err)
			return false
		}
		in.record, in.undo = kept, undo
		in.held.handOver(kept) // the hook may still be using it
	}
	if in.attempt.User == "" || in.signIn.MakeSession {
		return true
	}
	if in.record.UserKey != "" {
		m.events.connected(in.r.Context(), in.record)
	}
	noteEnding(in.r.Context(), nil)
	m.leadOn(in.w, in.r, in.attempt, m.returnPath(in.signIn.ReturnTo))
	return false
}

// makeSession writes the session and redirects to the page that the person
// asked for.
func (m *Middleware) makeSession(in *arrival) bool {
	rec, ctx := in.record, in.r.Context()
	sent, _ := m.load(in.r, new(session.Record))
	old := sent.Rec
	if sent.raw != nil && m.judge(sent.raw, m.ended.Has(sent.raw), time.Now()) == "" {
		rec.GoesOn(sent.raw)
	}
	m.withoutRefreshToken(rec)
	m.list(in.r, rec)
	replaced := time.Duration(0)
	if sent.unproved != "" {
		replaced = session.Stays // whoever sent a copy of it signs nobody out
	}
	if err := m.sessions.Create(in.w, in.r, rec, replaced); err != nil {
		if err := in.undo(); err != nil {
			m.log.ErrorContext(ctx, "msauth: restoring the stored tokens after a failed sign-in", "err", err)
		}
		m.endSession(ctx, rec, 0) // it is listed
		m.notMade(in, err)
		return false
	}
	if old != nil {
		grace := time.Duration(0)
		if old.User.Key() == rec.User.Key() {
			grace = replacedGrace
		}
		m.endSession(ctx, old, grace)
		if sent.before != nil {
			m.endSession(ctx, sent.before, grace)
		}
	}
	m.noteSID(ctx, rec)
	m.setMarker(in.w, markSignedIn)
	m.offerDevice(in.w, rec)
	m.events.signedIn(ctx, rec)
	own, _ := m.scopes.ByAPI(m.scopes.Order(slices.Concat(m.cfg.Scopes, strings.Fields(in.attempt.Scopes))))
	if missing := m.scopes.Missing(rec.Scopes, own); len(missing) > 0 {
		m.log.InfoContext(ctx, "msauth: fewer scopes granted than asked for", "user", rec.User.Key(), "missing", strings.Join(missing, " "))
	}
	target, h := m.returnPath(in.signIn.ReturnTo), in.w.Header()
	if deletion := m.cookies.Cookie(m.cookies.DeviceName(), "", -1); sent.Device != "" && headerBytes(h)+len("Set-Cookie: \r\n")+len(deletion.String())+redirectBytes+len(target) <= maxHeaders {
		session.SetCookie(h, deletion) // so that the browser asks whether the binding before goes on; it is worth nothing beside the new session
	}
	noteEnding(ctx, nil)
	m.leadOn(in.w, in.r, in.attempt, target)
	return true
}

// provedFresh reports whether credentials were entered as recently as the
// attempt required, and shows a page if not. The parameters that ask for it
// are in the address bar, where anybody can remove them.
func (m *Middleware) provedFresh(w http.ResponseWriter, r *http.Request, a *session.Attempt, id *provider.Identity) bool {
	age := time.Since(time.Unix(id.AuthTime, 0))
	switch {
	case id.AuthTime == 0:
		m.noAuthTime(w, r, a, id)
	case age > a.MaxAge+provider.ExpLeeway:
		m.notAskedAgain(w, r, a, id, Page{
			Links: []Link{{URL: m.loginURL(LoginOptions{ReturnTo: a.ReturnTo}, provider.Requirement{MaxAge: a.MaxAge}), TextID: "sign-in-again"}},
			Err:   fmt.Errorf("msauth: ID token: auth_time is %v ago, where %v are allowed", age.Round(time.Second), a.MaxAge),
		})
	default:
		return true
	}
	return false
}
