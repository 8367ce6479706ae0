package msauth

import (
	"cmp"
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
)

// maxCode is far more than any code has, in bytes. It bounds what visitors can
// make this server send to the provider.
const maxCode = 8 << 10

// An answer is what comes back from the authorization endpoint.
type answer struct {
	state, issuer             string
	code                      secret
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
	a.code = secret(code)
	switch {
	case a.state == "":
		return a, errState
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
	vary(w.Header(), "Cookie")
	if r.Method != http.MethodGet {
		m.wrongMethod(w, r, "GET")
		return
	}
	if isPrefetch(r) {
		refusePrefetch(w)
		return
	}
	m.noteMisplaced(r)
	ans, err := readAnswer(r)
	if err != nil {
		m.startAgain(w, r, &attempt{returnTo: m.cfg.Home}, err)
		return
	}
	a, err := m.attempts.open(ans.state)
	if a != nil {
		m.recall(r, a)
	}
	if errors.Is(err, errStateExpired) {
		m.forget(w, a)
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "expired", Status: http.StatusBadRequest,
			Title: "Signing in took too long",
			Text:  fmt.Sprintf("For your safety a sign-in has to be finished within %d minutes. Nothing is lost: just start it again.", attemptLifetime/time.Minute),
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   err,
		})
		return
	}
	if err != nil {
		m.startAgain(w, r, &attempt{returnTo: m.cfg.Home}, err)
		return
	}
	_, cookie := m.attempts.sent(r.Header, a.id.String())
	binding := a.bind(cookie)
	if cookie == "" || !sameText(string(binding[:]), string(a.binding[:])) {
		m.unbound(w, r, a, cookie != "")
		return
	}
	if a.cut && !a.kept {
		m.log.InfoContext(r.Context(), "msauth: an address to return to has lost its query: another sign-in with a long address was begun since", "path", oneLine(a.returnTo, 200))
	}
	// The attempt is over, however it ends: also for whoever has copied its cookie
	// before.
	m.forget(w, a)
	if !m.attempts.finish(a.id) {
		m.unbound(w, r, a, false)
		return
	}
	m.finish(w, r, a, ans, cookie)
}

// forget deletes the cookies of an attempt.
func (m *Middleware) forget(w http.ResponseWriter, a *attempt) {
	m.attempts.clear(w, a.id.String())
	if a.kept {
		m.attempts.clearAddress(w.Header())
	}
}

// unbound answers a callback whose attempt this browser does not have, or has
// no more.
func (m *Middleware) unbound(w http.ResponseWriter, r *http.Request, a *attempt, wrong bool) {
	if rec := m.current(r); rec != nil && rec.attempt == a.id {
		redirect(w, a.returnTo) // the back button, or a double click
		return
	}
	if !wrong && a.user != "" && m.attempts.over(a.id) {
		redirect(w, m.returnPath(a.returnTo)) // a double click: the page says how it ended
		return
	}
	host := oneLine(r.Host, 100)
	began := a.host
	if began == "" {
		began = m.base.Host
	}
	a.unseen = !wrong
	links := []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	switch {
	case !wrong && a.host != "" && !strings.EqualFold(began, host):
		from := "another address"
		if isLoopback(m.base.Hostname()) { // elsewhere the Host header may be a stranger's idea of a joke
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
	case !wrong && a.retried && !m.sentOwn(r) && !m.attempts.over(a.id):
		text := "Your browser came back without the cookie that it was given, for the second time, so it is not certain that this sign-in is yours. Allow cookies for this site and start again."
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "cookies-blocked", Status: http.StatusBadRequest,
			Title: "Your browser does not keep cookies for this site",
			Text:  text, Links: links,
			Err: errors.New("msauth: no cookie of this attempt, nor any other, for the second time"),
		})
	case !wrong && len(r.Header["Cookie"]) == 0 && !m.attempts.over(a.id):
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
			if rest, ok := strings.CutPrefix(strings.Trim(part, " \t"), m.cookies.name); ok && (strings.HasPrefix(rest, "=") || strings.HasPrefix(rest, "-")) {
				return true
			}
		}
	}
	return false
}

