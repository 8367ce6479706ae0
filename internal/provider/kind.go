package provider

import (
	"net/url"
	"strings"

	"example.com/msauth/internal/web"
)

// A Kind says which service the provider is, and so which rules its issuers,
// keys and claims follow.
type Kind uint8

const (
	// OtherProvider is any OpenID provider that is not Microsoft's.
	OtherProvider Kind = iota
	// Entra is Microsoft Entra ID, personal Microsoft accounts included.
	Entra
	// ExternalID is Microsoft Entra External ID.
	ExternalID
	b2c // Azure AD B2C
	// LiveConnect is the service for personal accounts at login.live.com, which came
	// before OpenID Connect.
	LiveConnect
)

// KindOf returns the kind of the provider with these settings: Config.Authority,
// Config.Issuer and Config.MicrosoftIssuer of package msauth. It follows from the
// configuration alone, so that no provider can claim to be Microsoft by what it
// publishes.
func KindOf(authority, issuer, microsoftIssuer string) Kind {
	switch {
	case issuer == "" && IsLiveConnect(authority):
		return LiveConnect
	case issuer == "":
		return Entra
	case OnHost(issuer, ".ciamlogin.com"), OnHost(microsoftIssuer, ".ciamlogin.com"):
		return ExternalID
	case OnHost(issuer, ".b2clogin.com"), microsoftIssuer != "":
		return b2c
	}
	return OtherProvider
}

// liveHost is the host of Live Connect, and the path at which package msauthtest has
// it on a loopback host.
const liveHost = "login.live.com"

// IsLiveConnect reports whether an authority is Live Connect: "https://login.live.com",
// or on a loopback host any URL with the path "/login.live.com". Case, and a slash at
// the end, do not matter.
func IsLiveConnect(authority string) bool {
	u, err := url.Parse(authority)
	if err != nil {
		return false
	}
	path := strings.Trim(u.Path, "/")
	if web.IsLoopback(u.Hostname()) {
		return strings.EqualFold(path, liveHost)
	}
	return path == "" && strings.EqualFold(u.Hostname(), liveHost) && (u.Port() == "" || u.Port() == "443")
}

// OnHost reports whether the host of a URL, with its port, ends in suffix, whatever
// the case of its letters. The suffix is in lower case.
func OnHost(address, suffix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Host), suffix)
}
