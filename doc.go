// Package msauth is middleware for net/http that signs people in with a
// Microsoft account (work, school or personal), keeps their session in
// encrypted cookies, renews its tokens, and hands each handler the live session
// from the request's context.
//
// # Quick start
//
// Register the app at Microsoft (README.md says how), mount the [Middleware]
// below its BaseURL, and wrap the handlers that want to know who is there:
//
//	auth, err := msauth.New(msauth.Config{
//		ClientID:     os.Getenv("AZURE_CLIENT_ID"),
//		ClientSecret: os.Getenv("AZURE_CLIENT_SECRET"),
//		BaseURL:      "https://app.example.com/auth",
//		Keys:         keys, // [][]byte, 32 random bytes each
//	})
//	if err != nil {
//		log.Fatal(err)
//	}
//	mux := http.NewServeMux()
//	mux.Handle("/auth/", auth)                 // login, callback, logout, ...
//	mux.Handle("/{$}", auth.Load(home))        // greets those who are signed in
//	mux.Handle("/files/", auth.Require(files)) // signs the others in first
//
// In a handler:
//
//	s, ok := msauth.FromContext(r.Context()) // ok is always true under Require
//	fmt.Fprintf(w, "Hello, %s", s.User.Name)
//	res, err := s.Client(r.Context()).Get("https://graph.microsoft.com/v1.0/me")
//
// What it is given there is the handler's own, to sort, append to and change.
//
// [User.Key] is what an app's database should know an account by: names and
// e-mail addresses change, and some can be chosen by others. Links for
// templates come from [Middleware.LoginURL] and [Middleware.LogoutURL].
//
// net/http's router panics when "/auth/" is registered beside "GET /", because
// neither is more specific: use "/" or "GET /{$}".
//
// # Sign-in flow
//
// This is the authorization code flow of OpenID Connect with PKCE, at version
// 2.0 of the Microsoft identity platform:
//
//  1. [Middleware.Require], or a link to BaseURL + "/login", sends the browser
//     to Microsoft. What must come back travels in the state parameter, sealed;
//     a small cookie ties it to this browser. Each attempt has its own, so that
//     several tabs do not get in each other's way. Nothing is kept on the
//     server.
//  2. Microsoft sends the browser to BaseURL + "/callback" with a code.
//     [Middleware.Callback] checks that the attempt is this browser's and at
//     most 30 minutes old, redeems the code with one request, and verifies the
//     ID token: signature, issuer, audience, times, nonce, tenant.
//  3. [Config.OnSignIn] may refuse or link the person. Then the session is
//     sealed into its cookie, and the browser goes on to the page that was
//     wanted in the first place, by BaseURL + "/continue" where the answer has no
//     room for the address beside the session. Addresses of over 2,000 bytes
//     lose their query.
//  4. From then on a request costs no call to Microsoft, until the access token
//     is due: then one request renews it, however many wait for it, before the
//     handler runs. Nobody notices.
//  5. [Middleware.Logout] ends the session here and sends the browser to
//     Microsoft, to be signed out there too, and on to
//     [Config.PostLogoutURL].
//
// # Other providers
//
// Where [Config.Issuer] names another OpenID provider, the same happens there.
// Entra External ID and Azure AD B2C are Microsoft's: their people are known by
// tenant and object id, and renewals name their scopes. On a custom domain
// [Config.MicrosoftIssuer] says so. Issuers of B2C in the form with /tfp/ are
// not supported.
//
// What others leave out is done without. A provider that gives no refresh token
// gives sessions that last until MaxAge or IdleTimeout, whatever becomes of the
// account, unless [Config.RecheckAfter] ends them; their tokens end when they
// do. One that gives no access token, as B2C without a scope of an API, gives
// sessions without: [Session.Token] then says what to configure. Names that an
// ID token lacks are read from userinfo, once, at sign-in. The app proves itself
// by client_secret_post where discovery lists that, else by Basic. The latest
// ID token is kept for signing out at the provider (id_token_hint).
//
// # Asking for more
//
// One sign-in serves several APIs: [Session.Token] takes scopes, and
// [Session.Client] sends each host of [Config.TokenHosts] a token of its own.
// Such tokens are kept in memory. What a page needs beyond somebody who is
// signed in, it says itself:
//
//	mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar))
//	mux.Handle("/codes", auth.RequireFreshSignIn(5*time.Minute)(codes))
//	mux.Handle("/pay", auth.RequireAuthContext("c1")(pay))
//	mux.Handle("/admin", auth.RequireRole("Admin")(admin))
//
// Where another sign-in can bring it, people are led to Microsoft and back, and
// scripts are told the way. Where it has not brought it, and where it cannot,
// they get a page of status 403. An API's demands, such as claims challenges of
// continuous access evaluation, are met silently if they can be; else
// [Middleware.Challenge] takes the error to the person:
//
//	res, err := s.Client(r.Context()).Get(url)
//	if auth.Challenge(w, r, err) {
//		return
//	}
//
// # While people are away
//
// With [Config.Tokens] the refresh tokens are kept on the server, by the app's
// own user ([SignIn.UserKey]), whose cookies carry none. [Middleware.Offline] is then
// a session without a request, for workers:
//
//	s, err := auth.Offline(ctx, user)
//	res, err := s.Client(ctx).Get(url)
//
// However many processes and browsers renew one user's tokens, a lease in the
// store has one of them ask at a time. What Microsoft refuses is marked, and
// the error is [ErrSignInRequired] until the person has signed in again.
// [Middleware.Connect] adds a Microsoft account to a user whom the app signs in
// by its own means.
//
// # Cookies
//
// All cookies have the prefix "__Host-" and the attributes Secure, HttpOnly,
// SameSite=Lax and Path=/. NAME is [Config.CookieName]. Where BaseURL is plain
// http, for development, they have neither the prefix nor Secure: Safari keeps
// no Secure cookie on http://localhost. Over https only those with the prefix
// are read.
//
//	__Host-NAME            the session: identity and tokens, encrypted
//	__Host-NAME-1, -2 ...  its further pieces, where one cookie is too small
//	__Host-NAME-login-ID   one sign-in under way, 30 minutes; at most 16 of them
//	__Host-NAME-to         the address to come back to, if it is long, sealed, 30
//	                       minutes; of the latest sign-in only
//	__Host-NAME-ok         "a sign-in has just succeeded", 20 seconds
//
// The session of a work account takes about 3 KB. A session that would take
// more than [Config.CookieBudget] leaves out what it can do without: first the
// access token, which is then fetched when it is asked for, then groups, then
// [Config.Claims]. If that is not enough, the sign-in ends on a page and
// [ErrCookieTooLarge] is in the log. [Config.Store] keeps sessions on the
// server instead, sealed all the same.
//
// A session ends [Config.MaxAge] after sign-in, and [Config.IdleTimeout] after
// it was last used. Both are inside the sealed value and enforced by the
// server. A further sign-in of the same person, for consent, a step-up or by a
// link, does not put the end off, unless credentials were entered anew: that
// takes the claim auth_time, later than the one before. A sign-in of somebody
// else, or after the end, begins a session of its own. Renewals change no end.
// Cookies are written before the handler runs; the ResponseWriter is
// passed on as it came. A response that sets one says Cache-Control: no-store.
//
// # Keys and rotation
//
// [Config.Keys] are 32 random bytes each. The first seals, all open. What seals
// is AES-256-GCM with keys that are derived for each purpose (HKDF-SHA256); it
// works under GODEBUG=fips140=only. All instances of an app need the same keys.
// To change them without signing anybody out:
//
//  1. Add the new key in second place, everywhere.
//  2. Move it to first place, everywhere.
//  3. Drop the old key MaxAge later, and with [Config.Tokens] not before
//     [Middleware.Reseal] was called for every user.
//
// Dropping a key ends all sessions that are still sealed with it.
//
// # Failure behaviour
//
// Every failure at Microsoft is an [AuthError] of one [Class], decided by the
// HTTP status, then suberror, then error. The class says what becomes of the
// session:
//
//	sign in again      revoked, disabled, expired: the session ends
//	step up            another factor or consent is needed: the session is kept,
//	                   the next navigation leads to Microsoft and back
//	retry              timeout, 5xx, throttling: nothing is lost; handlers run,
//	                   and Session.Token fails with ErrTokenUnavailable once the
//	                   old token has expired
//	app misconfigured  Microsoft refuses the app, say for an expired secret: as
//	                   with retry; logged as an error, and Ready fails. Of
//	                   invalid_client for a code, which a visitor can bring
//	                   about, Microsoft is asked once more
//	declined           the person pressed Cancel: a page says so
//	not allowed        an account the app does not admit: a page with status 403
//	replay             the code was used before: a page offers to start again
//
// The last three happen at sign-in only. [Session.Token] reports the others as
// [ErrSignInRequired] (the first two) and [ErrTokenUnavailable].
//
// An outage of Microsoft thus stops new sign-ins, with a page of status 503, and
// leaves sessions as they are. A request waits for a renewal at most 1 second
// while its token is valid, and 5 seconds once that has expired; the renewal
// goes on without it. What has failed is tried again after a second, then after
// twice as long each time, up to 10 seconds; Retry-After is obeyed. After
// failures of 5 people in a row renewals pause for everybody and are tried every
// 5 to 10 seconds. An answer with an OAuth error counts once for all people of a
// tenant, and once for all personal accounts, where several tenants sign in: no
// stranger can bring about a pause. What Graph refuses to say about a person's
// groups rests in the same way.
//
// After [Config.Scopes] has changed to another API, the sessions of before get a
// token for that, or are sent to consent to it.
//
// A cookie that cannot be read is as good as none; it is deleted at the next
// navigation. If [Config.Store] fails, Require answers 503, Load goes on without
// a session, and nobody is signed out. Should a browser come back from a
// sign-in without its session, it gets a page that names the likely causes in
// place of a second round. Where a handler sends people to sign in whoever is
// signed in, each sign-in from the third on waits for 5 seconds, on a page that
// goes on by itself; after eight there is an error page. A sign-in that comes
// back without its cookie was begun elsewhere (Office opens links like that), or
// the browser keeps no cookies: one page offers to start again, and the second
// time it is certain.
//
// Pages say what happened and what to do, in English, without scripts.
// [Config.Page] replaces them. Each page about a failure shows an id that
// stands in its log line too. Log lines go to [Config.Logger]. Those that an
// operator may want to count or to be woken by have the attribute "event", which
// stays the same between versions: start, handler_misconfigured, sign_in,
// sign_in_refused, access_refused, sign_out, session_ended, renewal,
// renewal_pause, renewal_resume, degraded, degraded_end, app_misconfigured,
// connected, no_refresh_token, token_store_failed. Lines about a request carry its context, so that a Handler
// of package slog can add what it finds there. A refusal's line says which
// account (user, username), which page (path), what kind (refused) and what was
// missing (err). [Middleware.Stats] has counts, of refusals by kind, and what is
// weaker for now. No line, error or page holds a token,
// code, key or secret.
//
// # Requests that are not page loads
//
// Only a navigation of the top window is sent to Microsoft: a GET or HEAD that
// browsers mark with Sec-Fetch-Mode: navigate and Sec-Fetch-Dest: document, or,
// where the first is absent, one whose Accept names text/html and that does not
// come from a script (X-Requested-With: XMLHttpRequest, HX-Request) or ask for
// an Upgrade. A prefetch never is; where its session would have to be renewed
// first, it is answered 503.
//
// A page load that a service worker passes on, with fetch(event.request) or a
// new Request made of it, is told by its Accept and Upgrade-Insecure-Requests
// headers and sent to Microsoft too; so is a frame's, which then looks the same.
// What a worker fetches by address alone looks like a script's request and gets
// 401: let workers leave page loads alone, or fetch the request itself. Such
// requests do not tell whether a page of this site or of another one wanted
// them. Where that matters, for [Middleware.Logout] and [Middleware.Connect],
// the person is asked, on a page whose form carries a token that other sites
// cannot know ([Link].Token).
//
// Everything else gets 401 from Require: a problem document (RFC 9457) whose
// login_url a script can open, or a short page with a link where HTML is
// preferred. Turbo, Inertia (409), Unpoly, Livewire (419) and htmx get what they
// follow; docs/recipes.md has a table. After signing in through that link,
// people are back on the page they were looking at, or were going to. A form that is posted after
// its session has ended gets that 401, and never comes back as a GET; the person
// can go back in the browser and copy what they wrote.
//
// # Testing your handlers
//
// A handler that calls [FromContext] is tested with [NewSession] and
// [NewContext], without any server:
//
//	s := msauth.NewSession(msauth.User{Name: "Ada"}, nil)
//	r = r.WithContext(msauth.NewContext(r.Context(), s))
//
// Require does not accept such a session. A whole sign-in is tested with
// package example.com/msauth/msauthtest, a local Microsoft: set
// [Config.Authority] to its URL. See the package example.
//
// # Sources
//
//   - OpenID Connect Core 1.0, Discovery 1.0, RP-Initiated Logout 1.0
//   - RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 9207 (iss in answers),
//     RFC 9700 (OAuth 2.0 security)
//   - RFC 6265 and its successor draft 6265bis (cookies and their prefixes)
//   - Microsoft identity platform documentation: "OAuth 2.0 authorization code
//     flow", "OpenID Connect", "ID token claims reference", "Secure
//     applications and APIs by validating claims", "Handling errors and
//     exceptions", "Scopes and permissions", "Claims challenges, claims
//     requests and client capabilities", "Developer guide to Conditional
//     Access authentication context"
//   - RFC 6750 (Bearer challenges), RFC 9110 (HTTP)
package msauth
