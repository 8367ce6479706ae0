package msauth

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
)

const (
	attemptLifetime = 30 * time.Minute
	maxAttempts     = 16   // unfinished ones in one browser; about 1.1 KB
	maxState        = 1024 // characters: Entra refuses long queries (AADSTS90015)
	maxReturnTo     = 2000 // bytes
	shortReturnTo   = 160  // bytes that the callback's answer has room for beside any session
	maxAppState     = 256  // bytes
	attemptFormat   = 3
	maxFinished     = 10_000
)

// An attempt is one sign-in under way. Nothing of it is kept on the server:
// all that must come back travels through Microsoft in the sealed state
// parameter, bound to this browser by a cookie of the attempt's own. The
// browser's other tabs have theirs.
type attempt struct {
	id       attemptID
	seed     [32]byte
	binding  [sha256.Size]byte // of the cookie's value
	returnTo string
	cut      bool   // state holds less of returnTo than there was
	kept     bool   // the browser has sent all of it in its cookie
	host     string // at which it began, if that is not BaseURL's
	appState string
	rounds   uint8 // sign-ins right before, each after the other
	// challenged is set where the code of the attempt before was refused with a
	// claims challenge, which this one is to meet: once is enough.
	challenged bool
	// retried is set where the sign-in before came back without a cookie: this
	// one began in the browser that it is to come back to.
	retried  bool
	unseen   bool          // has come back without its cookie; not in state
	scopes   string        // asked for beyond Config.Scopes
	asked    demandDigest  // all that it is to bring
	user     string        // of the app, who connects an account
	contexts []string      // authentication contexts that were asked for
	maxAge   time.Duration // how long ago credentials may have been entered, 0 for whenever
}

// Flags stand beside the number of rounds.
const (
	flagChallenged = 1 << 7
	flagRetried    = 1 << 6
	flagCut        = 1 << 5
	maskRounds     = 1<<4 - 1
)

// attemptID begins with the time: it tells an attempt's age and sorts.
type attemptID [8]byte

func (id attemptID) String() string     { return hex.EncodeToString(id[:]) }
func (id attemptID) started() time.Time { return time.Unix(int64(binary.BigEndian.Uint32(id[:4])), 0) }

// newAttempt also makes the value of the attempt's cookie.
func newAttempt() (a *attempt, cookie string) {
	a = &attempt{}
	binary.BigEndian.PutUint32(a.id[:4], uint32(time.Now().Unix()))
	randomBytes(a.id[4:])
	randomBytes(a.seed[:])
	var value [16]byte
	randomBytes(value[:])
	cookie = base64url.EncodeToString(value[:])
	a.binding = a.bind(cookie)
	return a, cookie
}

func (a *attempt) bind(cookie string) [sha256.Size]byte {
	return sha256.Sum256([]byte("msauth attempt v1\x00" + string(a.id[:]) + cookie))
}

// verifier and nonce take the seed from state and the salt from the cookie, so
// that neither follows from a leaked URL, even for somebody who has the keys.
func (a *attempt) verifier(cookie string) secret {
	return secret(a.stretch(cookie, "msauth pkce v1", 32))
}
func (a *attempt) nonce(cookie string) string { return a.stretch(cookie, "msauth nonce v1", 16) }

func (a *attempt) stretch(cookie, purpose string, n int) string {
	// Fails only for lengths beyond 255 hashes.
	b, _ := hkdf.Key(sha256.New, a.seed[:], []byte(cookie), purpose, n)
	return base64url.EncodeToString(b)
}

// nonceDigest is what a session keeps of its nonce.
func nonceDigest(nonce string) (digest [8]byte) {
	sum := sha256.Sum256([]byte(nonce))
	copy(digest[:], sum[:])
	return digest
}

var (
	errState        = errors.New("msauth: state is missing, altered or of another app")
	errStateExpired = errors.New("msauth: sign-in took too long")
	errAppState     = errors.New("msauth: LoginOptions.AppState is too long, alone or with the scopes")
)

