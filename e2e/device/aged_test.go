package device

import (
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"example.com/msauth"
	"example.com/msauth/internal/device"
	"example.com/msauth/internal/seal"
)

// proved says to whom the app's values belong: it is told the name that they have in a
// store of tokens.
type proved struct {
	msauth.TokenStore
	prefix string
}

func (p *proved) Serve(prefix string) { p.prefix = prefix }

// aged returns a bound cookie's value as if the device had been proved some time
// earlier: nobody waits for minutes here.
func (s *site) aged(t *testing.T, value string, by time.Duration) string {
	t.Helper()
	store, cfg := &proved{}, s.cfg
	cfg.Tokens = store
	if _, err := msauth.New(cfg); err != nil {
		t.Fatal(err)
	}
	registration, err := hex.DecodeString(strings.TrimSuffix(strings.TrimPrefix(store.prefix, "msauth:"), ":"))
	if err != nil {
		t.Fatal(err)
	}
	ring, err := seal.NewKeyring(s.cfg.Keys)
	if err != nil {
		t.Fatal(err)
	}
	values := device.NewValues(ring, registration)
	b, ok := values.Open(value)
	if !ok {
		t.Fatal("the bound cookie does not open")
	}
	b.Proved -= int64(by / time.Second)
	return values.Seal(b)
}

// age has the browser's bound cookie be as if the device had been proved earlier.
func (p *person) age(t *testing.T, by time.Duration) {
	t.Helper()
	c := p.cookie(bound)
	if c == nil {
		t.Fatal("there is no bound cookie")
	}
	c.Value = p.s.aged(t, c.Value, by)
	p.SetCookie(p.s.url, c)
}
