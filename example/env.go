package main

import (
	"cmp"
	"crypto/rand"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

// settings are read from the environment. These variables have the names that
// Microsoft's own SDKs use:
//
//	AZURE_CLIENT_ID       the app registration; without it the app runs on a
//	                      local stand-in for Microsoft
//	AZURE_TENANT_ID       common (default), organizations, consumers, a tenant
//	AZURE_AUTHORITY_HOST  another cloud, such as https://login.microsoftonline.us/
//
//	AZURE_FEDERATED_TOKEN_FILE           a token of another issuer, as in AKS
//	AZURE_CLIENT_CERTIFICATE_PATH        a PEM file: certificate and private key
//	AZURE_CLIENT_SEND_CERTIFICATE_CHAIN  1 or true: trust by subject and issuer
//	AZURE_CLIENT_SECRET_FILE             a file with a client secret: of these examples
//	AZURE_CLIENT_SECRET                  a client secret
//
// The app needs one of the token, the certificate and the secret. If several are
// set, the first that works is used, in this order. These are the app's own:
//
//	MSAUTH_ISSUER    another OpenID provider, not AZURE_TENANT_ID at AZURE_AUTHORITY_HOST
//	MSAUTH_BASE_URL  public URL of /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEYS      keys that seal the cookies: base64, separated by commas
//	MSAUTH_SCOPES    by default "User.Read Files.Read"
//	PORT             by default 8080
//	LISTEN_ADDR      HOST:PORT to listen at; by default PORT, at localhost if
//	                 MSAUTH_BASE_URL is there, else at all interfaces
//
// Files.ReadWrite and Calendars.Read are requested when they are first needed.
//
// At Microsoft the registration also needs the optional claim auth_time (in ID
// tokens), for /security, and an app role "Admin", for /admin.
type settings struct {
	webapp.Settings // Graph is empty at other providers

	// UploadHosts are the storage hosts that the upload page may send files to: its
	// Content-Security-Policy names them.
	UploadHosts []string

	// AnswerTime is how long Microsoft may take for a page, or until a file begins.
	AnswerTime time.Duration
}

// uploadHosts returns the hosts of upload URLs in the cloud of a Graph: OneDrive of
// work accounts, and the hosts that personal accounts are at or were lately. A host
// that is missing costs a detour: the script then sends files through this app.
func uploadHosts(graph string) []string {
	u, err := url.Parse(graph)
	switch {
	case graph == "" || err != nil:
		return nil
	case webapp.IsLoopback(u.Hostname()): // the stand-in has another name for its storage
		return []string{"http://localhost:" + u.Port(), "http://127.0.0.1:" + u.Port()}
	case strings.HasSuffix(u.Host, ".us"):
		return []string{"https://*.sharepoint.us", "https://*.sharepoint-mil.us"}
	case strings.HasSuffix(u.Host, ".cn"):
		return []string{"https://*.sharepoint.cn"}
	}
	return []string{"https://*.sharepoint.com", "https://my.microsoftpersonalcontent.com", "https://*.up.1drv.com", "https://api.onedrive.com"}
}

func readSettings(getenv func(string) string) (*settings, error) {
	common, err := webapp.ReadSettings(getenv)
	if err != nil {
		return nil, err
	}
	set := &settings{Settings: common, AnswerTime: 15 * time.Second}
	c := &set.Auth
	c.Issuer = getenv("MSAUTH_ISSUER")
	if c.Issuer != "" {
		set.Graph = ""
	}
	set.UploadHosts = uploadHosts(set.Graph)
	c.KeepFragments = true // the page of notes has the note in it
	c.Language = chosenLanguage
	if strings.HasPrefix(c.BaseURL, "https://") { // browsers bind no other sessions
		c.DeviceBinding = msauth.DeviceBindingOffered
	}
	c.Scopes = strings.FieldsFunc(getenv("MSAUTH_SCOPES"), func(r rune) bool { return r == ',' || r == ' ' })
	if len(c.Scopes) == 0 && c.Issuer == "" {
		c.Scopes = []string{"User.Read", "Files.Read"}
	}
	if len(c.Keys) == 0 {
		key := make([]byte, 32)
		rand.Read(key)
		c.Keys = [][]byte{key}
		set.Notes = append(set.Notes, "MSAUTH_KEYS is not set, so sessions end when this program does. Make a key with: openssl rand -base64 32")
	}
	if c.ClientID == "" {
		others := []string{"AZURE_TENANT_ID", "AZURE_AUTHORITY_HOST", "MSAUTH_ISSUER"}
		for _, name := range append(others, webapp.CredentialVariables...) {
			if getenv(name) != "" {
				set.Notes = append(set.Notes, name+" is ignored because AZURE_CLIENT_ID is not set.")
			}
		}
	}
	return set, nil
}

// useLocal configures the app to run on a local stand-in for Microsoft.
func (set *settings) useLocal(microsoft *msauthtest.Server) {
	set.UseLocal(microsoft)
	set.UploadHosts = uploadHosts(set.Graph)
	for _, u := range microsoft.Users() {
		if u.SignInName == msauthtest.Ada {
			u.Roles = []string{adminRole}
			microsoft.SetUser(u)
		}
	}
}

// standInWeek is the week in which the stand-in's users have appointments.
var standInWeek = time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC)

// standIn reports whether Graph is package msauthtest, in this program or in
// another one.
func (set *settings) standIn() bool {
	u, err := url.Parse(set.Graph)
	return err == nil && webapp.IsLoopback(u.Hostname())
}

// firstDay is the day that the calendar opens on: today, or the first day of
// standInWeek.
func (set *settings) firstDay() time.Time {
	if set.standIn() {
		return standInWeek
	}
	return time.Now().UTC().Truncate(24 * time.Hour)
}

// announce prints the address to open and the redirect URIs to register.
func (set *settings) announce(out io.Writer) {
	fmt.Fprintf(out, "OneDrive at a glance\n\n  Open %s\n\n", set.HomeURL())
	if set.Local != "" {
		fmt.Fprintf(out, "Running on a local stand-in for Microsoft (%s): choose any account, no password.\n", set.Local)
		fmt.Fprintf(out, "Ada has the role %s.\n", adminRole)
		fmt.Fprintf(out, "To use the real one, set AZURE_CLIENT_ID and one of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH\nand AZURE_FEDERATED_TOKEN_FILE, and register ")
	} else {
		fmt.Fprintf(out, "People sign in at %s. Register there ", cmp.Or(set.Auth.Issuer, set.Auth.Authority, "https://login.microsoftonline.com"))
	}
	fmt.Fprintf(out, "these redirect URIs (platform \"Web\"):\n\n  %s/callback\n  %[1]s/signed-out\n\n", set.AuthURL())
	if set.Local == "" {
		set.PrintCredentials(out)
	}
	if set.Local == "" && set.Auth.Issuer == "" {
		fmt.Fprintf(out, "/security needs the optional claim auth_time (ID token), /admin the app role %s.\n\n", adminRole)
	}
	set.PrintNotes(out)
}
