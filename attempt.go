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
	maxReturnTo     = 600  // bytes
	maxAppState     = 256  // bytes
	attemptFormat   = 1
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
	host     string // at which it began, if that is not BaseURL's
	appState string
}

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
	errAppState     = errors.New("msauth: LoginOptions.AppState is too long")
)

func (m *Middleware) stateData() []byte {
	return append([]byte("msauth state v1\x00"), m.registration[:]...)
}

// sealState makes the state parameter.
func (m *Middleware) sealState(a *attempt) (string, error) {
	if len(a.appState) > maxAppState {
		return "", errAppState
	}
	for _, returnTo := range []string{a.returnTo, "/"} {
		e := encoder{b: []byte{attemptFormat}}
		e.b = append(e.b, a.id[:]...)
		e.b = append(e.b, a.seed[:]...)
		e.b = append(e.b, a.binding[:]...)
		e.text(returnTo)
		e.text(a.host)
		e.text(a.appState)
		if state := m.stateKeys.seal(e.b, m.stateData()); len(state) <= maxState {
			return state, nil
		}
	}
	return "", errAppState
}

// openState undoes sealState. An expired attempt comes with errStateExpired.
func (m *Middleware) openState(state string) (*attempt, error) {
	if state == "" || len(state) > maxState {
		return nil, errState
	}
	plain, err := m.stateKeys.open(state, m.stateData())
	if err != nil {
		return nil, errState
	}
	a := &attempt{}
	d := decoder{b: plain, s: string(plain)}
	if format := d.bytes(1); len(format) != 1 || format[0] != attemptFormat {
		return nil, errState
	}
	copy(a.id[:], d.bytes(len(a.id)))
	copy(a.seed[:], d.bytes(len(a.seed)))
	copy(a.binding[:], d.bytes(len(a.binding)))
	a.returnTo, a.host, a.appState = d.text(), d.text(), d.text()
	if d.bad || len(d.b) > 0 {
		return nil, errState
	}
	if age := time.Since(a.id.started()); age > attemptLifetime || age < -time.Minute {
		return a, errStateExpired
	}
	return a, nil
}

func (m *Middleware) attemptCookiePrefix() string { return m.cookies.name + "-login-" }

// sentAttempts finds the ids of the attempts whose cookies came in, oldest
// first, and the value of the one that is asked for.
func (m *Middleware) sentAttempts(h http.Header, wanted string) (ids []string, value string) {
	prefix := m.attemptCookiePrefix()
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

func isAttemptID(s string) bool {
	if len(s) != 2*len(attemptID{}) {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// setAttempt sets the cookie of a new attempt and makes room for it.
func (m *Middleware) setAttempt(w http.ResponseWriter, r *http.Request, id attemptID, value string) {
	ids, _ := m.sentAttempts(r.Header, "")
	for len(ids) >= maxAttempts {
		m.clearAttempt(w, ids[0])
		ids = ids[1:]
	}
	setCookie(w.Header(), m.cookies.cookie(m.attemptCookiePrefix()+id.String(), value, seconds(attemptLifetime)))
}

func (m *Middleware) clearAttempt(w http.ResponseWriter, id string) {
	setCookie(w.Header(), m.cookies.cookie(m.attemptCookiePrefix()+id, "", -1))
}
