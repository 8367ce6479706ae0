package credentials_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

const docs = "../../docs/credentials.md"

// year is how long the certificates of these tests are valid, unless it matters.
const year = 365 * 24 * time.Hour

// A rehearsal is a site whose operator follows docs/credentials.md.
type rehearsal struct {
	*testing.T
	*testsite.Site
	dir string
}

func rehearse(t *testing.T) *rehearsal {
	return &rehearsal{t, testsite.New(t), t.TempDir()}
}

// file writes a file, in the place of an earlier one, and returns its path.
func (r *rehearsal) file(name string, content []byte) string {
	r.Helper()
	path := filepath.Join(r.dir, name)
	testsite.Replace(r.T, path, content)
	return path
}

// deploy starts the app with other credentials.
func (r *rehearsal) deploy(list ...msauth.Credential) {
	r.Helper()
	r.Site.Restart(r.T, by(list...))
}

// signIn signs a user in with a credential, and checks that the log has these
// events of credentials since the last time, and Stats.Degraded these entries.
func (r *rehearsal) signIn(using *msauthtest.Credential, events, degraded []string) {
	r.Helper()
	accepted := using.Accepted()
	r.Browser(r.T).SignIn(msauthtest.Ada)
	if using.Accepted() == accepted {
		r.Errorf("another credential was used; log:\n%s", r.Log)
	}
	var got []string
	for _, line := range regexp.MustCompile(` event=(credential_\w+)`).FindAllStringSubmatch(r.Log.String(), -1) {
		got = append(got, line[1])
	}
	if !slices.Equal(got, events) {
		r.Errorf("events %q, want %q; log:\n%s", got, events, r.Log)
	}
	if got := r.Auth.Stats().Degraded; !slices.Equal(got, degraded) {
		r.Errorf("degraded: %q, want %q", got, degraded)
	}
	r.WantNoSecrets(r.T, "the log", r.Log.String())
	r.Log.Reset()
}

// want checks what Stats.Credentials says: the one in use, and which have a
// problem.
func (r *rehearsal) want(inUse int, problems ...bool) {
	r.Helper()
	all := r.Auth.Stats().Credentials
	if len(all) != len(problems) {
		r.Fatalf("%d credentials, want %d", len(all), len(problems))
	}
	for i, status := range all {
		if status.InUse != (i == inUse) || (status.Problem != "") != problems[i] || status.Name == "" {
			r.Errorf("[%d]: %+v; in use should be [%d], with a problem %t", i, status, inUse, problems[i])
		}
	}
}

// wantNobody checks that nobody can sign in, and that the log and Ready say so.
func (r *rehearsal) wantNobody() {
	r.Helper()
	r.As(msauthtest.Ada)
	if kind := r.Browser(r.T).Get("/").Kind(); kind != "app-error" {
		r.Errorf("page %q; log:\n%s", kind, r.Log)
	}
	if len(r.Log.With(" event=app_misconfigured ")) == 0 || r.Auth.Ready(r.Context()) == nil {
		r.Errorf("Ready: %v; log:\n%s", r.Auth.Ready(r.Context()), r.Log)
	}
	r.Log.Reset()
}

var (
	none []string
	weak = []string{"credential unusable"}
)

// rehearsals are those of the sections of docs/credentials.md below "Rollovers".
var rehearsals = map[string]func(r *rehearsal){
	"From a secret to a certificate": func(r *rehearsal) {
		cert := testsite.NewCertificate(r.T, "app", year)
		path := r.file("app.pem", cert.PEM)
		r.signIn(r.MS.Secret(), none, none)
		certificate := r.MS.AddCertificate(cert.X509)
		r.deploy(msauth.CertificateFiles(path, path), msauth.Secret(r.MS.ClientSecret))
		r.signIn(certificate, none, none)
		r.want(0, false, false)
		if ends := r.Auth.Stats().Credentials[0].Ends; !ends.Equal(cert.X509.NotAfter) {
			r.Errorf("the certificate ends at %s", ends)
		}
		r.MS.Secret().Remove()
		r.signIn(certificate, none, none)
		r.deploy(msauth.CertificateFiles(path, path))
		r.signIn(certificate, none, none)
		r.want(0, false)
	},
	"From a certificate to the next": func(r *rehearsal) {
		first, second := testsite.NewCertificate(r.T, "first", 20*24*time.Hour), testsite.NewCertificate(r.T, "second", year)
		path := r.file("app.pem", first.PEM)
		old := r.MS.AddCertificate(first.X509)
		r.deploy(msauth.CertificateFiles(path, path))
		r.signIn(old, []string{"credential_ends"}, none)
		next := r.MS.AddCertificate(second.X509)
		r.file("app.pem", second.PEM)
		r.signIn(next, []string{"credential_changed"}, none)
		r.want(0, false)
		if ends := r.Auth.Stats().Credentials[0].Ends; !ends.Equal(second.X509.NotAfter) {
			r.Errorf("the certificate ends at %s", ends)
		}
		old.Remove()
		r.signIn(next, none, none)
	},
	"From a secret to the next": func(r *rehearsal) {
		path := r.file("secret", []byte(r.MS.ClientSecret+"\n"))
		r.deploy(msauth.SecretFile(path))
		r.signIn(r.MS.Secret(), none, none)
		next := r.MS.AddSecret("the-next-secret-of-the-app")
		r.file("secret", []byte("the-next-secret-of-the-app"))
		r.signIn(next, []string{"credential_changed"}, none)
		r.want(0, false)
		r.MS.Secret().Remove()
		r.signIn(next, none, none)
	},
}

