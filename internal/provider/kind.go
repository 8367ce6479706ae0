package provider

import (
	"net/url"
	"strings"
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
)

// KindOf returns the kind of the provider with these settings: Config.Issuer and
// Config.MicrosoftIssuer of package msauth. It follows from the configuration
// alone, so that no provider can claim to be Microsoft by what it publishes.
func KindOf(issuer, microsoftIssuer string) Kind {
	switch {
	case issuer == "":
		return Entra
	case OnHost(issuer, ".ciamlogin.com"), OnHost(microsoftIssuer, ".ciamlogin.com"):
		return ExternalID
	case OnHost(issuer, ".b2clogin.com"), microsoftIssuer != "":
		return b2c
	}
	return OtherProvider
}

// OnHost reports whether the host of a URL, with its port, ends in suffix, whatever
// the case of its letters. The suffix is in lower case.
func OnHost(address, suffix string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Host), suffix)
}
