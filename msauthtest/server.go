// Package msauthtest provides a local Microsoft identity platform, and a small
// part of Microsoft Graph, for tests and for trying an app without an account.
// It is to a sign-in with Microsoft what net/http/httptest is to a server.
//
// It is for loopback only: it asks for no passwords, lets anybody sign in as
// anybody, and answers 403 to a request whose Host is not a loopback name.
//
// # Testing an app
//
// Start a [Server], and give the app its registration:
//
//	ms := msauthtest.NewServer()
//	defer ms.Close()
//	ms.Set(func(b *msauthtest.Behavior) { b.AutoSignIn = msauthtest.Ada })
//
//	auth, err := msauth.New(msauth.Config{
//		Authority:    ms.URL,
//		ClientID:     ms.ClientID,
//		ClientSecret: ms.ClientSecret,
//		...
//	})
//
// [Client] returns an HTTP client that is signed in to the app as a person:
//
//	client, err := msauthtest.Client(site.URL+"/page", msauthtest.Ada)
//
// With [Behavior.AutoSignIn], a client that has a cookie jar and follows
// redirects is signed in without a page, and every permission is granted.
// Without it, the authorize endpoint shows a page on which a person, or a
// browser test, picks an account:
//
//	button[name=user][value="ada@contoso.example"]   sign in as this person
//	button#cancel                                    error=access_denied, error_subcode=cancel
//	button#refuse                                    error=access_denied, AADSTS65004
//
// Picking an account grants the permissions that the app asks for. If the
// person is already known, and the app requests scopes that they have not
// granted yet, a stronger sign-in, or prompt=consent, another page shows the
// person, the new scopes (ul#scopes), and these buttons:
//
//	button#accept, button[name=user]                 grant it, verify, and sign in
//	button#cancel, button#refuse                     as above
//	button#refuse-mfa                                error=access_denied, AADSTS500121
//
// [Behavior] makes things go wrong, [Server.Calls] returns the requests that
// the server received, and [Server.Secrets] what must not appear in a log.
//
// # Endpoints
//
// The endpoints are those of the Microsoft identity platform v2.0, below
// {URL}/{tenant}: v2.0/.well-known/openid-configuration, oauth2/v2.0/authorize,
// oauth2/v2.0/token, oauth2/v2.0/logout and discovery/v2.0/keys. A tenant is
// common, organizations, consumers, a GUID or a domain. Tokens have the claims,
// the forms and about the sizes of Microsoft's. Errors are its documents, with
// AADSTS numbers, and with the error and the suberror that Microsoft sends with
// each number. Like Microsoft, the server dates tokens back by five minutes,
// keeps old refresh tokens valid, and gives personal accounts opaque access
// tokens, and ID tokens without any of the optional claims. A renewal for an
// API of the app's own registration must name its scopes (AADSTS90009).
//
// The server is stricter than Microsoft in what RFC 9700 asks of clients: an
// authorize request must have state, nonce and a PKCE challenge (S256).
//
// Graph is at {URL}/v1.0: /me, /me/photo/$value, /me/photos/48x48/$value and
// those of /users/{id}, /me/checkMemberGroups, /me/getMemberObjects,
// /me/getMemberGroups, /me/transitiveMemberOf and /me/memberOf, /me/events and
// /me/calendarView, $batch, and for each person a OneDrive below /me/drive and
// /drives/{id}. Each resource requires the documented scopes.
//
// # OneDrive
//
// A drive has folders, uploads with and without a session, moves, copies,
// deletions, search, thumbnails, sharing links and delta, for up to 10,000 items
// and 5 GB. Files of more than 256 KB are in temporary files. Names, hashes and
// what only personal or only work accounts can do (restore, embed links, delta
// below a folder, @microsoft.graph.sourceUrl) are as documented, or as captured.
//
// As with Microsoft, the content of a file is a redirect to a pre-signed URL on
// another host name. Pre-signed URLs, those of upload sessions and those of a
// copy's progress refuse requests with an Authorization header. Pages of other
// origins may use them as far as Microsoft's storage hosts allow it.
// [Server.ExpireUploads], [Server.ExpireDownloads] and
// [Server.ExpireDeltaTokens] end what would end in time.
//
// # Client credentials
//
// The app authenticates with [Server.ClientSecret], or with what
// [Server.AddSecret], [Server.AddCertificate], [Server.AddTrustedIssuer] and
// [Server.AddFederated] register; at the plain provider also with
// [Server.AddKey]. Each [Credential] can expire, be revoked or removed while the
// server runs, and counts the requests that it was accepted for and refused in.
// An assertion that the app signs is valid for the token endpoint that it is
// sent to, and once; the server signs none. [NewIssuer] starts an issuer whose
// tokens are federated credentials.
//
// # Other APIs
//
// [Server.AddAPI] registers APIs of the app's own, and [Server.Protect] guards a
// handler as such an API would. The server remembers which scopes each person
// has granted. A renewal for others is refused with AADSTS65001, that of a
// personal account with AADSTS70000. [Server.Challenge] makes Graph and
// protected handlers demand other tokens, in each [ChallengeForm] that
// Microsoft's resources have been seen to use.
//
// # Other providers
//
// The same people can sign in at three more providers: [Server.B2C] and
// [Server.ExternalID], Microsoft's for customers, each on a custom domain, and
// [Server.Plain], a plain OpenID provider with issuer {URL}/generic that is not
// Microsoft's: its tokens have no tid and no oid. At B2C, discovery names an
// issuer that is not a prefix of the document's address, a token reply without
// a scope of an API has no access token, and errors have AADB2C numbers. Fields
// of [Behavior] change the plain provider. It can tell apps that somebody has
// signed out: [Behavior.BackChannelLogout].
//
// # Live Connect
//
// [Server.LiveAuthority] is Live Connect, the service of the retired Live SDK
// for ASP.NET, for people with personal accounts. It is no OpenID provider: it
// has no discovery and no keys, and its authentication tokens are signed with the
// client secret, which has versions ([Credential.Version],
// [Credential.Activate]). [Server.AuthenticationToken] and
// [SignAuthenticationToken] make such tokens, good and bad ones. Its requests
// count under the same kinds as those of the other providers, and [Behavior]
// applies to them, as far as Live Connect has what a field changes. Errors have
// no numbers: a [Failure] with a number is sent in Live Connect's words. There is
// no data API.
package msauthtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxForm is the largest body of a POST, in bytes.
const maxForm = 1 << 20

