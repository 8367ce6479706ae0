package msauthtest

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Kind names what a request asks for.
type Kind string

const (
	Discovery    Kind = "discovery"
	Keys         Kind = "keys"
	Authorize    Kind = "authorize"
	Picked       Kind = "picked" // the sign-in page's own form: a person, Cancel, or Refuse consent
	TokenCode    Kind = "token:authorization_code"
	TokenRefresh Kind = "token:refresh_token"
	TokenOther   Kind = "token:other" // any other request to the token endpoint
	Logout       Kind = "logout"
	Graph        Kind = "graph"    // below /v1.0, and the userinfo endpoint
	Download     Kind = "download" // content of a file at its pre-signed URL
	Upload       Kind = "upload"   // part of a file at the URL of an upload session
	OwnAPI       Kind = "api"      // at a handler made by Server.Protect
	Other        Kind = "other"
)

// A Call is one request that reached the server. It holds secrets (codes,
// tokens, the client secret): do not print it where logs are kept.
type Call struct {
	Kind   Kind
	Time   time.Time // when it arrived
	Method string
	Path   string
	Query  url.Values
	Form   url.Values // of a POST; nil otherwise
	Header http.Header
	Status int // 0 while there is no answer, or when there was none
}

// keep is how many calls and secrets are kept at least, the newest ones. Counts
// go on.
const keep = 10_000

// Calls returns the requests of a kind since the last [Server.ResetCalls], in
// the order of arrival; of all kinds together, at least the newest 10,000 are
// kept.
func (s *Server) Calls(kind Kind) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []Call
	for _, c := range s.calls {
		if c.Kind == kind {
			calls = append(calls, *c)
		}
	}
	return calls
}

// Count returns the number of requests of a kind since the last
// [Server.ResetCalls]. A request counts when it arrives, not when it is
// answered.
func (s *Server) Count(kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

// ResetCalls forgets the requests so far.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
	clear(s.counts)
}

// Secrets returns the client secret and every code, ID token, access token,
// refresh token and upload URL that was issued, at least the newest 10,000, so
// that a test can search its logs and pages for them.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{s.ClientSecret}, s.secrets...)
}

func (s *Server) addSecrets(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secrets = append(s.secrets, secrets...)
	if len(s.secrets) > 2*keep {
		s.secrets = slices.Clone(s.secrets[len(s.secrets)-keep:])
	}
}

// arrived records a request; answered completes the record.
func (s *Server) arrived(kind Kind, r *http.Request) *Call {
	call := &Call{
		Kind:   kind,
		Time:   time.Now(),
		Method: r.Method,
		Path:   r.URL.Path,
		Query:  r.URL.Query(),
		Header: r.Header.Clone(),
	}
	if r.Method == http.MethodPost {
		call.Form = cloneValues(r.PostForm)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[kind]++
	s.calls = append(s.calls, call)
	if len(s.calls) > 2*keep {
		s.calls = slices.Clone(s.calls[len(s.calls)-keep:])
	}
	return call
}

func (s *Server) answered(call *Call, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	call.Status = status
}

func cloneValues(v url.Values) url.Values {
	return url.Values(http.Header(v).Clone())
}
