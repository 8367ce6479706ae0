package msauth

import (
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"net/url"
	"strings"
	"time"

	"example.com/msauth/internal/compact"
	"example.com/msauth/internal/session"
	"example.com/msauth/internal/web"
)

const (
	// formField is the hidden field of a form that carries a token.
	formField = "msauth_token"
	// formLifetime is how long a person may look at a page that asks.
	formLifetime = 30 * time.Minute
	// maxForm is how much of a form is read in search of a token.
	maxForm = 16 << 10
)

// actionSignOut is what the form of a "confirm-sign-out" page does.
const actionSignOut = "sign out"

// askingStatus is that of a page that asks. A script that posts with fetch is to
// see that nothing was done; browsers show the page all the same.
func askingStatus(r *http.Request) int {
	if r.Method == http.MethodPost && web.First(r.Header["Sec-Fetch-Dest"]) == "empty" {
		return http.StatusForbidden
	}
	return http.StatusOK
}

// formToken makes what only a page of ours can send: proof, for half an hour,
// that subject was asked about an action. Other sites cannot read it, and one
// that they were given themselves is for another subject.
func (m *Middleware) formToken(action, subject string) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(formLifetime).Unix()))
	return m.formKeys.Seal(plain, m.formData(action, subject))
}

// agreed reports whether a request is the form of a page that asked subject
// about action. The headers do not matter, except that a browser that says
// that another site sent it is believed.
func (m *Middleware) agreed(w http.ResponseWriter, r *http.Request, action, subject string) bool {
	if r.Method != http.MethodPost || web.First(r.Header["Sec-Fetch-Site"]) == "cross-site" {
		return false
	}
	if r.PostForm == nil && r.Body != nil {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	}
	token := r.PostFormValue(formField)
	if token == "" || len(token) > 200 {
		return false
	}
	plain, err := m.formKeys.Open(token, m.formData(action, subject))
	return err == nil && len(plain) == 8 && time.Now().Unix() < int64(binary.BigEndian.Uint64(plain))
}

func (m *Middleware) formData(action, subject string) []byte {
	e := compact.Encoder{B: append([]byte("msauth form v1\x00"), m.registration[:]...)}
	e.Text(action)
	e.Text(subject)
	return e.B
}

// sessionSubject is who a request is from: the session or, where none can be
// read, what there is in its place.
func (m *Middleware) sessionSubject(r *http.Request, rec *session.Record) string {
	if rec != nil {
		return "session " + string(rec.ID[:])
	}
	h := sha256.New()
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			if part = strings.Trim(part, " \t"); strings.HasPrefix(part, m.cookies.Name) {
				h.Write([]byte(part + "\x00"))
			}
		}
	}
	return "cookies " + string(h.Sum(nil))
}

// A library makes requests for pages by script. Each follows something else
// when nobody is signed in.
type library int

const (
	noLibrary library = iota
	htmx
	turboDrive // a visit: the page changes, and the address
	turboFrame
	inertia
	livewire // an update of a component
	livewireNavigate
	unpoly
	unpolyLayer // above the page
)

// libraryOf tells libraries by the headers that they send.
func libraryOf(h http.Header) library {
	switch {
	case web.First(h["Hx-Request"]) == "true":
		return htmx
	case web.First(h["X-Inertia"]) != "":
		return inertia
	case web.First(h["Turbo-Frame"]) != "":
		return turboFrame
	case web.First(h["X-Turbo-Request-Id"]) != "":
		return turboDrive
	case h["X-Livewire-Navigate"] != nil: // they are empty
		return livewireNavigate
	case h["X-Livewire"] != nil:
		return livewire
	case web.First(h["X-Up-Version"]) != "" && web.First(h["X-Up-Mode"]) == "root":
		return unpoly
	case web.First(h["X-Up-Version"]) != "":
		return unpolyLayer
	}
	return noLibrary
}

// seenPage is the page that the person looks at while a script or a frame
// makes the request: what to come back to after signing in. Where a library
// was about to show another page, it is that one.
func (m *Middleware) seenPage(r *http.Request) string {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		switch libraryOf(r.Header) {
		case turboDrive, inertia, livewireNavigate, unpoly:
			if page := m.returnPath(web.RequestPath(r)); page != m.cfg.Home {
				return page
			}
		}
	}
	for _, name := range [...]string{"HX-Current-Url", "Referer"} {
		u, err := url.Parse(r.Header.Get(name))
		if err == nil && u.Host != "" && (strings.EqualFold(u.Host, r.Host) || strings.EqualFold(u.Host, m.base.Host)) {
			if name == "Referer" && byWorker(r, u.Path) {
				continue
			}
			return m.returnPath(u.RequestURI())
		}
	}
	return m.cfg.Home
}

// byWorker reports whether Referer is the address of a service worker's script,
// which nobody looks at: it is in the requests that a worker makes, or makes
// anew of a page's.
func byWorker(r *http.Request, path string) bool {
	mode := web.First(r.Header["Sec-Fetch-Mode"])
	return strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".mjs") ||
		mode != "" && mode != "navigate" && web.First(r.Header["Upgrade-Insecure-Requests"]) == "1"
}

// meant reports whether the person wants what a request does, as far as a
// request can tell: by a form of this site, or a link that was followed there.
func (m *Middleware) meant(r *http.Request) bool {
	return m.seemsMeant(r) && web.ProvesWhoAsked(r.Header)
}

// seemsMeant is meant for requests that no service worker has passed on.
func (m *Middleware) seemsMeant(r *http.Request) bool {
	if r.Method == http.MethodPost {
		if origin := r.Header.Get("Origin"); r.Header.Get("Sec-Fetch-Site") == "" && origin != "" && !strings.HasPrefix(origin, m.base.Scheme+"://") {
			return false // CrossOriginProtection compares hosts only
		}
		var protection http.CrossOriginProtection
		// Where a proxy changes the Host header, and the browser is too old
		// for Sec-Fetch-Site, Origin is still that of BaseURL.
		if protection.AddTrustedOrigin(m.base.Scheme+"://"+m.base.Host) != nil {
			return false
		}
		return protection.Check(r) == nil
	}
	return web.IsNavigation(r) && r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// fromHere makes sure of browsers that are too old to say where a form is from:
// for them there is the Referer.
func (m *Middleware) fromHere(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		return true
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	return err == nil && u.Scheme == m.base.Scheme && strings.EqualFold(u.Host, m.base.Host)
}
