package livesite

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

// Settings are read from the environment:
//
//	LIVE_CLIENT_ID        the client ID; without it the program runs on a local
//	                      stand-in for Microsoft
//	LIVE_CLIENT_SECRET_0  the client secret of version 0; those of other versions
//	                      up to 99 likewise, two while the secret is changed
//	LIVE_AUTHORITY        by default https://login.live.com
//
//	MSAUTH_BASE_URL       public URL of /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEYS           keys that seal the cookies: base64, separated by commas
//	PORT                  by default 8080
//
//	SITE_PASSWORD         of the users of example/live/connect, who have none if
//	                      only this computer can reach the site
type Settings struct {
	webapp.Settings
	Versions []int  // of the client secrets, the newest first
	Password string // SITE_PASSWORD
}

const newestVersion = 99

// ReadSettings reads the settings.
func ReadSettings(getenv func(string) string) (*Settings, error) {
	site, err := webapp.ReadSite(getenv)
	if err != nil {
		return nil, err
	}
	set := &Settings{Settings: site, Password: getenv("SITE_PASSWORD")}
	c := &set.Auth
	c.ClientID = getenv("LIVE_CLIENT_ID")
	c.Authority = cmp.Or(getenv("LIVE_AUTHORITY"), "https://login.live.com")
	// The newest secret calls. Those before it are still accepted in the signatures
	// of authentication tokens, until the newest is activated and for a day longer.
	for version := newestVersion; version >= 0; version-- {
		if secret := getenv("LIVE_CLIENT_SECRET_" + strconv.Itoa(version)); secret != "" {
			c.Credentials = append(c.Credentials, msauth.Secret(secret).WithVersion(version))
			set.Versions = append(set.Versions, version)
		}
	}
	if c.ClientID != "" && len(c.Credentials) == 0 {
		return nil, errors.New("LIVE_CLIENT_ID is set, and nothing to prove it with: set LIVE_CLIENT_SECRET_0, or the one whose number is the version of your secret")
	}
	if c.ClientID == "" {
		for _, name := range []string{"LIVE_AUTHORITY", "LIVE_CLIENT_SECRET_0"} {
			if getenv(name) != "" {
				set.Notes = append(set.Notes, name+" is ignored because LIVE_CLIENT_ID is not set.")
			}
		}
	}
	if len(c.Keys) == 0 {
		key := make([]byte, 32)
		rand.Read(key)
		c.Keys = [][]byte{key}
		set.Notes = append(set.Notes, "MSAUTH_KEYS is not set, so sessions end when this program does. Make a key with: openssl rand -base64 32")
	}
	return set, set.CheckStandIn("LIVE_CLIENT_ID")
}

// UseLocal configures the site to run on a local stand-in for Microsoft. Its app
// registration is in the middle of a change of the client secret: the new one,
// version 1, calls, and tokens are still signed with version 0.
// It returns the new one, which is still to be activated.
func (set *Settings) UseLocal(microsoft *msauthtest.Server) (newest *msauthtest.Credential) {
	secret := rand.Text()
	newest = microsoft.AddSecret(secret)
	version := newest.Version()
	c := &set.Auth
	c.ClientID, c.Authority = microsoft.ClientID, microsoft.LiveAuthority()
	c.Credentials = []msauth.Credential{
		msauth.Secret(secret).WithVersion(version),
		msauth.Secret(microsoft.ClientSecret).WithVersion(0),
	}
	set.Versions = []int{version, 0}
	set.Local = microsoft.URL
	return newest
}

// announce prints the address to open and what to register.
func (set *Settings) announce(out io.Writer, name string) {
	fmt.Fprintf(out, "%s\n\n  Open %s\n\n", name, set.HomeURL())
	if set.Local != "" {
		fmt.Fprintf(out, "Running on a local stand-in for Live Connect (%s): choose Mia, who has a personal account, no password.\n", set.Auth.Authority)
	} else {
		fmt.Fprintf(out, "People sign in at %s. Its registration must have the domain of %s as redirect domain.\n", set.Auth.Authority, set.HomeURL())
	}
	newest := slices.Max(set.Versions)
	fmt.Fprintf(out, "Client secret: version %d", newest)
	for _, version := range set.Versions {
		if version != newest {
			fmt.Fprintf(out, "; tokens that are signed with version %d are accepted too", version)
		}
	}
	fmt.Fprint(out, ".\n\n")
	set.PrintNotes(out)
}
