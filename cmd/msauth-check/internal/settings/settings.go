package settings

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"example.com/msauth"
	"example.com/msauth/cmd/msauth-check/internal/report"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/web"
)

// Settings are what is checked.
type Settings struct {
	// Config is that of an app with these settings. What was found wrong is missing.
	Config msauth.Config
	// Base is BaseURL; nil if that is wrong.
	Base *url.URL
	// SignedOut is where people land after signing out.
	SignedOut string
	// Provider is what is asked; nil if the settings do not say whom to ask.
	Provider *provider.Settings
	// ClientID is as provider tokens have it; "" if it is wrong.
	ClientID string
	// Scopes are those of a sign-in; nil if they are wrong.
	Scopes []string
	// Credentials prove that the app is itself: those that can be used.
	Credentials []Credential
}

// Page is the URL of a page below BaseURL, letter by letter as the app has it: with
// Base's String, other letters than ASCII would change.
func (s *Settings) Page(name string) string {
	return strings.TrimRight(s.Config.BaseURL, "/") + "/" + name
}

const defaultAuthority = "https://login.microsoftonline.com"

// Read reads and judges the settings. What is wrong goes into the report.
func Read(getenv func(string) string, found *report.Report) *Settings {
	if secret := getenv("AZURE_CLIENT_SECRET"); secret != getenv("AZURE_CLIENT_ID") || !provider.GUIDForm.MatchString(secret) {
		found.Hide(secret) // the client ID is no secret, in whatever place
	}
	found.Hide(getenv("MSAUTH_KEYS"))
	r := reader{getenv: getenv, found: found}
	r.hideMisplaced()
	r.subject()
	r.readProxies()
	r.readProvider()
	r.readClientID()
	r.readBaseURL()
	r.readScopes()
	r.readKeys()
	r.readCredentials()
	r.whole()
	found.Checked("settings")
	return &r.set
}

type reader struct {
	getenv func(string) string
	found  *report.Report
	set    Settings
}

// webURL is what is meant as a URL, whatever is wrong with it. Its parts are what may be
// secret: a user name with a password, and a query.
var webURL = regexp.MustCompile(`^\s*https?://(?:(.*)@)?[^?#]*(.*)$`)

// hostName is a host without a scheme or with one that is misspelt, perhaps with a port or
// a path: a common mistake, and worth showing. No secret has this form.
var hostName = regexp.MustCompile(`^\s*(?:[a-z]{3,6}[:;]?/{0,3})?(?:localhost|[a-z0-9-]{1,30}(?:\.[a-z0-9-]{1,30}){1,4})(:[0-9]{1,5})?(/[a-z0-9/.-]{0,60})?\s*$`)

// hideMisplaced hides what is not what its variable should hold: it may be a secret in
// the wrong place. It hides passwords in URLs, too.
func (r *reader) hideMisplaced() {
	tenant := r.getenv("AZURE_TENANT_ID")
	if !slices.Contains([]string{"common", "organizations", "consumers"}, tenant) && !provider.GUIDForm.MatchString(tenant) && !provider.DomainForm.MatchString(tenant) {
		r.found.Hide(tenant)
	}
	for _, name := range []string{"AZURE_AUTHORITY_HOST", "MSAUTH_ISSUER", "MSAUTH_BASE_URL", microsoftIssuer, postLogoutURL} {
		value := r.getenv(name)
		u, err := url.Parse(value)
		if (err != nil || u.Host == "") && webURL.MatchString(value) {
			r.found.Hide(webURL.FindStringSubmatch(value)[1:]...)
		} else if (err != nil || u.Host == "") && !hostName.MatchString(value) {
			r.found.Hide(value)
		} else if password, ok := u.User.Password(); ok {
			r.found.Hide(password)
		}
	}
}

// readProxies keeps the passwords of proxies out of the report. What is no URL is a
// finding: package net/http says nothing, and does without the proxy.
func (r *reader) readProxies() {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"} {
		value := r.getenv(name)
		u, err := url.Parse(value)
		if err != nil || u.Host == "" {
			u, err = url.Parse("http://" + value) // as net/http reads it
		}
		if err != nil {
			r.found.Hide(value)
			r.found.Found("setting-invalid", name+" is not a URL, so that no proxy is used: letters such as @, / and % in a password have to be written as %40, %2F and %25.")
		} else if password, ok := u.User.Password(); ok {
			r.found.Hide(password)
		}
	}
}

