package webapp

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// Settings are the settings that the examples read from the environment:
//
//	AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_AUTHORITY_HOST
//	AZURE_CLIENT_SECRET, AZURE_CLIENT_SECRET_FILE, AZURE_CLIENT_CERTIFICATE_PATH
//	AZURE_CLIENT_SEND_CERTIFICATE_CHAIN, AZURE_FEDERATED_TOKEN_FILE
//	MSAUTH_BASE_URL, MSAUTH_KEYS, PORT, LISTEN_ADDR
type Settings struct {
	Auth   msauth.Config
	Mount  string   // path of the msauth handler, such as "/auth/"
	Listen string   // address to listen on
	Here   bool     // only this computer can reach the app
	Graph  string   // base URL of Microsoft Graph
	Local  string   // origin of the local stand-in for Microsoft, if the app runs on it
	Notes  []string // printed at the start

	credentials []string // texts about Auth.Credentials
}

// ReadSettings reads the settings. If MSAUTH_KEYS is not set, Auth.Keys is empty.
func ReadSettings(getenv func(string) string) (Settings, error) {
	set, err := ReadSite(getenv)
	if err != nil {
		return set, err
	}
	c := &set.Auth
	c.ClientID, c.Tenant, c.Authority = getenv("AZURE_CLIENT_ID"), getenv("AZURE_TENANT_ID"), getenv("AZURE_AUTHORITY_HOST")
	if c.ClientID != "" {
		if c.Credentials, set.credentials, err = readCredentials(getenv); err != nil {
			return set, err
		}
		if len(c.Credentials) == 0 {
			return set, errors.New("AZURE_CLIENT_ID is set, and nothing to prove it with: set AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE")
		}
	}
	set.Graph = graphURL(c.Authority)
	return set, set.CheckStandIn("AZURE_CLIENT_ID")
}

// ReadSite reads the settings that have nothing to do with the app registration:
// MSAUTH_BASE_URL, MSAUTH_KEYS, PORT and LISTEN_ADDR.
func ReadSite(getenv func(string) string) (Settings, error) {
	var set Settings
	port := cmp.Or(getenv("PORT"), "8080")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return set, fmt.Errorf("PORT is %q: must be a number from 1 to 65535", port)
	}
	keys, err := decodeKeys(getenv("MSAUTH_KEYS"))
	if err != nil {
		return set, err
	}
	set.Auth = msauth.Config{BaseURL: cmp.Or(getenv("MSAUTH_BASE_URL"), "http://localhost:"+port+"/auth"), Keys: keys}
	base, err := url.Parse(set.Auth.BaseURL)
	if err != nil {
		return set, fmt.Errorf("MSAUTH_BASE_URL: %w", err)
	}
	set.Mount = strings.TrimRight(base.Path, "/") + "/"
	set.Listen = ":" + port
	if set.Here = IsLoopback(base.Hostname()); set.Here {
		set.Listen = "localhost:" + port // not reachable from the network
	}
	if addr := getenv("LISTEN_ADDR"); addr != "" {
		// As in a container, whose network is its own: what is reachable is not what
		// the address of the site tells.
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return set, fmt.Errorf("LISTEN_ADDR is %q: must be HOST:PORT, or :PORT for all interfaces", addr)
		}
		set.Listen, set.Here = addr, set.Here && IsLoopback(host)
	}
	return set, nil
}

// CheckStandIn returns an error if the app would run on the stand-in, which asks
// for no password, and can be reached from the network. variable is the one that
// the client ID comes from.
func (set *Settings) CheckStandIn(variable string) error {
	if set.Auth.ClientID == "" && !set.Here {
		return fmt.Errorf("%s is not set, and the local stand-in for Microsoft works on this computer only: set it, or unset MSAUTH_BASE_URL (%s)", variable, set.Auth.BaseURL)
	}
	// Here does not matter for this: in a container the app listens for others too.
	if isLocal(set.Auth.Authority) && !isLocal(set.Auth.BaseURL) {
		return fmt.Errorf("the authority %s is the local stand-in for Microsoft, which signs everybody in as anybody, and MSAUTH_BASE_URL (%s) is an address for others: unset AZURE_AUTHORITY_HOST or LIVE_AUTHORITY", set.Auth.Authority, set.Auth.BaseURL)
	}
	return nil
}

// isLocal reports whether a URL is one of this computer.
func isLocal(address string) bool {
	u, err := url.Parse(address)
	return err == nil && IsLoopback(u.Hostname())
}

// UseLocal configures the app to run on a local stand-in for Microsoft.
func (set *Settings) UseLocal(microsoft *msauthtest.Server) {
	c := &set.Auth
	c.ClientID, c.ClientSecret, c.Credentials = microsoft.ClientID, microsoft.ClientSecret, nil
	c.Authority, c.Tenant, c.Issuer = microsoft.URL, "", ""
	set.Graph = microsoft.URL + "/v1.0"
	set.Local = microsoft.URL
}

// AuthURL is BaseURL without a trailing slash.
func (set *Settings) AuthURL() string { return strings.TrimRight(set.Auth.BaseURL, "/") }

// HomeURL is the address to open in a browser.
func (set *Settings) HomeURL() string {
	u, err := url.Parse(set.Auth.BaseURL)
	if err != nil {
		return set.Auth.BaseURL
	}
	return u.Scheme + "://" + u.Host + "/"
}

// PrintNotes prints the notes, and how to stop the program.
func (set *Settings) PrintNotes(out io.Writer) {
	for _, note := range set.Notes {
		fmt.Fprintln(out, note)
	}
	fmt.Fprintln(out, "Press Ctrl-C to stop the program.")
}

// decodeKeys decodes base64 keys in the standard or the URL alphabet. Its errors
// do not contain the keys.
func decodeKeys(list string) (keys [][]byte, err error) {
	standard := strings.NewReplacer("-", "+", "_", "/", "=", "")
	for i, text := range strings.Split(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		key, err := base64.RawStdEncoding.DecodeString(standard.Replace(text))
		if err != nil {
			return nil, fmt.Errorf("MSAUTH_KEYS: entry %d is not base64", i+1)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// graphURL returns the base URL of Microsoft Graph in the cloud of an authority
// ("National cloud deployments", Microsoft Graph).
func graphURL(authority string) string {
	authority = strings.TrimRight(authority, "/")
	switch u, err := url.Parse(authority); {
	case err == nil && IsLoopback(u.Hostname()):
		return authority + "/v1.0"
	case authority == "https://login.microsoftonline.us":
		return "https://graph.microsoft.us/v1.0"
	case authority == "https://login.partner.microsoftonline.cn":
		return "https://microsoftgraph.chinacloudapi.cn/v1.0"
	}
	return "https://graph.microsoft.com/v1.0"
}

// IsLoopback reports whether a host name or IP address is of this computer.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
