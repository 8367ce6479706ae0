package msauth

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// CookieStore is a gorilla session store for an app's own values, apart from the
// Microsoft session. It keeps sessions in encrypted cookies, several of them if
// a session is too long for one.
//
// Cookies are named "__Host-" + the session's name and have the attributes
// Secure, HttpOnly, SameSite=Lax and Path=/. Of a session's Options, only MaxAge
// and SameSite have an effect. The server enforces MaxAge too.
type CookieStore struct {
	// Options are the options of new sessions. MaxAge is in seconds. If it is
	// 0, browsers drop the cookie when they are closed, and the server accepts
	// it for at most 7 days. More than 400 days count as 400. Default 7 days.
	Options sessions.Options

	// InsecureCookies omits Secure and the "__Host-" prefix, for development
	// over plain http: on hosts other than loopback, and on loopback for
	// Safari, which keeps no Secure cookies there.
	InsecureCookies bool

	// Owner separates apps that share a host and keys: a session opens only
	// with the Owner that it was saved with. Default "".
	Owner string

	codec seal.Codec
	files *keyFiles // of the Middleware that made the store; nil if none
}

var _ sessions.Store = (*CookieStore)(nil)

// NewCookieStore returns a store that encrypts with the given keys, of 32 random
// bytes each: the first seals, and all of them open. They may be the same as
// [Config.Keys]; [Middleware.CookieStore] returns a store with the keys of a
// Middleware.
func NewCookieStore(keys ...[]byte) (*CookieStore, error) {
	ring, err := seal.NewKeyring(keys)
	if err != nil {
		return nil, fmt.Errorf("msauth: the list of keys %w", err)
	}
	return newCookieStore(cookieStoreCodec(ring)), nil
}

func newCookieStore(codec seal.Codec) *CookieStore {
	return &CookieStore{Options: sessions.Options{MaxAge: int(defaultMaxAge / time.Second)}, codec: codec}
}

func cookieStoreCodec(ring *seal.Keyring) seal.Codec {
	return seal.Codec{Keys: ring.Derive("msauth cookie store v1")}
}

// Get returns the session with the given name, which it reads once per request.
// Like every gorilla store, it modifies r in place: do not call it concurrently
// for one request.
func (s *CookieStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session with the given name from the request's cookies. If the
// cookie is missing, expired, altered, or sealed with a dropped key, it returns
// a new, empty session and no error.
func (s *CookieStore) New(r *http.Request, name string) (*sessions.Session, error) {
	own := sessions.NewSession(s, name)
	options := s.Options
	own.Options = &options
	own.IsNew = true
	format, err := s.format(name, nil)
	if err != nil {
		return own, err
	}
	payload := format.Read(r.Header, new([]byte)).Head
	if len(payload) < 9 || payload[0] != session.FormatGob {
		return own, nil
	}
	if int64(binary.BigEndian.Uint64(payload[1:])) <= time.Now().Unix() {
		return own, nil
	}
	values := map[any]any{}
	if err := (securecookie.GobEncoder{}).Deserialize(payload[9:], &values); err != nil {
		return own, nil
	}
	own.Values, own.IsNew = values, false
	return own, nil
}

// Save has a session of gorilla's by this name.
const (
	formatGob     = session.FormatGob
	longestMaxAge = session.LongestMaxAge
)

// mostSeconds is a hundred years: a Duration overflows after 292.
const mostSeconds = 100 * 365 * 86400

// Save writes the session's cookies, or deletes them if Options.MaxAge of the
// session is negative. Call it before writing the response. The error matches
// [ErrCookieTooLarge] if the Set-Cookie lines would exceed 7168 bytes.
func (s *CookieStore) Save(r *http.Request, w http.ResponseWriter, session *sessions.Session) error {
	options := session.Options
	if options == nil {
		options = &s.Options
	}
	format, err := s.format(session.Name(), options)
	if err != nil {
		return err
	}
	sent := format.Scan(r.Header).Sent
	if options.MaxAge < 0 {
		format.Clear(w.Header(), sent|format.Set(w.Header())|1)
		return nil
	}
	age := time.Duration(min(int64(options.MaxAge), mostSeconds)) * time.Second
	lasts := min(age, longestMaxAge)
	if lasts == 0 {
		lasts = defaultMaxAge
	}
	values, err := (securecookie.GobEncoder{}).Serialize(session.Values)
	if err != nil {
		return fmt.Errorf("msauth: session %q: %w", session.Name(), err)
	}
	payload := []byte{formatGob}
	payload = binary.BigEndian.AppendUint64(payload, uint64(time.Now().Add(lasts).Unix()))
	payload = append(payload, values...)
	return public(format.Write(w.Header(), sent, payload, nil, age))
}

// format returns the cookies of a session with the given name. Only SameSite of
// o counts.
func (s *CookieStore) format(name string, o *sessions.Options) (*session.Cookies, error) {
	if !session.ValidName(name) {
		return nil, fmt.Errorf("msauth: session name %q must be 1 to 40 letters, digits, dots, dashes or underscores, and must not end in -1 to -9, -ok, -to, -device or -login-ID, which other cookies of a session have", name)
	}
	s.files.tick(time.Now())
	sameSite := http.SameSiteLaxMode
	if o != nil && o.SameSite == http.SameSiteStrictMode {
		sameSite = http.SameSiteStrictMode
	}
	return session.NewCookies(name, []byte(s.Owner), s.codec, s.InsecureCookies, sameSite, largestCookieBudget), nil
}

// Format implements [fmt.Formatter]. It prints no key, whatever the verb.
func (s *CookieStore) Format(f fmt.State, verb rune) { fmt.Fprint(f, "msauth.CookieStore") }
