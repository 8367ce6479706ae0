package provider

import (
	"net/url"
	"strings"

	"example.com/msauth/internal/web"
)

// cloudHosts maps the host names of Microsoft's sign-in service to the name that
// its tokens have in their issuer. They are the aliases that MSAL's instance
// discovery lists.
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

// CloudOf returns the authority (scheme and host) of the Microsoft cloud that the
// host of a URL belongs to, "" if it belongs to none. Names below a cloud's own,
// such as those of regions, belong to it.
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

// GraphHosts returns the hosts of Microsoft Graph in the cloud of an authority, in
// the form of web.HostPort, the preferred one first ("National cloud deployments",
// Microsoft Graph). It is nil for an authority of no cloud. An authority on a
// loopback host is its own Graph: package msauthtest serves both.
func GraphHosts(authority string) []string {
	switch authority {
	case "https://login.microsoftonline.com":
		return []string{"graph.microsoft.com:443"}
	case "https://login.microsoftonline.us":
		return []string{"graph.microsoft.us:443", "dod-graph.microsoft.us:443"}
	case "https://login.partner.microsoftonline.cn":
		return []string{"microsoftgraph.chinacloudapi.cn:443"}
	}
	if u, err := url.Parse(authority); err == nil && web.IsLoopback(u.Hostname()) && !IsLiveConnect(authority) {
		return []string{web.HostPort(u)}
	}
	return nil
}

// tokenExchange returns the audience of tokens of other issuers in the cloud of an
// authority ("Configure an application to trust a managed identity", Microsoft Entra
// Workload ID).
func tokenExchange(authority string) string {
	switch authority {
	case "https://login.microsoftonline.us":
		return "api://AzureADTokenExchangeUSGov"
	case "https://login.partner.microsoftonline.cn":
		return "api://AzureADTokenExchangeChina"
	}
	return "api://AzureADTokenExchange"
}

// GraphURL returns the base URL of Microsoft Graph in the cloud of an authority,
// with its version; "" for an authority of no cloud.
func GraphURL(authority string) string {
	hosts := GraphHosts(authority)
	if len(hosts) == 0 {
		return ""
	}
	scheme, _, _ := strings.Cut(authority, ":")
	return scheme + "://" + strings.TrimSuffix(hosts[0], ":443") + "/v1.0"
}
