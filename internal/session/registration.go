package session

import "fmt"

// A Registration is a digest that names one app at one provider. Everything
// that this package seals is sealed for it: two apps that share keys and a host
// cannot read each other's sessions.
type Registration [8]byte

// StoredPrefix begins the names of all entries in Config.Tokens of package
// msauth. A user key of the app must not begin with it, or it could be the name
// of another entry.
const StoredPrefix = "msauth:"

// Prefix begins the names of this registration's entries in Config.Tokens of
// package msauth.
func (id Registration) Prefix() string { return fmt.Sprintf("%s%x:", StoredPrefix, id[:]) }

// A Layout is what all sessions of a registration have in common. Records are
// written without it and read with it.
type Layout struct {
	// Authority is the origin that the issuers of Microsoft's tenants follow
	// from, "" at other providers.
	Authority string
	// ClientID is the app's client id, which most tokens repeat.
	ClientID string
	// KeepsIDToken says that signing out at the provider needs the latest ID
	// token: see Record.IDToken.
	KeepsIDToken bool
}