// A Server is a local Microsoft. Use [NewServer] or [New] to make one.
type Server struct {
	// URL is the origin, without a trailing slash: the authority. Graph is at
	// URL + "/v1.0".
	URL string

	// ClientID and ClientSecret are those of the app's registration: a GUID and
	// 40 characters, random for each server. They may be changed before the
	// first request. See [Server.Secret].
	ClientID     string
	ClientSecret string

	otherURL string      // origin of pre-signed URLs: another name of the same host
	cookie   string      // name of the sign-in session's cookie
	signer   []byte      // key of pre-signed URLs
	secret   *Credential // that of ClientSecret
	closed   atomic.Bool

	downloadEra atomic.Uint64 // of pre-signed URLs: see ExpireDownloads
	deltaEra    atomic.Uint64 // of tokens of delta: see ExpireDeltaTokens
	temporary   *tempFiles    // contents of large files; it refers to nothing here

	stop func() // stops a server that listens; nil for others

	// mu guards everything below. It is never held while a request waits.
	mu         sync.Mutex
	behavior   Behavior
	users      []*User
	hints      map[string]string // sign-in name in lower case -> login_hint claim
	generation int               // of signing keys
	keyAnswers int               // of the keys endpoint, under Behavior.AlternateKeys
	sessions   map[string]*ssoSession
	codes      map[string]*code
	refresh    map[[32]byte]*refreshToken
	access     map[[32]byte]accessToken
	serial     uint64 // counts access tokens and challenges
	apis       []API
	consents   map[string][]permission // by sign-in name in lower case
	challenges []*challenge
	calls      []*Call
	counts     map[Kind]int
	secrets    []string
	assertions map[string]time.Time // used client assertions: when each expires

	credentials []*Credential
	liveVersion int // of the client secret that Live Connect signs with

	// files guards the drives. It is never held while a request waits. mu may be
	// locked while files is held, but not the other way round.
	files    sync.Mutex
	drives   map[string]*drive // by object id
	uploads  map[string]*upload
	monitors map[string]*monitor
}

// NewServer starts a server on a free port of 127.0.0.1, over plain http. It
// panics if it cannot listen. The caller should call [Server.Close] when
// finished.
func NewServer() *Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("msauthtest: " + err.Error())
	}
	s := New("http://" + l.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.RWMutex // read-locked by each request
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			running.RLock()
			defer running.RUnlock()
			s.ServeHTTP(w, r)
		}),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(discard{}, "", 0),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(l)
	}()
	s.stop = func() {
		cancel()
		srv.Close()
		<-served
		running.Lock() // no request is left
		defer running.Unlock()
	}
	return s
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// New returns a server that does not listen: an [http.Handler] for a listener
// that is reached at origin, such as "http://localhost:9000", or for
// [Server.Transport]. It panics if origin is not an http or https URL of a
// loopback host without a path.
func New(origin string) *Server {
	origin = strings.TrimSuffix(origin, "/")
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || !loopback(u.Host) {
		panic("msauthtest: New: " + origin + " is not the origin of a loopback host, such as http://localhost:9000")
	}
	sum := sha256.Sum256([]byte(origin))
	s := &Server{
		URL:          origin,
		ClientID:     newGUID(),
		ClientSecret: randomText(3) + "8Q~" + randomText(34),
		otherURL:     u.Scheme + "://" + otherName(u),
		cookie:       "msauthtest-" + hex.EncodeToString(sum[:3]),
		signer:       randomBytes(32),
		hints:        map[string]string{},
		sessions:     map[string]*ssoSession{},
		codes:        map[string]*code{},
		refresh:      map[[32]byte]*refreshToken{},
		access:       map[[32]byte]accessToken{},
		consents:     map[string][]permission{},
		temporary:    &tempFiles{},
		drives:       map[string]*drive{},
		uploads:      map[string]*upload{},
		monitors:     map[string]*monitor{},
		counts:       map[Kind]int{},
		assertions:   map[string]time.Time{},
	}
	s.secret = s.addCredential(&Credential{kind: secretCredential})
	for _, u := range founders() {
		s.users = append(s.users, &u)
	}
	return s
}