// subject tells the report what remedies are about.
func (r *reader) subject() {
	base := strings.TrimRight(r.baseURL(), "/")
	id := r.getenv("AZURE_CLIENT_ID")
	if r.microsoft() && !provider.GUIDForm.MatchString(id) {
		id = "" // it may be anything
	}
	s := report.Subject{
		ClientID: id, Tenant: r.getenv("AZURE_TENANT_ID"),
		BaseURL: base, SignedOut: cmp.Or(r.getenv(postLogoutURL), base+"/signed-out"), Graph: "https://graph.microsoft.com",
	}
	if at, err := url.Parse(cmp.Or(r.getenv("AZURE_AUTHORITY_HOST"), r.getenv("MSAUTH_ISSUER"))); err == nil {
		s.Local = web.IsLoopback(at.Hostname())
	}
	if r.getenv(secretFile) != "" {
		s.Secret = "the file that " + secretFile + " names"
		if r.getenv("AZURE_CLIENT_SECRET") != "" {
			s.Secret += " (or into AZURE_CLIENT_SECRET, if the message names that)"
		}
	}
	if graph := provider.GraphURL(strings.TrimRight(r.getenv("AZURE_AUTHORITY_HOST"), "/")); graph != "" {
		s.Graph = strings.TrimSuffix(graph, "/v1.0")
	}
	r.found.About(s)
}

// good is a configuration that nothing is wrong with. One setting after the other is
// put into it, so that the first that is wrong does not hide the next.
func good() msauth.Config {
	key := make([]byte, 32)
	rand.Read(key)
	return msauth.Config{
		ClientID: "00000000-0000-4000-8000-000000000000", ClientSecret: "none",
		BaseURL: "https://app.example.com/auth", Keys: [][]byte{key},
		Logger: slog.New(slog.DiscardHandler),
	}
}

// judge reports what msauth.New says of a configuration in which only one setting may be
// wrong.
func (r *reader) judge(id, variable string, c msauth.Config) bool {
	_, err := msauth.New(c)
	if err != nil {
		r.found.Found(id, variable+": "+strings.TrimPrefix(err.Error(), "msauth: "))
	}
	return err == nil
}

func (r *reader) readProvider() {
	c := good()
	c.Tenant, c.Authority = r.getenv("AZURE_TENANT_ID"), r.getenv("AZURE_AUTHORITY_HOST")
	c.Issuer, c.MicrosoftIssuer = r.getenv("MSAUTH_ISSUER"), r.getenv(microsoftIssuer)
	if !r.judge("provider-invalid", "AZURE_TENANT_ID, AZURE_AUTHORITY_HOST, MSAUTH_ISSUER", c) {
		return
	}
	to := &r.set.Config
	to.Tenant, to.Authority, to.Issuer, to.MicrosoftIssuer = c.Tenant, c.Authority, c.Issuer, c.MicrosoftIssuer
	p := provider.Settings{Issuer: c.Issuer, Published: c.MicrosoftIssuer}
	if c.Issuer == "" {
		p.Origin, p.Tenant = strings.ToLower(strings.TrimRight(cmp.Or(c.Authority, defaultAuthority), "/")), strings.ToLower(cmp.Or(c.Tenant, "common"))
	}
	p.Kind = provider.KindOf(p.Origin, p.Issuer, p.Published)
	if p.Kind == provider.LiveConnect {
		p.Tenant = ""
	}
	r.set.Provider = &p
}

func (r *reader) microsoft() bool {
	return provider.KindOf(r.getenv("AZURE_AUTHORITY_HOST"), r.getenv("MSAUTH_ISSUER"), r.getenv(microsoftIssuer)) == provider.Entra
}

func (r *reader) readClientID() {
	id := r.getenv("AZURE_CLIENT_ID")
	c := good()
	c.ClientID = id
	switch {
	case id == "":
		r.found.Found("client-id-missing", "AZURE_CLIENT_ID is not set.")
		return
	case r.microsoft() && strings.EqualFold(id, r.getenv("AZURE_TENANT_ID")):
		r.found.Found("client-id-is-tenant", "AZURE_CLIENT_ID and AZURE_TENANT_ID are the same: "+id+".")
		return
	case r.microsoft() && provider.GUIDForm.MatchString(strings.Trim(id, marks)) && strings.Trim(id, marks) != id:
		r.found.Found("client-id-invalid", "AZURE_CLIENT_ID has a space or a quotation mark before or after the GUID.")
		return
	case r.microsoft() && !provider.GUIDForm.MatchString(id) && provider.GUIDForm.MatchString(strings.TrimSpace(r.secret())):
		r.found.Hide(id)
		r.found.Found("client-id-and-secret-swapped", "AZURE_CLIENT_ID is not a GUID, and the client secret is one.")
		return
	case r.microsoft() && !provider.GUIDForm.MatchString(id): // it may be a secret
		r.found.Found("client-id-invalid", fmt.Sprintf("AZURE_CLIENT_ID is not a GUID: it is a text of %d characters.", utf8.RuneCountInString(id)))
		return
	case !r.judge("client-id-invalid", "AZURE_CLIENT_ID", c):
		return
	}
	r.set.Config.ClientID, r.set.ClientID = id, id
	if r.microsoft() {
		r.set.ClientID = strings.ToLower(id)
	}
}

// marks are what may be around a value by mistake.
const marks = " \t\r\n\"'"