// finish completes an attempt that is known to be this browser's.
func (m *Middleware) finish(w http.ResponseWriter, r *http.Request, a *attempt, ans answer, cookie string) {
	ctx := r.Context()
	meta, err := m.authority.metadata.get(ctx)
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
	asked := m.scopesToAsk(meta, strings.Fields(a.scopes))
	own, others := m.scopes.byAPI(m.scopes.order(asked))
	scopes := "" // of the session's own API, where others were asked for too
	if len(others) > 0 && len(own) > 0 {
		scopes = strings.Join(slices.Concat(signInScopes, own), " ")
	}
	g, failure := m.renewals.endpoint.redeem(ctx, ans.code, a.verifier(cookie), scopes)
	if failure != nil {
		m.notRedeemed(w, r, a, failure)
		return
	}
	m.renewals.succeeded(ctx)
	m.redeemed.Store(true)
	if g.idToken == "" {
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "unavailable", Status: http.StatusBadGateway,
			Title: "Signing in did not work",
			Text:  "The answer to your sign-in was incomplete. Try again; if it happens again, tell the people who run this site.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New("msauth: the token reply holds no ID token, though the scope openid was asked for"),
		})
		return
	}
	nonce := a.nonce(cookie)
	id, err := m.authority.verify(ctx, g.idToken, idTokenCheck{
		access:    g.access,
		nonceFits: func(got string, present bool) bool { return present && sameText(got, nonce) },
	})
	if unavailable, ok := errors.AsType[keysUnavailable](err); ok {
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
	if !m.admits(&id.user) {
		m.notAllowed(w, r, a, &Failure{Class: kindNotAllowed, Err: fmt.Errorf("%w: tenant %s", errNotAdmitted, id.user.TenantID)}, "tenant", &id.user)
		return
	}

	if a.maxAge > 0 && !m.provedFresh(w, r, a, id) {
		return
	}
	if len(others) == 0 || len(own) > 0 {
		m.fillInNames(ctx, id, g.access)
	}
	now := time.Now().Unix()
	rec := &record{
		layout: &m.layout, attempt: a.id, rounds: a.rounds, asked: a.asked,
		nonce: nonceDigest(nonce), signedIn: now, used: now, scopes: strings.Join(asked, " "),
	}
	randomBytes(rec.id[:])
	if len(others) > 0 && len(own) == 0 {
		// That was a token for another API. Consent to it is all that was
		// wanted: the session goes on with one for its own.
		if g, failure = m.ownTokens(ctx, g, &id.user); failure != nil {
			m.notRedeemed(w, r, a, failure)
			return
		}
		rec.identify(id)
		if g.idToken != "" {
			if failure = m.renewals.identify(ctx, rec, g); failure != nil {
				m.notRedeemed(w, r, a, failure)
				return
			}
		}
		rec.scopes = strings.Join(m.cfg.Scopes, " ")
	}
	rec.take(g)
	if len(others) == 0 || len(own) > 0 {
		rec.scopes = m.scopes.asked(m.cfg.Scopes, rec.scopes)
	}
	rec.identify(id)
	m.admit(w, r, a, rec)
}

// ownTokens are those of the session's own API, where a code gave others.
func (m *Middleware) ownTokens(ctx context.Context, g *grant, u *account) (*grant, *Failure) {
	if g.refresh == "" && m.cfg.Issuer != "" {
		without := *g
		without.access = "" // it is of another API
		return &without, nil
	}
	if g.refresh == "" {
		return nil, &Failure{Class: kindMisconfigured, Err: errNoRefreshToken}
	}
	scopes := strings.Join(m.cfg.Scopes, " ")
	g, failure := m.renewals.endpoint.refresh(ctx, g.refresh, refreshRequest{
		asks: grantRenewal, scopes: scopes, fewer: scopes, personal: u.personal(),
	})
	if failure == nil {
		g.scopes = m.scopes.asked(m.cfg.Scopes, g.scopes)
	}
	return g, failure
}

// fillInNames asks another provider how a person is called whose ID token does not
// say (OpenID Connect Core section 5.3). Nothing else is taken from there: it is
// not signed.
func (m *Middleware) fillInNames(ctx context.Context, id *identity, access secret) {
	u := &id.user
	if m.cfg.Issuer == "" || u.Name != "" || u.Email != "" || access == "" {
		return
	}
	if m.authority.kind == externalID && m.scopes.own != "" {
		return // its userinfo is Graph's, and the token for another API
	}
	names, err := m.authority.userinfo(ctx, access, u.Subject)
	if err != nil {
		m.log.WarnContext(ctx, "msauth: the ID token holds neither name nor e-mail, and userinfo does not help", "user", u.key(), "err", err)
		return
	}
	u.Name, u.Username = oneLine(names.name, maxNameTaken), cmp.Or(u.Username, oneLine(names.username, maxNameTaken))
	if u.Email = names.email; len(u.Email) > maxNameTaken {
		u.Email = ""
	}
}

