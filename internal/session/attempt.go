package session

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/ttl"
)

const (
	AttemptLifetime = 30 * time.Minute
	maxAttempts     = 16   // unfinished ones in one browser; about 1.1 KB
	maxState        = 1024 // characters: Entra refuses long queries (AADSTS90015)

	ShortReturnTo = 160 // bytes that the callback's answer has room for beside any session
	maxAppState   = 256 // bytes
	attemptFormat = 3
	maxFinished   = 10_000
)

// An Attempt is one sign-in under way. Nothing of it is kept on the server:
// all that must come back travels through Microsoft in the sealed state
// parameter, bound to this browser by a cookie of the attempt's own. The
// browser's other tabs have theirs.
type Attempt struct {
	ID       AttemptID
	seed     [32]byte
	Binding  [sha256.Size]byte // of the cookie's value
	ReturnTo string
	Cut      bool   // state holds less of returnTo than there was
	Kept     bool   // the browser has sent all of it in its cookie
	Host     string // at which it began, if that is not BaseURL's
	AppState string
	Rounds   uint8 // sign-ins right before, each after the other
	// Challenged is set where the code of the attempt before was refused with a
	// claims challenge, which this one is to meet: once is enough.
	Challenged bool
	// Retried is set where the sign-in before came back without a cookie: this
	// one began in the browser that it is to come back to.
	Retried  bool
	Unseen   bool                       // has come back without its cookie; not in state
	Scopes   string                     // asked for beyond Config.Scopes
	Asked    provider.RequirementDigest // all that it is to bring
	User     string                     // of the app, who connects an account
	Contexts []string                   // authentication contexts that were asked for
	MaxAge   time.Duration              // how long ago credentials may have been entered, 0 for whenever
}

// Flags stand beside the number of rounds.
const (
	flagChallenged = 1 << 7
	flagRetried    = 1 << 6
	flagCut        = 1 << 5
	maskRounds     = 1<<4 - 1
)

// AttemptID begins with the time: it tells an attempt's age and sorts.
type AttemptID [8]byte

func (id AttemptID) String() string { return hex.EncodeToString(id[:]) }

func (id AttemptID) started() time.Time { return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0) }

// NewAttempt also makes the value of the attempt's cookie.
func NewAttempt() (a *Attempt, cookie string) {
	a = &Attempt{}
	binary.BigEndian.PutUint32(a.ID[:4], uint32(time.Now().Unix()))
	seal.RandomBytes(a.ID[4:])
	seal.RandomBytes(a.seed[:])
	var value [16]byte
	seal.RandomBytes(value[:])
	cookie = seal.Base64url.EncodeToString(value[:])
	a.Binding = a.Bind(cookie)
	return a, cookie
}

func (a *Attempt) Bind(cookie string) [sha256.Size]byte {
	return sha256.Sum256([]byte("msauth attempt v1\x00" + string(a.ID[:]) + cookie))
}

// Verifier and nonce take the seed from state and the salt from the cookie, so
// that neither follows from a leaked URL, even for somebody who has the keys.
func (a *Attempt) Verifier(cookie string) seal.Secret {
	return seal.Secret(a.stretch(cookie, "msauth pkce v1", 32))
}

func (a *Attempt) Nonce(cookie string) string { return a.stretch(cookie, "msauth nonce v1", 16) }

func (a *Attempt) stretch(cookie, purpose string, n int) string {
	// Fails only for lengths beyond 255 hashes.
	b, _ := hkdf.Key(sha256.New, a.seed[:], []byte(cookie), purpose, n)
	return seal.Base64url.EncodeToString(b)
}

// NonceDigest is what a session keeps of its nonce.
func NonceDigest(nonce string) (digest [8]byte) {
	sum := sha256.Sum256([]byte(nonce))
	copy(digest[:], sum[:])
	return digest
}

var (
	ErrState        = errors.New("msauth: state is missing, altered or of another app")
	ErrStateExpired = errors.New("msauth: sign-in took too long")
	errAppState     = errors.New("msauth: LoginOptions.AppState is too long, alone or with the scopes")
)

// Attempts makes and finds the attempts of one registration.
type Attempts struct {
	keys       *seal.DailyKeys
	additional []byte // authenticated data of state
	cookies    *Cookies
	home       string // what "" stands for as the address to return to

	addressKeys *seal.DailyKeys
	addressData []byte // authenticated data of the cookie of an address

	// finished are attempts that this process has seen the end of. None is
	// finished twice.
	finished *ttl.Map[AttemptID, struct{}]
}

func NewAttempts(ring seal.Keyring, reg Registration, cookies *Cookies, home string) *Attempts {
	return &Attempts{
		keys:       ring.Daily("msauth state v1"),
		additional: append([]byte("msauth state v1\x00"), reg[:]...),
		cookies:    cookies,
		home:       home,

		addressKeys: ring.Daily("msauth return address v1"),
		addressData: append([]byte("msauth return address v1\x00"), reg[:]...),

		finished: ttl.New[AttemptID, struct{}](maxFinished),
	}
}

func (s *Attempts) Over(id AttemptID) bool {
	_, over := s.finished.Get(id)
	return over
}

// Finish notes that an attempt is over. It reports false where it was before.
func (s *Attempts) Finish(id AttemptID) bool {
	return s.finished.Add(id, struct{}{}, id.started().Add(AttemptLifetime))
}

