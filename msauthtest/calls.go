package msauthtest

import (
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A Kind identifies what a request is for.
type Kind string

const (
	Discovery    Kind = "discovery"
	Keys         Kind = "keys"
	Authorize    Kind = "authorize"
	Picked       Kind = "picked" // the form of the sign-in page: a person, Cancel, or Refuse consent
	TokenCode    Kind = "token:authorization_code"
	TokenRefresh Kind = "token:refresh_token"
	TokenOther   Kind = "token:other" // another request to the token endpoint
	Logout       Kind = "logout"
	Graph        Kind = "graph"     // below /v1.0, and the userinfo endpoint; also each part of a batch
	Batch        Kind = "batch"     // /v1.0/$batch itself
	Download     Kind = "download"  // a file at its pre-signed URL
	Thumbnail    Kind = "thumbnail" // a thumbnail at its pre-signed URL
	Upload       Kind = "upload"    // the URL of an upload session
	Monitor      Kind = "monitor"   // the URL of a copy's progress
	Preflight    Kind = "preflight" // a browser asks whether a page may use one of these URLs
	OwnAPI       Kind = "api"       // a handler of Server.Protect
	Other        Kind = "other"
)

// A Call is a request that reached the server. It contains secrets (codes,
// tokens, client secrets and assertions): do not print it where logs are kept.
type Call struct {
	Kind   Kind
	Time   time.Time // of arrival
	Method string
	Path   string
	Query  url.Values
	Form   url.Values // of a POST; nil otherwise
	Header http.Header
	Status int // 0 if there is no answer, or none yet
}

// keep is the number of calls, and of secrets, that are kept at least: the
// newest ones. It does not limit the counts.
const keep = 10_000

// Calls returns the requests of a kind since the last call of
// [Server.ResetCalls], in order of arrival. At least the newest 10,000 requests
// of all kinds together are kept.
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

// Count returns the number of requests of a kind since the last call of
// [Server.ResetCalls]. A request counts from its arrival on, answered or not.
func (s *Server) Count(kind Kind) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kind]
}

// ResetCalls forgets all requests so far and sets the counts to zero.
func (s *Server) ResetCalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = nil
	clear(s.counts)
}

// Secrets returns the client secrets, every client assertion of more than 20
// bytes that was received, and every code, ID token, authentication token, access
// token, refresh token and upload URL that was issued. A test can search its logs and pages for them.
// At least the newest 10,000 are kept.
func (s *Server) Secrets() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []string
	for _, c := range s.credentials {
		if c.kind == secretCredential {
			list = append(list, c.value())
		}
	}
	return append(list, s.secrets...)
}

func (s *Server) addSecrets(secrets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepSecrets(secrets...)
}

// keepSecrets requires Server.mu.
func (s *Server) keepSecrets(secrets ...string) {
	s.secrets = append(s.secrets, secrets...)
	if len(s.secrets) > 2*keep {
		s.secrets = slices.Clone(s.secrets[len(s.secrets)-keep:])
	}
}

// arrived records a request. answered completes the record.
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
	for _, text := range call.Form["client_assertion"] {
		if len(text) > 20 { // shorter ones are none, and part of other texts
			s.keepSecrets(text)
		}
	}
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