// attempts makes and finds the attempts of one registration.
type attempts struct {
	keys       *dailyKeys
	additional []byte // authenticated data of state
	cookies    *cookieFormat
	home       string // what "" stands for as the address to return to

	addressKeys *dailyKeys
	addressData []byte // authenticated data of the cookie of an address

	// finished are attempts that this process has seen the end of. None is
	// finished twice.
	finished *expiring[attemptID, struct{}]
}

func newAttempts(ring keyring, reg registration, cookies *cookieFormat, home string) *attempts {
	return &attempts{
		keys:       ring.daily("msauth state v1"),
		additional: append([]byte("msauth state v1\x00"), reg[:]...),
		cookies:    cookies,
		home:       home,

		addressKeys: ring.daily("msauth return address v1"),
		addressData: append([]byte("msauth return address v1\x00"), reg[:]...),

		finished: newExpiring[attemptID, struct{}](maxFinished),
	}
}

func (s *attempts) over(id attemptID) bool {
	_, over := s.finished.get(id)
	return over
}

// finish notes that an attempt is over. It reports false where it was before.
func (s *attempts) finish(id attemptID) bool {
	return s.finished.add(id, struct{}{}, id.started().Add(attemptLifetime))
}

// seal makes the state parameter. Of an address that it has no room for it holds
// the path, or nothing; a.cut says so.
func (s *attempts) seal(a *attempt) (string, error) {
	if len(a.appState) > maxAppState {
		return "", errAppState
	}
	path, _, _ := strings.Cut(a.returnTo, "?")
	for _, returnTo := range []string{a.returnTo, path, ""} {
		a.cut = returnTo != a.returnTo
		e := encoder{b: []byte{attemptFormat}}
		e.b = append(e.b, a.id[:]...)
		e.b = append(e.b, a.seed[:]...)
		e.b = append(e.b, a.binding[:]...)
		e.b = append(e.b, a.rounds|flag(a.challenged, flagChallenged)|flag(a.retried, flagRetried)|flag(a.cut, flagCut))
		e.b = append(e.b, a.asked[:]...)
		e.b = binary.AppendUvarint(e.b, uint64(a.maxAge/time.Second))
		e.text(returnTo)
		e.text(a.host)
		e.text(a.appState)
		e.text(a.scopes)
		e.text(a.user)
		e.text(strings.Join(a.contexts, " "))
		if state := s.keys.seal(e.b, s.additional); len(state) <= maxState {
			return state, nil
		}
	}
	return "", errAppState
}

// open undoes seal. An expired attempt comes with errStateExpired.
func (s *attempts) open(state string) (*attempt, error) {
	if state == "" || len(state) > maxState {
		return nil, errState
	}
	plain, err := s.keys.open(state, s.additional)
	if err != nil {
		return nil, errState
	}
	a := &attempt{}
	d := decoder{b: plain}
	if format := d.bytes(1); len(format) != 1 || format[0] != attemptFormat {
		return nil, errState
	}
	copy(a.id[:], d.bytes(len(a.id)))
	copy(a.seed[:], d.bytes(len(a.seed)))
	copy(a.binding[:], d.bytes(len(a.binding)))
	flags := d.flags()
	a.rounds, a.challenged = flags&maskRounds, flags&flagChallenged != 0
	a.retried, a.cut = flags&flagRetried != 0, flags&flagCut != 0
	copy(a.asked[:], d.bytes(len(a.asked)))
	a.maxAge = time.Duration(min(d.uvarint(), uint64(longestMaxAge/time.Second))) * time.Second
	a.returnTo, a.host, a.appState, a.scopes, a.user = d.text(), d.text(), d.text(), d.text(), d.text()
	a.contexts = strings.Fields(d.text())
	if !d.done() {
		return nil, errState
	}
	if a.returnTo == "" {
		a.returnTo = s.home
	}
	if age := time.Since(a.id.started()); age > attemptLifetime || age < -time.Minute {
		return a, errStateExpired
	}
	return a, nil
}

// cookiePrefix is what the names of all attempts' cookies begin with; the rest
// is the id.
func (s *attempts) cookiePrefix() string { return s.cookies.name + "-login-" }

