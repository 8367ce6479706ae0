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

// unbound answers a callback whose attempt this browser does not have, or has
// no more.
func (m *Middleware) unbound(w http.ResponseWriter, r *http.Request, a *session.Attempt, wrong bool) {
	if rec := m.current(r); rec != nil && rec.Attempt == a.ID {
		web.Redirect(w, a.ReturnTo) // the back button, or a double click
		return
	}
	if !wrong && a.User != "" && m.attempts.Over(a.ID) {
		web.Redirect(w, m.returnPath(a.ReturnTo)) // a double click: the page says how it ended
		return
	}
	host := web.OneLine(r.Host, 100)
	began := a.Host
	if began == "" {
		began = m.base.Host
	}
	a.Unseen = !wrong
	links := []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	switch {
	case !wrong && a.Host != "" && !strings.EqualFold(began, host):
		from := "another address"
		if web.IsLoopback(m.base.Hostname()) { // elsewhere the Host header may be a stranger's idea of a joke
			from = began
		}
		text := fmt.Sprintf("You began to sign in at %s, but the site's sign-in address is %s. Browsers keep the two apart. Start again from here and stay at this address.",
			from, m.base.Scheme+"://"+m.base.Host)
		m.refuse(w, r, slog.LevelWarn, Page{
			Kind: "wrong-host", Status: http.StatusBadRequest,
			Title: "This site has another address for signing in",
			Text:  text,
			Links: links,
			Err:   fmt.Errorf("msauth: sign-in began on %s://%s but BaseURL is %s", m.base.Scheme, began, m.cfg.BaseURL),
		})
	case !wrong && a.Retried && !m.sentOwn(r) && !m.attempts.Over(a.ID):
		text := "Your browser came back without the cookie that it was given, for the second time, so it is not certain that this sign-in is yours. Allow cookies for this site and start again."
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "cookies-blocked", Status: http.StatusBadRequest,
			Title: "Your browser does not keep cookies for this site",
			Text:  text, Links: links,
			Err: errors.New("msauth: no cookie of this attempt, nor any other, for the second time"),
		})
	case !wrong && len(r.Header["Cookie"]) == 0 && !m.attempts.Over(a.ID):
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "start-again", Status: http.StatusBadRequest,
			Title: "Start signing in again from here",
			Text:  "Your browser came back without the cookie of this sign-in. Either signing in began somewhere else, such as in an Office program, a mail program or another browser profile, or your browser does not keep cookies for this site. Start again from here to find out.",
			Links: links[:1],
			Err:   errors.New("msauth: no cookie of this attempt, nor any other: it was begun elsewhere, or cookies are blocked"),
		})
	default:
		m.startAgain(w, r, a, errors.New("msauth: no cookie of this attempt: it was begun in another browser, finished before, or too many were begun since"))
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

// asBefore tells people who they are after a sign-in that came to nothing.
func (m *Middleware) asBefore(r *http.Request) string {
	if m.current(r) == nil {
		return "You are not signed in. "
	}
	return "You are still signed in as before. "
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

// answeredWithError turns an error answer (OpenID Connect Core section
// 3.1.2.6) into a page, never into a redirect: it would come back.
func (m *Middleware) answeredWithError(w http.ResponseWriter, r *http.Request, a *session.Attempt, ans answer) {
	failure := &provider.Failure{
		Code:        web.OneLine(ans.err, 100),
		Description: web.OneLine(ans.description, 500),
		Class:       provider.ClassifyAnswer(ans.err, ans.subcode),
	}
	failure.Numbers = provider.AADSTSNumbers(failure.Description)
	if slices.Contains(failure.Numbers, 50105) || slices.Contains(failure.Numbers, 90072) {
		m.notAllowed(w, r, a, failure, "provider", m.currentUser(r)) // a better text for the same refusal
		return
	}
	p := Page{Status: http.StatusBadRequest, Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}, Err: failure}
	level := slog.LevelInfo
	switch failure.Class {
	case provider.Declined:
		p.Kind, p.Status = "declined", http.StatusForbidden
		current := m.current(r)
		if a.Asked != (provider.RequirementDigest{}) && current != nil {
			m.declinedMore(&p, a, failure)
			break
		}
		p.Title = "You cancelled signing in"
		p.Text = "You are not signed in, and this site has learned nothing about you from Microsoft."
		p.Links[0].Label = "Sign in after all"
		if current != nil {
			p.Text = "You are still signed in as before."
		}
		if a.User != "" {
			p.Title = "The account was not connected"
			p.Text = "You cancelled at Microsoft. Nothing has changed."
			p.Links[0] = m.againLink(a)
		}
	case provider.Retry:
		p.Kind = "unavailable"
		p.Title = "Microsoft cannot sign you in right now"
		p.Text = "This is most likely a passing fault at Microsoft. Try again in a moment."
		level = slog.LevelWarn
	case provider.Replay:
		p.Kind = "start-again"
		p.Title = "Signing in was not finished"
		p.Text = "Microsoft still needs something from you. Start again and follow its questions."
	default:
		p.Kind = "app-error"
		p.Title = "This site is not set up correctly for signing in"
		p.Text = "Microsoft refused the site's request, not you. Tell the people who run this site."
		level = slog.LevelWarn // no more: it came by way of the browser, which can make it up
	}
	m.refuse(w, r, level, p, "aadsts", failure.Numbers)
}

