package main

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// settings are what the environment says, under the names that Microsoft's own
// SDKs use:
//
//	AZURE_CLIENT_ID       the app registration; without it the app runs on a
//	AZURE_CLIENT_SECRET   local stand-in for Microsoft
//	AZURE_TENANT_ID       common (default), organizations, consumers, a tenant
//	AZURE_AUTHORITY_HOST  another cloud, such as https://login.microsoftonline.us/
//
// and under names of this app:
//
//	MSAUTH_ISSUER    any other OpenID provider, in place of the two above
//	MSAUTH_BASE_URL  where people reach /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEYS      keys that seal the cookies, base64, separated by commas
//	MSAUTH_SCOPES    by default "User.Read Files.Read"
//	PORT             by default 8080
//
// At Microsoft the registration also needs the optional claim auth_time (in ID
// tokens), for /security, and an app role "Admin", for /admin.
type settings struct {
	auth   msauth.Config
	mount  string // path of the msauth handler: "/auth/"
	listen string // address
	graph  string // base URL of Microsoft Graph; empty at other providers
	local  string // origin of the local stand-in for Microsoft, when that is used
	notes  []string
}

func readSettings(getenv func(string) string) (*settings, error) {
	port := cmp.Or(getenv("PORT"), "8080")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return nil, fmt.Errorf("PORT is %q: want a number from 1 to 65535", port)
	}
	set := &settings{auth: msauth.Config{
		ClientID:     getenv("AZURE_CLIENT_ID"),
		ClientSecret: getenv("AZURE_CLIENT_SECRET"),
		Tenant:       getenv("AZURE_TENANT_ID"),
		Authority:    getenv("AZURE_AUTHORITY_HOST"),
		Issuer:       getenv("MSAUTH_ISSUER"),
		BaseURL:      cmp.Or(getenv("MSAUTH_BASE_URL"), "http://localhost:"+port+"/auth"),
		Scopes:       strings.FieldsFunc(getenv("MSAUTH_SCOPES"), func(r rune) bool { return r == ',' || r == ' ' }),
	}}
	c := &set.auth

	if len(c.Scopes) == 0 && c.Issuer == "" {
		c.Scopes = []string{"User.Read", "Files.Read"}
	}
	var err error
	if c.Keys, err = decodeKeys(getenv("MSAUTH_KEYS")); err != nil {
		return nil, err
	}
	if len(c.Keys) == 0 {
		key := make([]byte, 32)
		rand.Read(key)
		c.Keys = [][]byte{key}
		set.notes = append(set.notes, "MSAUTH_KEYS is not set, so sessions end when this program does. Make a key with: openssl rand -base64 32")
	}

	base, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("MSAUTH_BASE_URL: %w", err)
	}
	set.mount = strings.TrimRight(base.Path, "/") + "/"
	if isLoopback(base.Hostname()) {
		set.listen = "localhost:" + port // not for others on the network
	} else {
		set.listen = ":" + port
	}

	if c.ClientID == "" {
		// A sign-in without passwords must not be reachable from outside.
		if !isLoopback(base.Hostname()) {
			return nil, fmt.Errorf("AZURE_CLIENT_ID is not set, and the local stand-in for Microsoft works on this computer only: set it, or unset MSAUTH_BASE_URL (%s)", c.BaseURL)
		}
		for _, name := range []string{"AZURE_CLIENT_SECRET", "AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "MSAUTH_ISSUER"} {
			if getenv(name) != "" {
				set.notes = append(set.notes, name+" is ignored because AZURE_CLIENT_ID is not set.")
			}
		}
		return set, nil
	}
	set.graph = graphURL(c)
	return set, nil
}

// useLocal runs the app on a Microsoft of its own.
func (set *settings) useLocal(microsoft *msauthtest.Server) {
	c := &set.auth
	c.ClientID, c.ClientSecret = microsoft.ClientID, microsoft.ClientSecret
	c.Authority, c.Tenant, c.Issuer = microsoft.URL, "", ""
	set.graph = microsoft.URL + "/v1.0"
	set.local = microsoft.URL
	for _, u := range microsoft.Users() {
		if u.SignInName == msauthtest.Ada { // somebody has to be the administrator
			u.Roles = []string{adminRole}
			microsoft.SetUser(u)
		}
	}
}

// standInWeek is when the people of the stand-in have appointments.
var standInWeek = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)

// standIn reports whether Graph is package msauthtest, in this program or in
// another one.
func (set *settings) standIn() bool {
	u, err := url.Parse(set.graph)
	return err == nil && isLoopback(u.Hostname())
}

// firstDay is where the calendar opens: today, or where a stand-in has
// something to show.
func (set *settings) firstDay() time.Time {
	if set.standIn() {
		return standInWeek
	}
	return time.Now().UTC().Truncate(24 * time.Hour)
}

// announce tells what to open and what to register.
func (set *settings) announce(out io.Writer) {
	base := strings.TrimRight(set.auth.BaseURL, "/")
	open := base
	if u, err := url.Parse(base); err == nil {
		open = u.Scheme + "://" + u.Host + "/"
	}
	fmt.Fprintf(out, "OneDrive at a glance\n\n  Open %s\n\n", open)
	if set.local != "" {
		fmt.Fprintf(out, "Running on a local stand-in for Microsoft (%s): pick any person, no password.\n", set.local)
		fmt.Fprintf(out, "Ada has the role %s.\n", adminRole)
		fmt.Fprintf(out, "To use the real one, set AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, and register\n")
	} else {
		fmt.Fprintf(out, "Sign-in is at %s. Register there\n", cmp.Or(set.auth.Issuer, set.auth.Authority, "https://login.microsoftonline.com"))
	}
	fmt.Fprintf(out, "these redirect URIs (platform \"Web\"):\n\n  %s/callback\n  %s/signed-out\n\n", base, base)
	if set.local == "" && set.auth.Issuer == "" {
		fmt.Fprintf(out, "/security needs the optional claim auth_time (ID token), /admin the app role %s.\n\n", adminRole)
	}
	for _, note := range set.notes {
		fmt.Fprintln(out, note)
	}
	fmt.Fprintln(out, "Ctrl-C stops the program.")
}

// decodeKeys reads base64 keys in the standard or the URL alphabet.
func decodeKeys(list string) (keys [][]byte, err error) {
	standard := strings.NewReplacer("-", "+", "_", "/", "=", "")
	for i, text := range strings.Split(list, ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		key, err := base64.RawStdEncoding.DecodeString(standard.Replace(text))
		if err != nil {
			return nil, fmt.Errorf("MSAUTH_KEYS: entry %d is not base64", i+1) // the key itself must not be shown
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// graphURL is the Microsoft Graph of a cloud ("National cloud deployments",
// Microsoft Graph).
func graphURL(c *msauth.Config) string {
	if c.Issuer != "" {
		return ""
	}
	authority := strings.TrimRight(c.Authority, "/")
	switch u, err := url.Parse(authority); {
	case err == nil && isLoopback(u.Hostname()):
		return authority + "/v1.0"
	case authority == "https://login.microsoftonline.us":
		return "https://graph.microsoft.us/v1.0"
	case authority == "https://login.partner.microsoftonline.cn":
		return "https://microsoftgraph.chinacloudapi.cn/v1.0"
	}
	return "https://graph.microsoft.com/v1.0"
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