// secret is the client secret, from wherever it comes.
func (r *reader) secret() string {
	return cmp.Or(r.getenv("AZURE_CLIENT_SECRET"), r.hideFile(r.getenv(secretFile)))
}

// short is a value that is in the wrong place, for a message. A long one may be a secret:
// none of its characters are shown.
func short(value string) string {
	if n := utf8.RuneCountInString(value); n > 8 {
		return fmt.Sprintf("a text of %d characters", n)
	}
	return strconv.Quote(value)
}

func (r *reader) baseURL() string {
	return cmp.Or(r.getenv("MSAUTH_BASE_URL"), "http://localhost:"+cmp.Or(r.getenv("PORT"), "8080")+"/auth")
}

func (r *reader) readBaseURL() {
	if port := r.getenv("PORT"); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			r.found.Found("setting-invalid", fmt.Sprintf("PORT is %s: must be a number from 1 to 65535.", short(port)))
			if r.getenv("MSAUTH_BASE_URL") == "" {
				return
			}
		}
	}
	c := good()
	c.BaseURL, c.PostLogoutURL = r.baseURL(), r.getenv(postLogoutURL)
	if !r.judge("base-url-invalid", "MSAUTH_BASE_URL", c) {
		return
	}
	base, err := url.Parse(strings.TrimRight(c.BaseURL, "/"))
	if err != nil {
		return // New has refused it
	}
	if strings.HasSuffix(base.Path, "/callback") {
		r.found.Found("base-url-invalid", "MSAUTH_BASE_URL ends in /callback, as the redirect URI does, so that the redirect URI would end in /callback/callback.")
		return
	}
	r.set.Config.BaseURL, r.set.Config.PostLogoutURL = c.BaseURL, c.PostLogoutURL
	r.set.Base, r.set.SignedOut = base, cmp.Or(c.PostLogoutURL, r.set.Page("signed-out"))
}

func (r *reader) readScopes() {
	scopes := strings.FieldsFunc(r.getenv("MSAUTH_SCOPES"), func(c rune) bool { return c == ',' || c == ' ' })
	p := r.set.Provider
	if len(scopes) == 0 && r.getenv("MSAUTH_ISSUER") == "" && (p == nil || p.Kind != provider.LiveConnect) {
		scopes = []string{"User.Read", "Files.Read"} // as the example
	}
	c := good()
	if p != nil {
		c.Authority, c.Tenant, c.Issuer, c.MicrosoftIssuer = r.set.Config.Authority, r.set.Config.Tenant, p.Issuer, p.Published
	}
	c.Scopes = scopes
	if !r.judge("scopes-invalid", "MSAUTH_SCOPES", c) {
		return
	}
	r.set.Config.Scopes = scopes
	r.set.Scopes = append([]string{}, provider.SignInScopes...)
	for _, s := range scopes {
		r.set.Scopes = append(r.set.Scopes, provider.Scopes{}.Missing(strings.Join(r.set.Scopes, " "), []string{s})...)
	}
}

func (r *reader) readKeys() {
	var keys [][]byte
	standard := strings.NewReplacer("-", "+", "_", "/", "=", "")
	for i, text := range strings.Split(r.getenv("MSAUTH_KEYS"), ",") {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		r.found.Hide(text)
		key, err := base64.RawStdEncoding.DecodeString(standard.Replace(text))
		if err != nil {
			r.found.Found("keys-invalid", fmt.Sprintf("MSAUTH_KEYS: entry %d is not base64.", i+1))
			return
		}
		keys = append(keys, key)
	}
	var files []string // split as the examples split them: a name may have spaces
	for file := range strings.SplitSeq(r.getenv(keyFiles), ",") {
		if file = strings.TrimSpace(file); file != "" {
			files = append(files, file)
		}
	}
	if len(keys) == 0 && len(files) == 0 {
		if r.set.Base != nil && r.set.Base.Scheme == "https" {
			r.found.Found("keys-missing", "MSAUTH_KEYS and MSAUTH_KEY_FILES are not set.")
		}
		return
	}
	for _, file := range files {
		if isPath(file) && r.fileFault(keyFiles, file) {
			return
		}
	}
	c := good()
	c.Keys, c.KeyFiles = keys, files
	if r.judge("keys-invalid", "MSAUTH_KEYS, MSAUTH_KEY_FILES", c) {
		r.set.Config.Keys, r.set.Config.KeyFiles = keys, files
	}
}

// whole judges the settings together, if nothing is wrong with each.
func (r *reader) whole() {
	c := r.set.Config
	if c.ClientID == "" || c.BaseURL == "" || r.set.Provider == nil || r.set.Scopes == nil || len(r.set.Credentials) == 0 {
		return
	}
	if c.Logger = slog.New(slog.DiscardHandler); len(c.Keys) == 0 && len(c.KeyFiles) == 0 {
		c.Keys = good().Keys
	}
	r.judge("setting-invalid", "the settings together", c)
}
