package signin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"

	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/internal/seal"
	"example.com/msauth/internal/web"
)

// A listener is a transport that reads the token replies on their way to msauth, which
// keeps neither the names of all claims nor the sizes of tokens.
type listener struct {
	base  http.RoundTripper
	found *report.Report

	mu    sync.Mutex
	reply *reply // the first with an ID token
}

// A reply is what a token reply has.
type reply struct {
	claims                map[string]json.RawMessage // of the ID token; msauth verifies it
	scope                 string
	id, access, refreshed int // bytes of the tokens
	refresh               seal.Secret
}

// maxReply limits what is read of a token reply, in bytes.
const maxReply = 1 << 20

func (l *listener) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := l.base.RoundTrip(r)
	if err != nil || r.Method != http.MethodPost || res.StatusCode != http.StatusOK {
		return res, err
	}
	body, err := web.ReadAtMost(res.Body, maxReply)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	l.note(body)
	return res, nil
}

func (l *listener) note(body []byte) {
	var doc struct {
		ID      string `json:"id_token"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Scope   string `json:"scope"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return
	}
	l.found.Hide(doc.ID, doc.Access, doc.Refresh)
	r := &reply{scope: doc.Scope, id: len(doc.ID), access: len(doc.Access), refreshed: len(doc.Refresh), refresh: seal.Secret(doc.Refresh)}
	parts := strings.Split(doc.ID, ".")
	if len(parts) != 3 {
		return
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(payload, &r.claims) != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.reply == nil {
		l.reply = r
	}
}

func (l *listener) first() *reply {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reply
}
