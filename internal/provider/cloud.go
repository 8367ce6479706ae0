package provider

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"example.com/msauth/internal/web"
)

// TokenHost writes scheme and host in the one form in which they are compared:
// lower case, with the port. A trailing dot is kept, so that it never matches.
func TokenHost(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// GraphHosts names the Microsoft Graph that belongs to an authority's cloud
// ("National cloud deployments", Microsoft Graph).
func GraphHosts(authority string) []string {
	switch authority {
	case "https://login.microsoftonline.com":
		return []string{"graph.microsoft.com:443"}
	case "https://login.microsoftonline.us":
		return []string{"graph.microsoft.us:443", "dod-graph.microsoft.us:443"}
	case "https://login.partner.microsoftonline.cn":
		return []string{"microsoftgraph.chinacloudapi.cn:443"}
	}
	if u, err := url.Parse(authority); err == nil && web.IsLoopback(u.Hostname()) {
		return []string{TokenHost(u)} // package msauthtest
	}
	return nil
}

// GraphURL is where that Graph is.
func GraphURL(authority string) string {
	hosts := GraphHosts(authority)
	if len(hosts) == 0 {
		return ""
	}
	scheme, _, _ := strings.Cut(authority, ":")
	return scheme + "://" + strings.TrimSuffix(hosts[0], ":443") + "/v1.0"
}

// FollowNothing is a CheckRedirect for requests that carry secrets: they are
// answered where they were sent or not at all.
func FollowNothing(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var errReplyTooLarge = errors.New("reply too large")

var GUIDForm = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

var DomainForm = regexp.MustCompile(`^([a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?\.)+[a-zA-Z][a-zA-Z0-9-]{0,61}[a-zA-Z0-9]$`)

// cloudHosts are the names of Microsoft's own sign-in service, and under which
// of them its tokens name their issuer. They are the aliases that MSAL's
// instance discovery lists.
var cloudHosts = map[string]string{
	"login.microsoftonline.com": "login.microsoftonline.com",
	"login.windows.net":         "login.microsoftonline.com",
	"login.microsoft.com":       "login.microsoftonline.com",
	"sts.windows.net":           "login.microsoftonline.com",

	"login.microsoftonline.us":     "login.microsoftonline.us",
	"login.usgovcloudapi.net":      "login.microsoftonline.us",
	"login-us.microsoftonline.com": "login.microsoftonline.us",
	"login.cloudgovapi.us":         "login.microsoftonline.us",

	"login.partner.microsoftonline.cn": "login.partner.microsoftonline.cn",
	"login.chinacloudapi.cn":           "login.partner.microsoftonline.cn",
	"sts.chinacloudapi.cn":             "login.partner.microsoftonline.cn",

	"login.microsoftonline.de": "login.microsoftonline.de",

	"login.sovcloud-identity.fr": "login.sovcloud-identity.fr",
	"login.sovcloud-identity.de": "login.sovcloud-identity.de",
	"login.sovcloud-identity.sg": "login.sovcloud-identity.sg",
}

// CloudOf is the Authority of the Microsoft cloud that a host belongs to, ""
// if it is of none. Regions have names below the first ones.
func CloudOf(u *url.URL) string {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	for host != "" {
		if canonical := cloudHosts[host]; canonical != "" {
			return "https://" + canonical
		}
		_, host, _ = strings.Cut(host, ".")
	}
	return ""
}