// declinedMore is the page for people who are signed in and would not, or could
// not, do more.
func (m *Middleware) declinedMore(p *Page, a *session.Attempt, failure *provider.Failure) {
	p.Title = "That part of the site stays closed"
	p.Text = "You did not agree to what it asked for at Microsoft. You are still signed in, and everything else works as before."
	p.Links = []Link{{URL: a.ReturnTo, Label: "Ask me again"}, {URL: m.cfg.Home, Label: "Home page"}}
	switch { // for the text only: Microsoft asks not to react to numbers
	case slices.Contains(failure.Numbers, 90094):
		p.Text = "Only an administrator of your organization can agree to what it asked for at Microsoft. You are still signed in, and everything else works as before."
		slices.Reverse(p.Links)
	case slices.Contains(failure.Numbers, 500121):
		p.Text = "The stronger sign-in that it asked for at Microsoft did not succeed. You are still signed in, and everything else works as before."
	}
}

// notRedeemed answers a code that gave no tokens.
func (m *Middleware) notRedeemed(w http.ResponseWriter, r *http.Request, a *session.Attempt, failure *provider.Failure) {
	switch failure.Class {
	case provider.Retry:
		m.unavailable(w, r, a, failure)
	case provider.StepUp:
		if failure.Claims != "" && !a.Challenged {
			m.log.InfoContext(r.Context(), "msauth: the code was refused with a claims challenge: asking for these claims", "err", failure)
			m.begin(w, r, authorizeOptions{
				returnTo: a.ReturnTo, appState: a.AppState, user: a.User, rounds: a.Rounds,
				demand:     provider.Requirement{Scopes: strings.Fields(a.Scopes), Claims: provider.MergeClaims(provider.ContextClaims(a.Contexts), failure.Claims), MaxAge: a.MaxAge},
				challenged: true, asked: a.Asked,
			})
			return
		}
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "not-enough", Status: http.StatusForbidden,
			Title: "Microsoft did not give this site access",
			Text:  "Your organization requires something more first, such as another proof of who you are, a managed device or an administrator's approval. " + m.asBefore(r) + "Try again, or ask your administrator.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   failure,
		}, append(m.events.refused("provider", m.currentUser(r), a.ReturnTo), "aadsts", failure.Numbers)...)
	case provider.Misconfigured:
		// Other errors can come of a code that the visitor made up.
		// Where BaseURL's own redirect URI is on the wrong platform no code is ever
		// redeemed.
		wrongPlatform := slices.Contains(failure.Numbers, provider.SpaPlatform) && !m.redeemed.Load()
		if failure.Code != "" && failure.Code != "invalid_client" && failure.Code != "unauthorized_client" && !wrongPlatform {
			m.startAgain(w, r, a, failure)
			return
		}
		if m.renewals.Bound(failure) {
			m.notAllowed(w, r, a, failure, "provider", m.currentUser(r))
			return
		}
		if failure.Code == "invalid_client" && !wrongPlatform {
			m.renewals.Suspect(r.Context(), failure)
		} else {
			m.renewals.ReportTrouble(r.Context(), failure)
		}
		m.appError(w, r, failure)
	default:
		m.startAgain(w, r, a, failure)
	}
}

// refuse ends a sign-in on a page.
func (m *Middleware) refuse(w http.ResponseWriter, r *http.Request, level slog.Level, p Page, attrs ...any) {
	m.events.count(func(s *Stats) { s.SignInsRefused++ })
	m.fail(w, r, level, p, append(attrs, "event", "sign_in_refused")...)
}