// Seal makes the state parameter. Of an address that it has no room for it holds
// the path, or nothing; a.cut says so.
func (s *Attempts) Seal(a *Attempt) (string, error) {
	if len(a.AppState) > maxAppState {
		return "", errAppState
	}
	path, _, _ := strings.Cut(a.ReturnTo, "?")
	for _, returnTo := range []string{a.ReturnTo, path, ""} {
		a.Cut = returnTo != a.ReturnTo
		e := compact.Encoder{B: []byte{attemptFormat}}
		e.B = append(e.B, a.ID[:]...)
		e.B = append(e.B, a.seed[:]...)
		e.B = append(e.B, a.Binding[:]...)
		e.B = append(e.B, a.Rounds|flag(a.Challenged, flagChallenged)|flag(a.Retried, flagRetried)|flag(a.Cut, flagCut))
		e.B = append(e.B, a.Asked[:]...)
		e.B = binary.AppendUvarint(e.B, uint64(a.MaxAge/time.Second))
		e.Text(returnTo)
		e.Text(a.Host)
		e.Text(a.AppState)
		e.Text(a.Scopes)
		e.Text(a.User)
		e.Text(strings.Join(a.Contexts, " "))
		if state := s.keys.Seal(e.B, s.additional); len(state) <= maxState {
			return state, nil
		}
	}
	return "", errAppState
}

// Open undoes seal. An expired attempt comes with errStateExpired.
func (s *Attempts) Open(state string) (*Attempt, error) {
	if state == "" || len(state) > maxState {
		return nil, ErrState
	}
	plain, err := s.keys.Open(state, s.additional)
	if err != nil {
		return nil, ErrState
	}
	a := &Attempt{}
	d := compact.Decoder{B: plain}
	if format := d.Bytes(1); len(format) != 1 || format[0] != attemptFormat {
		return nil, ErrState
	}
	copy(a.ID[:], d.Bytes(len(a.ID)))
	copy(a.seed[:], d.Bytes(len(a.seed)))
	copy(a.Binding[:], d.Bytes(len(a.Binding)))
	flags := d.Flags()
	a.Rounds, a.Challenged = flags&maskRounds, flags&flagChallenged != 0
	a.Retried, a.Cut = flags&flagRetried != 0, flags&flagCut != 0
	copy(a.Asked[:], d.Bytes(len(a.Asked)))
	a.MaxAge = time.Duration(min(d.Uvarint(), uint64(LongestMaxAge/time.Second))) * time.Second
	a.ReturnTo, a.Host, a.AppState, a.Scopes, a.User = d.Text(), d.Text(), d.Text(), d.Text(), d.Text()
	a.Contexts = strings.Fields(d.Text())
	if !d.Done() {
		return nil, ErrState
	}
	if a.ReturnTo == "" {
		a.ReturnTo = s.home
	}
	if age := time.Since(a.ID.started()); age > AttemptLifetime || age < -time.Minute {
		return a, ErrStateExpired
	}
	return a, nil
}

// cookiePrefix is what the names of all attempts' cookies begin with; the rest
// is the id.
func (s *Attempts) cookiePrefix() string { return s.cookies.Name + "-login-" }

// Sent finds the ids of the attempts whose cookies came in, oldest
// first, and the value of the one that is asked for.
func (s *Attempts) Sent(h http.Header, wanted string) (ids []string, value string) {
	prefix := s.cookiePrefix()
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			rest, ours := strings.CutPrefix(strings.Trim(part, " \t"), prefix)
			if !ours {
				continue
			}
			id, v, ok := strings.Cut(rest, "=")
			if !ok || !isAttemptID(id) {
				continue
			}
			if id == wanted && value == "" {
				value = v
			}
			if len(ids) < 200 && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	slices.Sort(ids)
	return ids, value
}

func isAttemptID(text string) bool {
	if len(text) != 2*len(AttemptID{}) {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// Set sets the cookie of a new attempt and makes room for it. More than one too
// many are there only if several began at once: they go a few at a time, lest
// the answer grow.
func (s *Attempts) Set(w http.ResponseWriter, r *http.Request, id AttemptID, value string) {
	ids, _ := s.Sent(r.Header, "")
	for range 3 {
		if len(ids) < maxAttempts {
			break
		}
		s.Clear(w, ids[0])
		ids = ids[1:]
	}
	SetCookie(w.Header(), s.cookies.Cookie(s.cookiePrefix()+id.String(), value, Seconds(AttemptLifetime)))
}

func (s *Attempts) Clear(w http.ResponseWriter, id string) {
	SetCookie(w.Header(), s.cookies.Cookie(s.cookiePrefix()+id, "", -1))
}

// AddressName names the cookie that holds a long address to return to. There is
// one for all attempts, so that no site can fill up the request's headers by
// opening many: of several attempts with a long address the latest has it, and
// the others what their state holds.
func (s *Attempts) AddressName() string { return s.cookies.Name + "-to" }

const addressFormat = 1

// KeepAddress puts the address of an attempt into its cookie.
func (s *Attempts) KeepAddress(h http.Header, a *Attempt) {
	plain := append([]byte{addressFormat}, a.ID[:]...)
	value := s.addressKeys.Seal(compact.PackASCII(plain, a.ReturnTo), s.addressData)
	SetCookie(h, s.cookies.Cookie(s.AddressName(), value, Seconds(AttemptLifetime)))
}

// Address is what the cookie holds, and the attempt that it belongs to.
func (s *Attempts) Address(h http.Header) (id AttemptID, address string, ok bool) {
	for _, value := range CookieValues(h, s.AddressName()) {
		plain, err := s.addressKeys.Open(value, s.addressData)
		if err != nil || len(plain) < 1+len(id) || plain[0] != addressFormat {
			continue
		}
		copy(id[:], plain[1:])
		if address, ok = compact.UnpackASCII(plain[1+len(id):]); ok {
			return id, address, true
		}
	}
	return id, "", false
}

func (s *Attempts) ClearAddress(h http.Header) {
	SetCookie(h, s.cookies.Cookie(s.AddressName(), "", -1))
}