// Close stops the server. Requests in flight are cut off, and later ones by
// [Server.Transport] fail.
func (s *Server) Close() {
	if s.closed.Swap(true) {
		return
	}
	if s.stop != nil {
		s.stop()
	}
	s.temporary.close()
}

// RollKeys publishes new signing keys and uses them from now on. The previous
// keys stay published, as Microsoft keeps them for a while.
func (s *Server) RollKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
}

// Revoke ends all sign-ins of a person, as an administrator's "revoke sessions"
// or a new password does. Their refresh tokens and codes are refused (see
// [Behavior.Revoked]), and they are signed out of this server in every browser.
// As with Microsoft, access tokens stay valid until they expire.
func (s *Server) Revoke(signInName string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.refresh {
		if strings.EqualFold(t.grant.user, signInName) {
			t.grant.revoked = true
		}
	}
	for _, c := range s.codes {
		if strings.EqualFold(c.grant.user, signInName) {
			c.grant.revoked = true
		}
	}
	for _, session := range s.sessions {
		delete(session.accounts, strings.ToLower(signInName))
	}
}

// ServeHTTP implements [http.Handler]. It answers 403 if the request's Host is
// neither a loopback name nor login.live.com, so that a page elsewhere cannot use the server by
// resolving its own name to this computer (DNS rebinding).
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !loopback(r.Host) && !inProcess(r) && !atLive(r) {
		http.Error(w, "msauthtest is a local stand-in for Microsoft and serves loopback hosts only.\n"+
			"Use localhost, a name below .localhost, 127.0.0.1 or [::1].", http.StatusForbidden)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	s.dispatch(w, r)
}

// dispatch serves a request from a network, or a part of a batch.
func (s *Server) dispatch(w http.ResponseWriter, r *http.Request) {
	kind, handle := s.route(r)
	switch r.Method {
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
		r.Body = http.MaxBytesReader(w, r.Body, maxSimple)
	case http.MethodPost:
		limit := int64(maxForm)
		if kind == Batch {
			limit = maxBatch
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "msauthtest: cannot read the form: "+err.Error(), http.StatusBadRequest)
			return
		}
		if kind == TokenOther {
			kind = grantKind(r)
		}
	}
	s.serve(w, r, kind, handle)
	if r.Method == http.MethodPut {
		// Clients that are still sending may not see an early answer.
		io.Copy(io.Discard, r.Body)
	}
}

// serve answers a request of a kind as the behavior requires.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, kind Kind, handle handler) {
	call := s.arrived(kind, r)
	sw := &statusWriter{ResponseWriter: w}
	defer func() { s.answered(call, sw.status) }()

	b, apis, delay, f := s.next(kind)
	if !sleep(r.Context(), delay) {
		panic(http.ErrAbortHandler)
	}
	e := &exchange{Server: s, origin: s.origin(r), kind: kind, behavior: b, apis: apis}
	if kind != OwnAPI {
		name, _ := tenantPath(r)
		e.tenant, _ = s.tenant(name)
	}
	e.allowOrigin(sw, r)
	if f.LoseReply {
		handle(e, &recorder{}, r)
		panic(http.ErrAbortHandler)
	}
	if !f.isZero() {
		e.fail(sw, r, f)
		return
	}
	handle(e, sw, r)
}

// An exchange is the server while it answers one request, with the behavior for
// that request.
type exchange struct {
	*Server
	origin   string // where the provider is reached
	kind     Kind
	behavior Behavior
	apis     registry
	tenant   tenant
}

type handler func(e *exchange, w http.ResponseWriter, r *http.Request)

// loopback reports whether a host, with or without a port, is a loopback name
// or address.
func loopback(host string) bool {
	u := url.URL{Host: host}
	name := strings.ToLower(u.Hostname())
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(name)
	return err == nil && ip.IsLoopback()
}

// otherName returns another host name for the same listener. To a browser or an
// http.Client it is another host.
func otherName(u *url.URL) string {
	name := "127.0.0.1"
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		name = "localhost"
	}
	if port := u.Port(); port != "" {
		name = net.JoinHostPort(name, port)
	}
	return name
}

// sleep waits and reports whether it was not interrupted.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
