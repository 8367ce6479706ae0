// Package msauth is middleware for net/http that signs users in with a Microsoft
// account (work, school or personal), keeps their session in encrypted cookies,
// renews its tokens, and gives each handler the live session through the
// request's context.
//
// # Quick start
//
// Register the app at Microsoft (README.md explains how), mount the [Middleware]
// below its BaseURL, and wrap the handlers that need to know the user:
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
//	mux.Handle("/{$}", auth.Load(home))        // signed in or not
//	mux.Handle("/files/", auth.Require(files)) // signed-in users only
//
// In a handler:
//
//	s, ok := msauth.FromContext(r.Context()) // ok is always true under Require
//	fmt.Fprintf(w, "Hello, %s", s.User.Name)
//	res, err := s.Client(r.Context()).Get("https://graph.microsoft.com/v1.0/me")
//
// The handler owns what it gets from the session, including slices and maps, and
// may modify it.
//
// Use [User.Key] to identify an account in the app's database: names and e-mail
// addresses change, and some can be chosen by others. [Middleware.LoginURL] and
// [Middleware.LogoutURL] return links for templates.
//
// The router of net/http panics if "/auth/" is registered beside "GET /",
// because neither is more specific. Use "/" or "GET /{$}" instead.
//
// # Sign-in flow
//
// Signing in uses the authorization code flow of OpenID Connect with PKCE, at
// version 2.0 of the Microsoft identity platform:
//
//  1. [Middleware.Require], or a link to BaseURL + "/login", redirects the
//     browser to Microsoft. The state parameter carries, sealed, what the
//     callback needs, and a small cookie ties it to this browser. Each attempt
//     has its own cookie, so several tabs can sign in at once. The server
//     stores nothing.
//  2. Microsoft redirects the browser to BaseURL + "/callback" with a code.
//     [Middleware.Callback] checks that the attempt belongs to this browser and
//     is at most 30 minutes old, redeems the code with one request, and verifies
//     the ID token: signature, issuer, audience, times, nonce, tenant.
//  3. [Config.OnSignIn] may refuse the user or link the account to one of the
//     app's own users. Then the session is sealed into its cookie, and the
//     browser is redirected to the page that was first requested. If the
//     response has no room for both the session and the address of the page, it
//     goes there by way of BaseURL + "/continue". Addresses of more than 2,000
//     bytes lose their query.
//  4. From then on, requests need no call to Microsoft until the access token is
//     due. Then a single request to Microsoft renews it, however many requests
//     wait for it, before the handler runs. Users do not notice.
//  5. [Middleware.Logout] ends the session and redirects the browser to
//     Microsoft, to sign out there too, and then to [Config.PostLogoutURL].
//
// # Credentials of the app
//
// Token requests prove that they are the app's: by [Config.ClientSecret], or by
// one of [Config.Credentials]. These are certificates and keys that sign an
// assertion ([CertificateFiles], [Certificate]), tokens of another issuer that the
// app registration trusts ([FederatedTokenFile], [Assertion]), and secrets
// ([Secret], [SecretFile]). Files are read again when they change. If Microsoft
// refuses one, the same request goes on with the next, so a credential can be
// replaced without an interruption: register the new one, give it to the app, and
// delete the old one last. [Stats.Credentials] says which is used and when it
// ends. docs/credentials.md has commands and steps.
//
// # Other providers
//
// [Config.Issuer] selects another OpenID provider, with the same sign-in flow.
// Entra External ID and Azure AD B2C count as Microsoft's: their users are
// identified by tenant and object ID, and renewals name their scopes. For a
// custom domain, set [Config.MicrosoftIssuer] too. B2C issuers with /tfp/ are
// not supported.
//
// The package works without what other providers omit:
//
//   - If a provider issues no refresh token, sessions last until MaxAge or
//     IdleTimeout, whatever happens to the account, unless
//     [Config.RecheckAfter] ends them earlier. Their access tokens cannot be
//     renewed once they expire.
//   - If a provider issues no access token, as B2C does without a scope of an
//     API, sessions have none, and the error of [Session.Token] says what to
//     configure.
//   - If an ID token lacks the user's names, they are read from userinfo, once,
//     at sign-in.
//   - The app sends its secret by client_secret_post if discovery lists that, and
//     by Basic otherwise. With a key in Credentials it uses private_key_jwt.
//
// The latest ID token is kept for signing out at the provider (id_token_hint).
//
// # Live Connect
//
// With [Config.Authority] "https://login.live.com" the provider is Live Connect, the
// service for personal accounts that the Live SDK for ASP.NET used: scopes such as
// "wl.basic", and an authentication token in place of an ID token.
// [Session.AuthenticationToken] and [Middleware.VerifyAuthenticationToken] are for
// single sign-on to other parts of the site. SECURITY.md says what these sign-ins
// prove less; docs/live-sdk.md has each call of that SDK, and the way to Microsoft
// Graph. At every provider, [Middleware.Status] is for pages that branch on whether
// somebody is signed in, has declined, or has a session that is over.
//
// # Asking for more
//
// One sign-in can serve several APIs: [Session.Token] takes scopes, and
// [Session.Client] sends a separate token to each host of [Config.TokenHosts].
// These tokens are kept in memory. A handler that requires more than a
// signed-in user says so:
//
//	mux.Handle("/calendar", auth.RequireScopes("Calendars.Read")(calendar))
//	mux.Handle("/codes", auth.RequireFreshSignIn(5*time.Minute)(codes))
//	mux.Handle("/pay", auth.RequireAuthContext("c1")(pay))
//	mux.Handle("/admin", auth.RequireRole("Admin")(admin))
//
// If another sign-in can meet the requirement, users are redirected to Microsoft
// and back, and scripts get a response that says where to sign in. If it cannot,
// or has been tried without success, the response is a page with status 403.
//
// Requirements of an API, such as the claims challenges of continuous access
// evaluation, are met without the user if possible. If not, pass the error to
// [Middleware.Challenge]:
//
//	res, err := s.Client(r.Context()).Get(url)
//	if auth.Challenge(w, r, err) {
//		return
//	}
//
// # Sessions bound to the device
//
// Whoever copies a session cookie is that user, until the session ends. With
// [Config.DeviceBinding] a browser that can do it (Device Bound Session Credentials)
// keeps a private key that cannot be copied, and proves it every 10 minutes by requests
// of its own: a copy of the cookies is then worthless elsewhere. Nothing is kept on the
// server. [Middleware.RequireDevice] demands a proof that is more recent. SECURITY.md has
// a table of what a thief can still do.
//
// # While users are away
//
// If [Config.Tokens] is set, refresh tokens are stored on the server for each of
// the app's own users ([SignIn.UserKey]), and not in cookies.
// [Middleware.Offline] then returns a session without a request, for workers:
//
//	s, err := auth.Offline(ctx, user)
//	res, err := s.Client(ctx).Get(url)
//
// However many processes and browsers need to renew a user's tokens, a lease in
// the store lets only one of them do so at a time. If Microsoft refuses the
// tokens, the entry is marked, and the error is [ErrSignInRequired] until the
// user has signed in again. [Middleware.Connect] connects a Microsoft account to
// a user whom the app signs in by its own means.
//
// # Cookies
//
// All cookies have the prefix "__Host-" and the attributes Secure, HttpOnly,
// SameSite=Lax and Path=/. NAME is [Config.CookieName]. If BaseURL is plain
// http, for development, they have neither the prefix nor Secure, because Safari
// keeps no Secure cookies on http://localhost. Over https, cookies without the
// prefix are ignored.
//
//	__Host-NAME            the session: identity and tokens, encrypted
//	__Host-NAME-1, -2 ...  the rest of a session that is too long for one cookie
//	__Host-NAME-login-ID   one sign-in in progress, 30 minutes; at most 16
//	__Host-NAME-to         the address to return to, if it is long: sealed, 30
//	                       minutes, for the latest sign-in only
//	__Host-NAME-device     the proof of the device that the session is bound to, 10
//	                       minutes: see Config.DeviceBinding. SameSite=None
//	__Host-NAME-ok         marks a sign-in that has just succeeded, or was declined,
//	                       20 seconds
//
// The session of a work account takes about 3 KB. A session that would exceed
// [Config.CookieBudget] leaves out what it can do without: first the access
// token, which is then requested when needed, then groups, then [Config.Claims].
// If that is not enough, the sign-in ends on an error page and
// [ErrCookieTooLarge] is logged. [Config.Store] keeps sessions on the server
// instead, sealed all the same.
//
// A session ends [Config.MaxAge] after sign-in, or [Config.IdleTimeout] after it
// was last used. Both times are inside the sealed value and enforced by the
// server. Signing in again as the same user, for consent, a step-up or through a
// link, does not extend the session unless the user entered credentials again,
// as shown by a claim auth_time later than the previous one. Signing in as
// another user, or after the end, begins a new session. Renewals do not extend a
// session.
//
// Whoever is still signed in at Microsoft comes back after the end with one
// click. With [Config.Reauthenticate], a sign-in needs credentials that were
// entered after it began, unless the browser comes back with a valid session of
// the same account. If Microsoft did not ask for them, because somebody has taken
// prompt=login out of the address bar, the sign-in ends on a page, never in
// another redirect. A session that ends while the user is at Microsoft for
// consent or a step-up leads to that page too: its link asks for credentials.
//
// Cookies are written before the handler runs; the ResponseWriter is passed on
// unwrapped. A response that sets a cookie also sets Cache-Control: no-store.
//
// # Keys and rotation
//
// [Config.Keys] are 32 random bytes each. The first key seals, and all of them
// open. Sealing is AES-256-GCM with a key derived for each purpose
// (HKDF-SHA256), and works under GODEBUG=fips140=only. All instances of an app
// need the same keys. To rotate keys without signing anyone out:
//
//  1. Add the new key in second place on every server.
//  2. Move it to first place on every server.
//  3. Drop the old key MaxAge later and, with [Config.Tokens], only after
//     [Middleware.Reseal] has been called for every user.
//
// Dropping a key ends all sessions still sealed with it.
//
// With [Config.KeyFiles] this needs no restart. The files are read again when
// they have changed, and before anybody is signed out because something does not
// open: a server may be handed what another one has sealed with a key that is
// new. Servers may notice a change at different times; wait between the steps
// until all have ([Stats.KeyIDs], event keys_changed). While the files are
// missing or wrong, the last good keys stay in use.
//
// # Failure behavior
//
// Every failure at Microsoft is an [AuthError] of one [Class], determined by the
// HTTP status, then suberror, then error. The class determines what happens to
// the session:
//
//	sign in again      revoked, disabled, expired: the session ends
//	step up            another factor or consent is required: the session is
//	                   kept, and the next navigation leads to Microsoft and back
//	retry              timeout, 5xx, throttling: nothing is lost; handlers run,
//	                   and Session.Token fails with ErrTokenUnavailable once the
//	                   old token has expired
//	app misconfigured  Microsoft refuses the app, for example because its secret
//	                   has expired: as for retry, but logged as an error, and
//	                   Ready fails. If a code is refused with invalid_client,
//	                   which a visitor can cause, Microsoft is asked once more
//	declined           the user pressed Cancel: a page says so, or leads back
//	not allowed        the account may not use the app: a page with status 403
//	replay             the code was used before: a page offers to start again
//
// The last three happen only at sign-in. [Session.Token] reports the first two
// as [ErrSignInRequired] and the next two as [ErrTokenUnavailable].
//
// During an outage of Microsoft, new sign-ins get a page with status 503, and
// sessions stay as they are. A request waits for a renewal at most 1 second
// while its token is valid, and 5 seconds once it has expired; the renewal goes
// on without it. A failed renewal is tried again after one second, doubling up
// to 10 seconds; Retry-After is obeyed. After failures for 5 users in a row,
// renewals pause for everyone, and one is tried every 5 to 10 seconds. If several
// tenants can sign in, an OAuth error counts only once for all users of a tenant
// and once for all personal accounts, so that no stranger can cause a pause.
// Requests to Graph for a user's groups back off in the same way.
//
// After [Config.Scopes] has changed to another API, existing sessions get a token
// for it, or their users are redirected to Microsoft to consent.
//
// A cookie that cannot be read is ignored, and deleted at the next navigation.
// If [Config.Store] fails, Require responds with status 503, Load continues
// without a session, and nobody is signed out.
//
// A browser that comes back from a sign-in without its session gets a page that
// lists the likely causes instead of another redirect.
// If a handler sends even signed-in users to sign in, each sign-in from the
// third on waits for 5 seconds, on a page that continues by itself, and after
// eight an error page follows. A sign-in that comes back without its cookie was
// begun in another application (Office opens links that way), or the browser
// blocks cookies: a page offers to start again, and if that fails too, the next
// page says that cookies are blocked.
//
// Pages say what happened and what to do, in the language of the reader
// ([Config.Language]), and need no scripts.
// [Config.Page] replaces them. Each page about a failure shows an ID that is in
// its log line too.
//
// Log lines go to [Config.Logger]. The lines that an operator may want to count
// or to be alerted to have the attribute "event", which stays the same between
// versions: start, handler_misconfigured, sign_in, sign_in_refused,
// access_refused, sign_out, session_ended, renewal, renewal_pause,
// renewal_resume, degraded, degraded_end, app_misconfigured, connected,
// no_refresh_token, token_store_failed, keys_changed, key_files_failed,
// credential_refused, credential_changed, credential_fault, credential_ends,
// front_channel_logout, back_channel_logout, back_channel_refused,
// user_signed_out. A line about a request is logged with the request's context,
// so that a slog Handler can add attributes from it. The line for a refusal has
// the account (user, username), the page (path), the kind (refused) and what
// was missing (err). [Middleware.Stats] counts refusals by kind, among others,
// and lists what is currently degraded. [Config.Trace] is for traces; module
// example.com/msauth/otelmsauth makes metrics and traces of both. No log line, error
// or page contains a token, code, key or secret.
//
// # Requests that are not page loads
//
// Only navigations of the top-level window are redirected to Microsoft: a GET or
// HEAD that the browser marks with Sec-Fetch-Mode: navigate and Sec-Fetch-Dest:
// document. If the former is absent, a request counts if its Accept names
// text/html, it does not come from a script (X-Requested-With: XMLHttpRequest,
// HX-Request), and it does not ask for an Upgrade. A prefetch is never
// redirected; if its session must be renewed first, it gets status 503.
//
// A page load that a service worker passes on, with fetch(event.request) or a
// new Request made from it, is recognized by its Accept and
// Upgrade-Insecure-Requests headers and redirected too; so is one in a frame,
// which then looks the same. A worker's fetch of a mere URL looks like a
// script's request and gets 401: let workers leave page loads alone, or fetch
// the request itself. Such requests do not show whether a page of this site or
// of another one caused them. Where that matters, in [Middleware.Logout] and
// [Middleware.Connect], a page asks the user to confirm, with a form token that
// other sites cannot know ([Link].Token).
//
// All other requests get 401 from Require: a problem document (RFC 9457) whose
// login_url a script can open, as that of [Middleware.ScriptURL] does, or a
// short page with a link if the client prefers HTML. Turbo, Inertia (409),
// Unpoly, Livewire (419) and htmx get a response that they can follow; see the
// table in docs/recipes.md. Signing in through such a link leads back to the
// page that the user was on, or was going to. A form that is posted after its
// session has ended gets the 401 too, and is never repeated as a GET. The page
// has the form in it, if a page of this site has posted it and it is small
// ([Config.KeepForm]): the user signs in in another tab, comes back, and sends
// it again. Nothing of it is stored. Without that, they can go back in the
// browser and copy what they wrote.
//
// # Testing your handlers
//
// Use [NewSession] and [NewContext] to test a handler that calls [FromContext],
// without any server:
//
//	s := msauth.NewSession(msauth.User{Name: "Ada"}, nil)
//	r = r.WithContext(msauth.NewContext(r.Context(), s))
//
// Require does not accept such a session. To test a whole sign-in, use package
// example.com/msauth/msauthtest, a local Microsoft, and set [Config.Authority]
// to its URL. See the package example.
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
