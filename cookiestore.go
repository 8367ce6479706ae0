package msauth

import (
	"encoding/binary"
	"fmt"
	"net/http"
	"time"

	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/session"
	session_ "example.com/msauth/internal/session"
	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
)

// CookieStore keeps gorilla sessions in encrypted cookies, split where they
// are too long for one: for an app's own values beside the Microsoft session.
// Its cookies are "__Host-" + the session's name, with Secure, HttpOnly,
// SameSite=Lax and Path=/; of a session's Options only MaxAge and SameSite
// count. The age is enforced by the server as well.
type CookieStore struct {
	// Options are those of new sessions. MaxAge is in seconds; 0 means a
	// cookie that goes with the browser, honoured for 7 days at most; more than
	// 400 days are 400. Default 7 days.
	Options sessions.Options

	// InsecureCookies drops Secure and the "__Host-" prefix, for plain http:
	// on hosts other than loopback, and on loopback for Safari, which keeps no
	// Secure cookie there. For development only.
	InsecureCookies bool

	// Owner says whose sessions these are, where several apps on one host have
	// the same keys: with another Owner they do not open. Default "".
	Owner string

	codec seal.Codec
}

// mostSeconds is a hundred years: from 292 on a Duration overflows.
const mostSeconds = 100 * 365 * 86400

var _ sessions.Store = (*CookieStore)(nil)

// NewCookieStore makes a store from keys of 32 random bytes each. The first
// seals, all open. The keys may be those of [Config.Keys].
func NewCookieStore(keys ...[]byte) (*CookieStore, error) {
	ring, err := seal.NewKeyring(keys)
	if err != nil {
		return nil, fmt.Errorf("msauth: the list of keys %w", err)
	}
	return &CookieStore{
		Options: sessions.Options{MaxAge: int(defaultMaxAge / time.Second)},
		codec:   seal.Codec{Keys: ring.Derive("msauth cookie store v1")},
	}, nil
}

func (s *CookieStore) format(name string, o *sessions.Options) (*session.Cookies, error) {
	if !session.ValidName(name) {
		return nil, fmt.Errorf("msauth: session name %q must be 1 to 40 letters, digits, dots, dashes or underscores, and not end like one of another session's cookies", name)
	}
	sameSite := http.SameSiteLaxMode
	if o != nil && o.SameSite == http.SameSiteStrictMode {
		sameSite = http.SameSiteStrictMode
	}
	return session.NewCookies(name, []byte(s.Owner), s.codec, s.InsecureCookies, sameSite, largestCookieBudget), nil
}

// Get returns the session of the request, read once per request. It rewrites
// r in place, as all gorilla stores do: not for concurrent use of one request.
func (s *CookieStore) Get(r *http.Request, name string) (*sessions.Session, error) {
	return sessions.GetRegistry(r).Get(s, name)
}

// New reads the session from the request's cookies. A cookie that is missing,
// too old, altered or sealed with a key that was dropped gives a new, empty
// session without an error.
func (s *CookieStore) New(r *http.Request, name string) (*sessions.Session, error) {
	session := sessions.NewSession(s, name)
	options := s.Options
	session.Options = &options
	session.IsNew = true
	format, err := s.format(name, nil)
	if err != nil {
		return session, err
	}
	payload := format.Read(r.Header).Head
	if len(payload) < 9 || payload[0] != session_.FormatGob {
		return session, nil
	}
	if int64(binary.BigEndian.Uint64(payload[1:])) <= time.Now().Unix() {
		return session, nil
	}
	values := map[any]any{}
	if err := (securecookie.GobEncoder{}).Deserialize(payload[9:], &values); err != nil {
		return session, nil
	}
	session.Values, session.IsNew = values, false
	return session, nil
}

// Save writes the session's cookies, or deletes them when its Options.MaxAge
// is negative. It must be called before the response begins. The error wraps
// [ErrCookieTooLarge] when the lines would take more than 7168 bytes.
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
	lasts := min(age, session_.LongestMaxAge)
	if lasts == 0 {
		lasts = defaultMaxAge
	}
	values, err := (securecookie.GobEncoder{}).Serialize(session.Values)
	if err != nil {
		return fmt.Errorf("msauth: session %q: %w", session.Name(), err)
	}
	payload := []byte{session_.FormatGob}
	payload = binary.BigEndian.AppendUint64(payload, uint64(time.Now().Add(lasts).Unix()))
	payload = append(payload, values...)
	return public(format.Write(w.Header(), sent, payload, nil, age))
}

// Format implements [fmt.Formatter]: no key is shown.
func (s *CookieStore) Format(f fmt.State, verb rune) { fmt.Fprint(f, "msauth.CookieStore") }