func TestRollovers(t *testing.T) {
	t.Parallel()
	for name, follow := range rehearsals {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			follow(rehearse(t))
		})
	}
	text, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Rollovers\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var described []string
	for _, heading := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(section, -1) {
		described = append(described, heading[1])
	}
	slices.Sort(described)
	if want := slices.Sorted(maps.Keys(rehearsals)); !slices.Equal(described, append(want, "What can go wrong")) {
		t.Errorf("the documentation describes %q, and there are rehearsals of %q", described, want)
	}
}

// The rows of "What can go wrong".
func TestRolloversThatGoWrong(t *testing.T) {
	t.Parallel()
	// The certificate is not registered yet: the secret behind it is used, until the
	// app starts again or the secret is refused.
	t.Run("deployed before it is registered", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		cert := testsite.NewCertificate(t, "app", year)
		path := r.file("app.pem", cert.PEM)
		credentials := []msauth.Credential{msauth.CertificateFiles(path, path), msauth.Secret(r.MS.ClientSecret)}
		r.deploy(credentials...)
		alone := []string{"credential unusable", "last credential: client secret in Credentials[1]"}
		r.signIn(r.MS.Secret(), []string{"credential_refused"}, alone)
		r.want(1, true, false)
		certificate := r.MS.AddCertificate(cert.X509)
		r.signIn(r.MS.Secret(), none, alone)
		r.deploy(credentials...)
		r.signIn(certificate, none, none)
		r.want(0, false, false)
	})
	// The file is replaced too early: what it held before stays in use. A process
	// that starts then knows only what is in the file.
	t.Run("in the file before it is registered", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		first, second := testsite.NewCertificate(t, "first", year), testsite.NewCertificate(t, "second", year)
		path := r.file("app.pem", first.PEM)
		old := r.MS.AddCertificate(first.X509)
		r.deploy(msauth.CertificateFiles(path, path))
		r.signIn(old, none, none)
		r.file("app.pem", second.PEM)
		r.signIn(old, []string{"credential_changed", "credential_refused"}, weak)
		r.want(0, true)
		r.file("app.pem", first.PEM)
		r.signIn(old, []string{"credential_changed"}, none)
		r.want(0, false)
		next := r.MS.AddCertificate(second.X509)
		r.file("app.pem", second.PEM)
		r.signIn(next, []string{"credential_changed"}, none)
		r.want(0, false)
	})
	t.Run("in the file before it is registered, and a restart", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		first, second := testsite.NewCertificate(t, "first", year), testsite.NewCertificate(t, "second", year)
		path := r.file("app.pem", second.PEM)
		old := r.MS.AddCertificate(first.X509)
		r.deploy(msauth.CertificateFiles(path, path))
		r.wantNobody()
		r.file("app.pem", first.PEM)
		r.signIn(old, []string{"credential_changed"}, none)
		r.want(0, false)
	})
	t.Run("half a file", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		cert := testsite.NewCertificate(t, "app", year)
		path := r.file("app.pem", cert.PEM)
		certificate := r.MS.AddCertificate(cert.X509)
		r.deploy(msauth.CertificateFiles(path, path))
		r.signIn(certificate, none, none)
		r.file("app.pem", cert.PEM[:len(cert.PEM)-200])
		r.signIn(certificate, []string{"credential_fault"}, weak)
		r.want(0, true)
		if problem := r.Auth.Stats().Credentials[0].Problem; !strings.Contains(problem, path) {
			t.Errorf("problem %q", problem)
		}
		r.file("app.pem", cert.PEM)
		r.signIn(certificate, none, none)
		r.want(0, false)
	})
	t.Run("the old one is deleted first", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		next := r.MS.AddSecret("the-next-secret-of-the-app")
		r.deploy(msauth.Secret(r.MS.ClientSecret), msauth.Secret("the-next-secret-of-the-app"))
		r.signIn(r.MS.Secret(), none, none)
		r.MS.Secret().Remove()
		r.signIn(next, []string{"credential_refused"}, []string{"credential unusable", "last credential: client secret in Credentials[1]"})
		r.want(1, true, false)
	})
	t.Run("the only one is deleted", func(t *testing.T) {
		t.Parallel()
		r := rehearse(t)
		b := r.Browser(t)
		b.SignIn(msauthtest.Ada)
		r.MS.Secret().Remove()
		r.wantNobody()
		b.WantGreeting("hello Ada Lindqvist")
	})
	t.Run("a certificate ends", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			r := &rehearsal{t, testsite.NewInProcess(t), t.TempDir()}
			const life = 60 * 24 * time.Hour
			cert := testsite.NewCertificate(t, "app", life)
			path := r.file("app.pem", cert.PEM)
			certificate := r.MS.AddCertificate(cert.X509)
			r.deploy(msauth.CertificateFiles(path, path), msauth.Secret(r.MS.ClientSecret))
			r.signIn(certificate, none, none)
			time.Sleep(31 * 24 * time.Hour)
			for range 3 {
				r.signIn(certificate, []string{"credential_ends"}, none)
				r.signIn(certificate, none, none)
				time.Sleep(24 * time.Hour)
			}
			time.Sleep(life)
			r.signIn(r.MS.Secret(), []string{"credential_refused"}, []string{"credential unusable", "last credential: client secret in Credentials[1]"})
			r.want(1, true, false)
			// A process that starts now refuses to.
			if _, err := msauth.New(r.Cfg); err == nil || !strings.Contains(err.Error(), "Config.Credentials") || !strings.Contains(err.Error(), " ended at ") {
				t.Errorf("error %v", err)
			}
		})
	})
}