// maxNameTaken bounds what userinfo's answer puts into a session, in bytes.
const maxNameTaken = 256

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
func (m *Middleware) provedFresh(w http.ResponseWriter, r *http.Request, a *attempt, id *identity) bool {
	age := time.Since(time.Unix(id.authTime, 0))
	switch {
	case id.authTime == 0:
		m.refuse(w, r, slog.LevelError, Page{
			Kind: "no-auth-time", Status: http.StatusForbidden,
			Title: "This site is not set up correctly for this page",
			Text:  "Microsoft did not say when you entered your password. The app registration has to ask for it: Token configuration, Add optional claim, ID, auth_time. " + m.asBefore(r) + "Tell the people who run this site.",
			Links: []Link{{URL: m.cfg.Home, Label: "Home page"}},
			Err:   errors.New("msauth: ID token: auth_time is missing: add it as an optional claim to the app registration"),
		}, m.events.refused("fresh_sign_in", &id.user, a.returnTo)...)
	case age > a.maxAge+expLeeway:
		m.refuse(w, r, slog.LevelWarn, Page{
			Kind: "not-enough", Status: http.StatusForbidden,
			Title: "You were not asked to sign in again",
			Text:  "This page needs you to enter your password, or what you use in its place, and Microsoft did not ask for it. " + m.asBefore(r) + "Try again.",
			Links: []Link{{URL: m.loginURL(LoginOptions{ReturnTo: a.returnTo}, demand{maxAge: a.maxAge}), Label: "Sign in again"}, {URL: m.cfg.Home, Label: "Home page"}},
			Err:   fmt.Errorf("msauth: ID token: auth_time is %v ago, where %v are allowed", age.Round(time.Second), a.maxAge),
		}, m.events.refused("fresh_sign_in", &id.user, a.returnTo)...)
	default:
		return true
	}
	return false
}

