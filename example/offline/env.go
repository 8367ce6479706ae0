package main

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
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
//	MSAUTH_BASE_URL  where people reach /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEYS      keys that seal what is kept, base64, separated by commas; by
//	                 default one that is made, in DIGEST_DB with .key behind it.
//	                 To change it put a new one in front, and keep the old one
//	                 until the log says that it can be dropped
//	DIGEST_DB        the database file, by default digests.db
//	DIGEST_EVERY     from one digest to the next, by default 1m
//	PORT             by default 8080
//
// What is kept of an account belongs to this registration, at this address:
// after a change of MSAUTH_BASE_URL, AZURE_CLIENT_ID, AZURE_TENANT_ID or
// AZURE_AUTHORITY_HOST people have to connect their accounts again.
type settings struct {
	auth     msauth.Config
	mount    string // path of the msauth handler: "/auth/"
	listen   string // address
	graph    string // base URL of Microsoft Graph
	local    string // origin of the local stand-in for Microsoft, when that is used
	database string // file
	every    time.Duration
	notes    []string
}

func readSettings(getenv func(string) string) (*settings, error) {
	port := cmp.Or(getenv("PORT"), "8080")
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return nil, fmt.Errorf("PORT is %q: want a number from 1 to 65535", port)
	}
	set := &settings{
		auth: msauth.Config{
			ClientID:     getenv("AZURE_CLIENT_ID"),
			ClientSecret: getenv("AZURE_CLIENT_SECRET"),
			Tenant:       getenv("AZURE_TENANT_ID"),
			Authority:    getenv("AZURE_AUTHORITY_HOST"),
			BaseURL:      cmp.Or(getenv("MSAUTH_BASE_URL"), "http://localhost:"+port+"/auth"),
		},
		database: cmp.Or(getenv("DIGEST_DB"), "digests.db"),
	}
	c := &set.auth

	var err error
	if set.every, err = time.ParseDuration(cmp.Or(getenv("DIGEST_EVERY"), "1m")); err != nil || set.every < time.Second {
		return nil, fmt.Errorf("DIGEST_EVERY is %q: want a duration of at least a second, such as 1m", getenv("DIGEST_EVERY"))
	}
	base, err := url.Parse(c.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("MSAUTH_BASE_URL: %w", err)
	}
	if set.mount = strings.TrimRight(base.Path, "/") + "/"; set.mount == "/" {
		return nil, fmt.Errorf("MSAUTH_BASE_URL is %q: want a path, such as /auth", c.BaseURL)
	}
	if isLoopback(base.Hostname()) {
		set.listen = "localhost:" + port // not for others on the network
	} else {
		set.listen = ":" + port
	}
	// Where anybody can be anybody must not be reachable from outside.
	if c.ClientID == "" && !isLoopback(base.Hostname()) {
		return nil, fmt.Errorf("AZURE_CLIENT_ID is not set, and the local stand-in for Microsoft works on this computer only: set it, or unset MSAUTH_BASE_URL (%s)", c.BaseURL)
	}
	if c.Keys, err = decodeKeys(getenv("MSAUTH_KEYS")); err != nil {
		return nil, err
	}
	if len(c.Keys) == 0 {
		path := set.database + ".key"
		key, err := keyIn(path)
		if err != nil {
			return nil, err
		}
		c.Keys = [][]byte{key}
		set.notes = append(set.notes, "MSAUTH_KEYS is not set: the key is in "+path+". Without it nobody's account stays connected.")
	}
	set.graph = graphURL(c)
	return set, nil
}

// useLocal runs the app on a Microsoft of its own.
func (set *settings) useLocal(microsoft *msauthtest.Server) {
	c := &set.auth
	c.ClientID, c.ClientSecret = microsoft.ClientID, microsoft.ClientSecret
	c.Authority, c.Tenant = microsoft.URL, ""
	set.graph = microsoft.URL + "/v1.0"
	set.local = microsoft.URL
}

// announce tells what to open and what to register.
func (set *settings) announce(out io.Writer) {
	base := strings.TrimRight(set.auth.BaseURL, "/")
	open := base
	if u, err := url.Parse(base); err == nil {
		open = u.Scheme + "://" + u.Host + "/"
	}
	fmt.Fprintf(out, "OneDrive digests\n\n  Open %s\n\n", open)
	if set.local != "" {
		fmt.Fprintf(out, "Running on a local stand-in for Microsoft (%s): connect any person, no password.\n", set.local)
		fmt.Fprintln(out, "It forgets everything when this program ends: connect again after a restart.")
		fmt.Fprintln(out, "To use the real one, set AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, and register")
	} else {
		fmt.Fprintf(out, "Accounts are connected at %s. Register there\n", cmp.Or(set.auth.Authority, "https://login.microsoftonline.com"))
	}
	fmt.Fprintf(out, "this redirect URI (platform \"Web\"):\n\n  %s/callback\n\n", base)
	fmt.Fprintf(out, "Everything is kept in %s. A digest is written every %s.\n", set.database, every(set.every))
	for _, note := range set.notes {
		fmt.Fprintln(out, note)
	}
	fmt.Fprintln(out, "Ctrl-C stops the program.")
}

// keyIn reads the key in a file, which is made if there is none.
func keyIn(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, fmt.Errorf("cannot make a key: %w", err)
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the key: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("others may read the key in %s: chmod 600 it", path)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s holds no key: want 32 bytes in base64", path) // what it holds must not be shown
	}
	return key, nil
}

// makeKey makes the file complete under another name first: of several processes
// that do this at once all come to use the same key.
func makeKey(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // of mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	var key [32]byte
	rand.Read(key[:])
	_, err = fmt.Fprintln(f, base64.StdEncoding.EncodeToString(key[:]))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
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

// mayFormsGoTo are the origins beside our own at which the form that connects an
// account ends: browsers apply form-action to where a form is redirected to, and
// Microsoft passes personal accounts on to another host of its own.
func (set *settings) mayFormsGoTo() string {
	authority := strings.TrimRight(cmp.Or(set.auth.Authority, "https://login.microsoftonline.com"), "/")
	if u, err := url.Parse(authority); err == nil && isLoopback(u.Hostname()) {
		return authority
	}
	return authority + " https://login.live.com"
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && addr.IsLoopback()
}
