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

// meant reports whether a request comes from a form or a link of a page of this
// site, and the headers prove it.
func (m *Middleware) meant(r *http.Request) bool {
	return m.seemsMeant(r) && web.ProvesWhoAsked(r.Header)
}

// seemsMeant is meant without the proof: a service worker may have passed on
// another site's request.
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

// fromHere reports whether a form is from this site if the browser is too old
// to send Sec-Fetch-Site or Origin: it then checks Referer.
func (m *Middleware) fromHere(r *http.Request) bool {
	if r.Header.Get("Sec-Fetch-Site") != "" || r.Header.Get("Origin") != "" {
		return true
	}
	u, err := url.Parse(r.Header.Get("Referer"))
	return err == nil && u.Scheme == m.base.Scheme && strings.EqualFold(u.Host, m.base.Host)
}

const (
	// formField is the hidden field of a form that carries a token.
	formField = "msauth_token"
	// formLifetime is how long a person may take to answer a page that asks.
	formLifetime = 30 * time.Minute
	// maxForm limits the bytes of a form that are read to find its token.
	maxForm = 16 << 10
)

// actionSignOut is the action of the form on a "confirm-sign-out" page.
const actionSignOut = "sign out"

// askingStatus returns the status of a page that asks first. A script that
// posts with fetch gets 403, which tells it that nothing was done.
func askingStatus(r *http.Request) int {
	if r.Method == http.MethodPost && web.First(r.Header["Sec-Fetch-Dest"]) == "empty" {
		return http.StatusForbidden
	}
	return http.StatusOK
}

// formToken makes the token of a form: proof, for half an hour, that subject
// was asked about an action. Other sites cannot read it, and a token that they
// obtain themselves is for another subject.
func (m *Middleware) formToken(action, subject string) string {
	plain := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(formLifetime).Unix()))
	return m.formKeys.Seal(plain, m.formData(action, subject))
}

// agreed reports whether a request is the form of a page that asked subject
// about action. The token proves it, whatever the headers say, unless the
// browser reports that another site sent the form.
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

// sessionSubject identifies the sender of a request: by its session or, if that
// cannot be read, by a hash of our cookies.
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

// A library is one that requests pages by script. Each needs a different
// response to get to the sign-in.
type library int

const (
	noLibrary library = iota
	htmx
	turboDrive // a visit, which changes the page and its address
	turboFrame
	inertia
	livewire // an update of a component
	livewireNavigate
	unpoly
	unpolyLayer // above the page
)

// libraryOf recognizes a library by the headers that it sends.
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
	case h["X-Livewire-Navigate"] != nil: // the values are empty
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

// seenPage returns the page to come back to after a sign-in if a script or a
// frame made the request: the page that the person is looking at or, if a
// library was about to show another page, that one.
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
// not of a page. It is in requests that a worker makes, including those that it
// makes anew from a page's request.
func byWorker(r *http.Request, path string) bool {
	mode := web.First(r.Header["Sec-Fetch-Mode"])
	return strings.HasSuffix(path, ".js") || strings.HasSuffix(path, ".mjs") ||
		mode != "" && mode != "navigate" && web.First(r.Header["Upgrade-Insecure-Requests"]) == "1"
}