// admit asks the app, makes the session and leads on.
func (m *Middleware) admit(w http.ResponseWriter, r *http.Request, a *attempt, rec *record) {
	if a.user != "" && !m.stillThere(w, r, a, &rec.user) {
		return
	}
	session := new(heldSession).of(m, rec, nil)
	in := &SignIn{
		Session: session, AppState: a.appState, ReturnTo: a.returnTo,
		UserKey: a.user, Connecting: a.user != "",
	}
	if a.user == "" && m.vault != nil && m.cfg.User == nil {
		in.UserKey = rec.user.key()
	}
	if m.cfg.OnSignIn != nil {
		if err := m.callOnSignIn(w, r, in); err != nil {
			if _, panicked := errors.AsType[hookPanic](err); panicked {
				m.appError(w, r, err)
				return
			}
			m.notAllowed(w, r, a, err, "on_sign_in", &rec.user)
			return
		}
		if len(in.AppData) > maxAppData {
			m.appError(w, r, fmt.Errorf("msauth: SignIn.AppData has %d bytes, more than %d", len(in.AppData), maxAppData))
			return
		}
		// The hook may have used the session for so long that it was renewed.
		if held, ok := session.tokens.(*heldTokens); ok {
			held.mu.Lock()
			rec = held.rec.clone()
			held.mu.Unlock()
		}
		rec.appData = in.AppData
	}
	undo := func() error { return nil }
	if m.vault != nil && in.UserKey != "" {
		kept, takeBack, err := m.renewals.keepStored(r.Context(), rec, in.UserKey, in.ReplaceAccount, in.ShareAccount)
		if err != nil {
			m.notKept(w, r, a, &rec.user, err)
			return
		}
		rec, undo = kept, takeBack
		if held, ok := session.tokens.(*heldTokens); ok { // the hook may use it on
			held.mu.Lock()
			held.rec, held.access = rec, nil
			held.mu.Unlock()
		}
	}
	if a.user != "" && !in.MakeSession {
		if rec.userKey != "" {
			m.events.connected(r.Context(), rec)
		}
		m.leadOn(w, r, a, m.returnPath(in.ReturnTo))
		return
	}
	old, _, _ := m.sessions.load(r)
	if old != nil && m.judge(old, m.ended.has(old.id), time.Now()) == "" {
		rec.goesOn(old)
	}
	m.withoutRefreshToken(rec)
	if err := m.sessions.create(w, r, rec); err != nil {
		if err := undo(); err != nil {
			m.log.ErrorContext(r.Context(), "msauth: putting back the tokens of before a sign-in that failed", "err", err)
		}
		if errors.Is(err, errTooLarge) {
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
		if old.user.key() == rec.user.key() {
			grace = replacedGrace
		}
		m.ended.add(old, m.cfg.MaxAge, grace)
	}
	m.setMarker(w)
	m.events.signedIn(r.Context(), rec)
	own, _ := m.scopes.byAPI(m.scopes.order(slices.Concat(m.cfg.Scopes, strings.Fields(a.scopes))))
	if missing := m.scopes.missing(rec.scopes, own); len(missing) > 0 {
		m.log.InfoContext(r.Context(), "msauth: fewer scopes granted than asked for", "user", rec.user.key(), "missing", strings.Join(missing, " "))
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
func checkAnswerIssuer(meta *metadata, issuer string) error {
	if issuer == "" {
		if meta.AnswerIssuer {
			return errors.New("msauth: iss is missing from the answer, though the provider announces it")
		}
		return nil
	}
	if issuer == meta.Issuer {
		return nil
	}
	if before, after, ok := strings.Cut(meta.Issuer, tenantPattern); ok {
		tenant, ok := strings.CutPrefix(issuer, before)
		if tenant, ok2 := strings.CutSuffix(tenant, after); ok && ok2 && guidForm.MatchString(tenant) {
			return nil
		}
	}
	return errors.New("msauth: iss of the answer is another issuer")
}

// answeredWithError turns an error answer (OpenID Connect Core section
// 3.1.2.6) into a page, never into a redirect: it would come back.
func (m *Middleware) answeredWithError(w http.ResponseWriter, r *http.Request, a *attempt, ans answer) {
	failure := &Failure{
		Code:        oneLine(ans.err, 100),
		Description: oneLine(ans.description, 500),
		Class:       classifyAnswer(ans.err, ans.subcode),
	}
	failure.Numbers = aadsts(failure.Description)
	if slices.Contains(failure.Numbers, 50105) || slices.Contains(failure.Numbers, 90072) {
		m.notAllowed(w, r, a, failure, "provider", m.currentUser(r)) // a better text for the same refusal
		return
	}
	p := Page{Status: http.StatusBadRequest, Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}, Err: failure}
	level := slog.LevelInfo
	switch failure.Class {
	case kindDeclined:
		p.Kind, p.Status = "declined", http.StatusForbidden
		current := m.current(r)
		if a.asked != (demandDigest{}) && current != nil {
			m.declinedMore(&p, a, failure)
			break
		}
		p.Title = "You cancelled signing in"
		p.Text = "You are not signed in, and this site has learned nothing about you from Microsoft."
		p.Links[0].Label = "Sign in after all"
		if current != nil {
			p.Text = "You are still signed in as before."
		}
		if a.user != "" {
			p.Title = "The account was not connected"
			p.Text = "You cancelled at Microsoft. Nothing has changed."
			p.Links[0] = m.againLink(a)
		}
	case kindRetry:
		p.Kind = "unavailable"
		p.Title = "Microsoft cannot sign you in right now"
		p.Text = "This is most likely a passing fault at Microsoft. Try again in a moment."
		level = slog.LevelWarn
	case kindReplay:
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
func (m *Middleware) declinedMore(p *Page, a *attempt, failure *Failure) {
	p.Title = "That part of the site stays closed"
	p.Text = "You did not agree to what it asked for at Microsoft. You are still signed in, and everything else works as before."
	p.Links = []Link{{URL: a.returnTo, Label: "Ask me again"}, {URL: m.cfg.Home, Label: "Home page"}}
	switch { // for the text only: Microsoft asks not to react to numbers
	case slices.Contains(failure.Numbers, 90094):
		p.Text = "Only an administrator of your organization can agree to what it asked for at Microsoft. You are still signed in, and everything else works as before."
		slices.Reverse(p.Links)
	case slices.Contains(failure.Numbers, 500121):
		p.Text = "The stronger sign-in that it asked for at Microsoft did not succeed. You are still signed in, and everything else works as before."
	}
}

// notRedeemed answers a code that gave no tokens.
func (m *Middleware) notRedeemed(w http.ResponseWriter, r *http.Request, a *attempt, failure *Failure) {
	switch failure.Class {
	case kindRetry:
		m.unavailable(w, r, a, failure)
	case kindStepUp:
		if failure.Claims != "" && !a.challenged {
			m.log.InfoContext(r.Context(), "msauth: the code was refused with a claims challenge: asking for these claims", "err", failure)
			m.begin(w, r, authorizeOptions{
				returnTo: a.returnTo, appState: a.appState, user: a.user, rounds: a.rounds,
				demand:     demand{scopes: strings.Fields(a.scopes), claims: mergeClaims(contextClaims(a.contexts), failure.Claims), maxAge: a.maxAge},
				challenged: true, asked: a.asked,
			})
			return
		}
		m.refuse(w, r, slog.LevelInfo, Page{
			Kind: "not-enough", Status: http.StatusForbidden,
			Title: "Microsoft did not give this site access",
			Text:  "Your organization requires something more first, such as another proof of who you are, a managed device or an administrator's approval. " + m.asBefore(r) + "Try again, or ask your administrator.",
			Links: []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}},
			Err:   failure,
		}, append(m.events.refused("provider", m.currentUser(r), a.returnTo), "aadsts", failure.Numbers)...)
	case kindMisconfigured:
		// Other errors can come of a code that the visitor made up.
		// Where BaseURL's own redirect URI is on the wrong platform no code is ever
		// redeemed.
		wrongPlatform := slices.Contains(failure.Numbers, spaPlatform) && !m.redeemed.Load()
		if failure.Code != "" && failure.Code != "invalid_client" && failure.Code != "unauthorized_client" && !wrongPlatform {
			m.startAgain(w, r, a, failure)
			return
		}
		if m.renewals.bound(failure) {
			m.notAllowed(w, r, a, failure, "provider", m.currentUser(r))
			return
		}
		if failure.Code == "invalid_client" && !wrongPlatform {
			m.renewals.suspect(r.Context(), failure)
		} else {
			m.renewals.reportTrouble(r.Context(), failure)
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
func (m *Middleware) againLink(a *attempt) Link {
	if a.user != "" {
		return Link{URL: a.returnTo, Label: "Back"}
	}
	if a.unseen {
		return Link{URL: m.retryURL(a.returnTo), Label: "Start again"}
	}
	return Link{URL: m.LoginURL(LoginOptions{ReturnTo: a.returnTo}), Label: "Start again"}
}

func (m *Middleware) startAgain(w http.ResponseWriter, r *http.Request, a *attempt, err error) {
	level, attrs := slog.LevelWarn, []any(nil)
	if a.id == (attemptID{}) { // no state of ours: anybody can send that, at any rate
		if ans, bad := readAnswer(r); bad == nil && looksSealed(ans.state) {
			m.foreignState(w, r, a)
			return
		}
		level, attrs = slog.LevelInfo, m.events.refused("junk", nil, requestPath(r))
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
func (m *Middleware) foreignState(w http.ResponseWriter, r *http.Request, a *attempt) {
	m.refuse(w, r, slog.LevelInfo, Page{
		Kind: "start-again", Status: http.StatusBadRequest,
		Title: "This sign-in cannot be finished",
		Text:  "The link is old or damaged, or the servers of this site do not share their keys. Nothing has changed; you can start again. If it happens again, tell the people who run this site.",
		Links: []Link{m.againLink(a)},
		Err:   errForeignState,
	}, m.events.refused("foreign_state", nil, requestPath(r))...)
}

var errForeignState = fmt.Errorf("%w: altered, over a day old, or sealed with a key that this server lacks (do all servers have the same Keys? compare key_ids of the event start)", errState)

func (m *Middleware) unavailable(w http.ResponseWriter, r *http.Request, a *attempt, err error) {
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
	switch failure, ok := errors.AsType[*Failure](err); {
	case ok && failure.Class == kindMisconfigured:
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
	if failure, ok := errors.AsType[*Failure](err); ok {
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
	if errors.Is(err, errStoreLimit) {
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

func (m *Middleware) notAllowed(w http.ResponseWriter, r *http.Request, a *attempt, err error, kind string, u *account) {
	p := Page{
		Kind: "not-allowed", Status: http.StatusForbidden,
		Title: "This account may not use this site",
		Text:  "You signed in at Microsoft, but this site does not admit this account. Use another one, or ask the people who run the site to let you in.",
		Links: []Link{
			{URL: m.LoginURL(LoginOptions{ReturnTo: a.returnTo, Prompt: "select_account"}), Label: "Use another account"},
			{URL: m.LogoutURL(), Label: "Sign out"},
		},
		Err: err,
	}
	if a.user != "" {
		p.Title = "The account was not connected"
		p.Text = "You signed in at Microsoft, but this site does not admit that account. Go back to choose another one. Nothing has changed."
		p.Links = []Link{m.againLink(a), {URL: m.cfg.Home, Label: "Home page"}}
	}
	m.refuse(w, r, slog.LevelInfo, p, m.events.refused(kind, u, a.returnTo)...)
}