// againLink begins the same again: what connects an account begins at the app.
func (m *Middleware) againLink(a *session.Attempt) Link {
	if a.User != "" {
		return Link{URL: a.ReturnTo, Label: "Back"}
	}
	if a.Unseen {
		return Link{URL: m.retryURL(a.ReturnTo), Label: "Start again"}
	}
	return Link{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo}), Label: "Start again"}
}

func (m *Middleware) startAgain(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error) {
	level, attrs := slog.LevelWarn, []any(nil)
	if a.ID == (session.AttemptID{}) { // no state of ours: anybody can send that, at any rate
		if ans, bad := readAnswer(r); bad == nil && seal.LooksSealed(ans.state) {
			m.foreignState(w, r, a)
			return
		}
		level, attrs = slog.LevelInfo, m.events.refused("junk", nil, web.RequestPath(r))
	}
	m.refuse(w, r, level, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		Title: "This sign-in cannot be finished",
		Text:  "It may have been finished before, begun in another browser, or come from an old or damaged link. Nothing has changed; you can start again.",
		Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}, attrs...)
}

// foreignState answers a state that looks like one of ours and does not open.
func (m *Middleware) foreignState(w http.ResponseWriter, r *http.Request, a *session.Attempt) {
	m.refuse(w, r, slog.LevelInfo, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		Title: "This sign-in cannot be finished",
		Text:  "The link is old or damaged, or the servers of this site do not share their keys. Nothing has changed; you can start again. If it happens again, tell the people who run this site.",
		Links: []Link{m.againLink(a)},
		Err:   errForeignState,
	}, m.events.refused("foreign_state", nil, web.RequestPath(r))...)
}

var errForeignState = fmt.Errorf("%w: altered, over a day old, or sealed with a key that this server lacks (do all servers have the same Keys? compare key_ids of the event start)", session.ErrState)

func (m *Middleware) unavailable(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error) {
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return // nobody is there to read it
	}
	p := Page{
		Kind: "unavailable", Status: http.StatusServiceUnavailable,
		Title: "Microsoft cannot be reached right now",
		Text:  "Signing in is not possible at this moment. Try again in a minute; people who are signed in are not affected.",
		Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}
	switch failure, ok := errors.AsType[*provider.Failure](err); {
	case ok && failure.Class == provider.Misconfigured:
		p.Title, p.Text = notSetUp, notYou
	case ok && failure.StatusCode != 0 && failure.StatusCode < http.StatusInternalServerError: // it answered, or somebody in its place
		p.Title = "Signing in is not possible right now"
		p.Text = "This site could not complete your sign-in. Try again in a minute; people who are signed in are not affected."
	}
	w.Header().Set("Retry-After", "10")
	m.refuse(w, r, slog.LevelError, p)
}

const (
	notSetUp = "This site is not set up correctly for signing in"
	notYou   = "You did nothing wrong. Tell the people who run this site."
)

func (m *Middleware) appError(w http.ResponseWriter, r *http.Request, err error) {
	attrs := []any{}
	if failure, ok := errors.AsType[*provider.Failure](err); ok {
		attrs = append(attrs, "aadsts", failure.Numbers, "trace_id", failure.TraceID, "correlation_id", failure.CorrelationID)
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "app-error", Status: http.StatusInternalServerError,
		Title: notSetUp, Text: notYou,
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	}, attrs...)
}

func (m *Middleware) tooLarge(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, session.ErrStoreLimit) {
		m.appError(w, r, err)
		return
	}
	m.refuse(w, r, slog.LevelError, Page{
		Kind: "too-large", Status: http.StatusForbidden,
		Title: "The site could not store your session",
		Text:  "Microsoft signed you in, but the session is larger than this site can keep. Trying again will not help. Tell the people who run this site: their log says what to change.",
		Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
		Err:   err,
	})
}

func (m *Middleware) notAllowed(w http.ResponseWriter, r *http.Request, a *session.Attempt, err error, kind string, u *provider.Account) {
	p := Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		Title: "This account may not use this site",
		Text:  "You signed in at Microsoft, but this site does not admit this account. Use another one, or ask the people who run the site to let you in.",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: a.ReturnTo, Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.LogoutURL(), Label: "Sign out"},
		},
		Err: err,
	}
	if a.User != "" {
		p.Title = "The account was not connected"
		p.Text = "You signed in at Microsoft, but this site does not admit that account. Go back to choose another one. Nothing has changed."
		p.Links = []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	}
	m.refuse(w, r, slog.LevelInfo, p, m.events.refused(kind, u, a.ReturnTo)...)
}
