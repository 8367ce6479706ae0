package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"example.com/msauth"
	"example.com/msauth/internal/credential"
	"example.com/msauth/internal/provider"
	"example.com/msauth/internal/reload"
)

// A Credential is one way in which the app proves itself.
type Credential struct {
	// Name says which one it is, by the variable it comes from.
	Name string
	// Source gives it.
	Source credential.Source
	// SecretID means that it looks like the ID of a client secret.
	SecretID bool
}

// soon is how long before its end a certificate is a finding.
const soon = 30 * 24 * time.Hour

// readCredentials opens every credential.
func (r *reader) readCredentials() {
	microsoft := r.set.Provider == nil || r.set.Provider.Kind != provider.OtherProvider
	chain := false
	switch value := r.getenv("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN"); strings.ToLower(value) {
	case "1", "true":
		chain = true
	case "", "0", "false":
	default:
		r.found.Found("setting-invalid", fmt.Sprintf("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN is %q: must be 1, true, 0 or false.", short(value)))
	}
	named := 0
	add := func(name, value string, public msauth.Credential, open func() (credential.Source, error)) {
		if value == "" {
			return
		}
		named++
		if name != "AZURE_CLIENT_SECRET" && !isPath(value) {
			r.found.Hide(value)
			r.found.Found("credential-unusable", name+" is not the path of a file: it names one, and does not hold what is in it.")
			return
		}
		source, err := open()
		if err == nil {
			err = r.usable(public)
		}
		if err != nil {
			r.found.Found("credential-unusable", name+": "+strings.TrimPrefix(err.Error(), "msauth: Config.Credentials[0] "))
			return
		}
		r.endsSoon(name, source)
		r.set.Credentials = append(r.set.Credentials, Credential{Name: name, Source: source})
		r.set.Config.Credentials = append(r.set.Config.Credentials, public)
	}

	token := r.getenv("AZURE_FEDERATED_TOKEN_FILE")
	r.hideFile(token)
	add("AZURE_FEDERATED_TOKEN_FILE", token, msauth.FederatedTokenFile(token), func() (credential.Source, error) { return credential.TokenFile(token) })

	certificate := r.getenv("AZURE_CLIENT_CERTIFICATE_PATH")
	public := msauth.CertificateFiles(certificate, certificate)
	if chain {
		public = public.WithChain()
	}
	add("AZURE_CLIENT_CERTIFICATE_PATH", certificate, public, func() (credential.Source, error) {
		return credential.CertificateFiles(certificate, certificate, credential.Options{Microsoft: microsoft, Chain: chain})
	})

	file := r.getenv(secretFile)
	inFile := r.hideFile(file)
	add(secretFile, file, msauth.SecretFile(file), func() (credential.Source, error) { return credential.SecretFile(file) })

	secret := r.getenv("AZURE_CLIENT_SECRET")
	add("AZURE_CLIENT_SECRET", secret, msauth.Secret(secret), func() (credential.Source, error) {
		c, err := credential.NewSecret(secret, "client secret in AZURE_CLIENT_SECRET")
		return credential.Fixed(c), err
	})
	for i, one := range r.set.Credentials {
		value := ""
		switch one.Name {
		case "AZURE_CLIENT_SECRET":
			value = secret
		case secretFile:
			value = inFile
		}
		r.set.Credentials[i].SecretID = provider.GUIDForm.MatchString(strings.TrimSpace(value))
	}
	if named == 0 && r.set.Config.ClientID != "" {
		r.found.Found("credential-missing", "None of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH and AZURE_FEDERATED_TOKEN_FILE is set.")
	}
}

// usable returns why msauth.New refuses a credential.
func (r *reader) usable(one msauth.Credential) error {
	c := good()
	c.ClientSecret, c.Credentials = "", []msauth.Credential{one}
	if p := r.set.Provider; p != nil {
		c.Authority, c.Tenant, c.Issuer, c.MicrosoftIssuer = r.set.Config.Authority, r.set.Config.Tenant, p.Issuer, p.Published
	}
	_, err := msauth.New(c)
	return err
}

// isPath reports whether a value can be shown as the path of a file. Another one may be
// a secret in the wrong place.
func isPath(value string) bool {
	if _, err := os.Stat(value); err == nil {
		return true
	}
	return len(value) < 1000 && !strings.ContainsAny(value, "\r\n~=") && (filepath.IsAbs(value) || strings.HasPrefix(value, ".") || len(filepath.Ext(value)) > 1 && len(filepath.Ext(value)) <= 5)
}

// hideFile keeps the content of a file out of the report, and returns it. What is no
// regular file is not opened: that may wait for ever, or have no end.
func (r *reader) hideFile(path string) string {
	info, err := os.Stat(path)
	if path == "" || err != nil || !info.Mode().IsRegular() || info.Size() > reload.MaxSize {
		return ""
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	r.found.Hide(string(text))
	return string(text)
}

// endsSoon reports a credential that somebody must replace within the next weeks.
func (r *reader) endsSoon(name string, source credential.Source) {
	c, _, _ := source.Look()
	if _, until := c.Valid(); c.Expires() && !until.IsZero() && time.Until(until) < soon {
		r.found.Found("credential-ends-soon", fmt.Sprintf("%s: the %s ends at %s.", name, c.Name(), until.UTC().Format(time.RFC3339)))
	}
}
