package main

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"example.com/msauth/example/internal/webapp"
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
//	AZURE_CLIENT_SECRET                  a client secret
//
// The app needs one of the token, the certificate and the secret. If several are
// set, the first that works is used, in this order. These are the app's own:
//
//	MSAUTH_BASE_URL  public URL of /auth, by default http://localhost:PORT/auth
//	MSAUTH_KEYS      keys that seal the stored tokens: base64, separated by commas.
//	                 By default a key is made, in a file named like DIGEST_DB plus
//	                 ".key". To change keys, put a new one first, and keep the old
//	                 one until the log says that it can be removed
//	DIGEST_DB        the database file, by default digests.db
//	DIGEST_EVERY     the time between digests, by default 1m
//	PORT             by default 8080
//
// Stored tokens belong to the registration and its address: if MSAUTH_BASE_URL,
// AZURE_CLIENT_ID, AZURE_TENANT_ID or AZURE_AUTHORITY_HOST changes, users have to
// connect their accounts again.
type settings struct {
	webapp.Settings
	database string // file
	every    time.Duration
}

func readSettings(getenv func(string) string) (*settings, error) {
	common, err := webapp.ReadSettings(getenv)
	if err != nil {
		return nil, err
	}
	set := &settings{Settings: common, database: cmp.Or(getenv("DIGEST_DB"), "digests.db")}
	if set.every, err = time.ParseDuration(cmp.Or(getenv("DIGEST_EVERY"), "1m")); err != nil || set.every < time.Second {
		return nil, fmt.Errorf("DIGEST_EVERY is %q: must be a duration of at least a second, such as 1m", getenv("DIGEST_EVERY"))
	}
	if set.Mount == "/" {
		return nil, fmt.Errorf("MSAUTH_BASE_URL is %q: must have a path, such as /auth", set.Auth.BaseURL)
	}
	if len(set.Auth.Keys) == 0 {
		path := set.database + ".key"
		key, err := readKey(path)
		if err != nil {
			return nil, err
		}
		set.Auth.Keys = [][]byte{key}
		set.Notes = append(set.Notes, "MSAUTH_KEYS is not set: the key is in "+path+". If it is lost, users must connect their accounts again.")
	}
	return set, nil
}

// announce prints the address to open and the redirect URI to register.
func (set *settings) announce(out io.Writer) {
	fmt.Fprintf(out, "OneDrive digests\n\n  Open %s\n\n", set.HomeURL())
	if set.Local != "" {
		fmt.Fprintf(out, "Running on a local stand-in for Microsoft (%s): connect any account, no password.\n", set.Local)
		fmt.Fprintln(out, "It forgets everything when this program ends: connect again after a restart.")
		fmt.Fprintf(out, "To use the real one, set AZURE_CLIENT_ID and one of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH\nand AZURE_FEDERATED_TOKEN_FILE, and register ")
	} else {
		fmt.Fprintf(out, "Accounts are connected at %s. Register there ", cmp.Or(set.Auth.Authority, "https://login.microsoftonline.com"))
	}
	fmt.Fprintf(out, "this redirect URI (platform \"Web\"):\n\n  %s/callback\n\n", set.AuthURL())
	if set.Local == "" {
		set.PrintCredentials(out)
	}
	fmt.Fprintf(out, "The database is %s. A digest is written every %s.\n", set.database, every(set.every))
	fmt.Fprintln(out, "The first user who signs up is the administrator: see People.")
	set.PrintNotes(out)
}

// readKey reads the key in a file, and makes the file if it does not exist.
func readKey(path string) ([]byte, error) {
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
		return nil, fmt.Errorf("the key in %s is readable by other users: run chmod 600", path)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("%s is not a key: must be 32 bytes in base64", path) // not its content
	}
	return key, nil
}

// makeKey makes a file with a new key. It writes the key to another file first, so
// that processes that do this at the same time all use the same key.
func makeKey(path string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".key-*") // with mode 0600
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

// formTargets returns the other origins that the form to connect an account may
// lead to, for form-action: browsers apply that to redirects too, and Microsoft
// redirects personal accounts to another host.
func (set *settings) formTargets() string {
	authority := strings.TrimRight(cmp.Or(set.Auth.Authority, "https://login.microsoftonline.com"), "/")
	if u, err := url.Parse(authority); err == nil && webapp.IsLoopback(u.Hostname()) {
		return authority
	}
	return authority + " https://login.live.com"
}