// sent finds the ids of the attempts whose cookies came in, oldest
// first, and the value of the one that is asked for.
func (s *attempts) sent(h http.Header, wanted string) (ids []string, value string) {
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
	if len(text) != 2*len(attemptID{}) {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// set sets the cookie of a new attempt and makes room for it. More than one too
// many are there only if several began at once: they go a few at a time, lest
// the answer grow.
func (s *attempts) set(w http.ResponseWriter, r *http.Request, id attemptID, value string) {
	ids, _ := s.sent(r.Header, "")
	for range 3 {
		if len(ids) < maxAttempts {
			break
		}
		s.clear(w, ids[0])
		ids = ids[1:]
	}
	setCookie(w.Header(), s.cookies.cookie(s.cookiePrefix()+id.String(), value, seconds(attemptLifetime)))
}

func (s *attempts) clear(w http.ResponseWriter, id string) {
	setCookie(w.Header(), s.cookies.cookie(s.cookiePrefix()+id, "", -1))
}

// addressName names the cookie that holds a long address to return to. There is
// one for all attempts, so that no site can fill up the request's headers by
// opening many: of several attempts with a long address the latest has it, and
// the others what their state holds.
func (s *attempts) addressName() string { return s.cookies.name + "-to" }

const addressFormat = 1

// keepAddress puts the address of an attempt into its cookie.
func (s *attempts) keepAddress(h http.Header, a *attempt) {
	plain := append([]byte{addressFormat}, a.id[:]...)
	value := s.addressKeys.seal(packASCII(plain, a.returnTo), s.addressData)
	setCookie(h, s.cookies.cookie(s.addressName(), value, seconds(attemptLifetime)))
}

// address is what the cookie holds, and the attempt that it belongs to.
func (s *attempts) address(h http.Header) (id attemptID, address string, ok bool) {
	for _, value := range cookieValues(h, s.addressName()) {
		plain, err := s.addressKeys.open(value, s.addressData)
		if err != nil || len(plain) < 1+len(id) || plain[0] != addressFormat {
			continue
		}
		copy(id[:], plain[1:])
		if address, ok = unpackASCII(plain[1+len(id):]); ok {
			return id, address, true
		}
	}
	return id, "", false
}

func (s *attempts) clearAddress(h http.Header) {
	setCookie(h, s.cookies.cookie(s.addressName(), "", -1))
}

// cookieValues are the values of the cookies of a name, a few at most.
func cookieValues(h http.Header, name string) (values []string) {
	for _, line := range h["Cookie"] {
		for len(line) > 0 {
			var part string
			part, line, _ = strings.Cut(line, ";")
			rest, ours := strings.CutPrefix(strings.Trim(part, " \t"), name)
			if value, ok := strings.CutPrefix(rest, "="); ours && ok && len(values) < maxDuplicates {
				values = append(values, value)
			}
		}
	}
	return values
}

// packASCII appends text in seven bits a character: sealed and in base64 it then
// takes little more room than it did before.
func packASCII(b []byte, text string) []byte {
	bits, n := uint(0), 0
	for _, c := range []byte(text) {
		bits, n = bits<<7|uint(c&0x7F), n+7
		if n >= 8 {
			n -= 8
			b = append(b, byte(bits>>n))
		}
	}
	if n > 0 {
		b = append(b, byte(bits<<(8-n)))
	}
	return b
}

// unpackASCII undoes packASCII for texts of printable characters.
func unpackASCII(b []byte) (text string, ok bool) {
	out := make([]byte, 0, len(b)*8/7)
	bits, n := uint(0), 0
	for i, c := range b {
		bits, n = bits<<8|uint(c), n+8
		for ; n >= 7; n -= 7 {
			c := byte(bits >> (n - 7) & 0x7F)
			if c == 0 && i == len(b)-1 {
				continue // what fills up the last byte
			}
			if c <= ' ' || c == 0x7F {
				return "", false
			}
			out = append(out, c)
		}
	}
	return string(out), true
}
