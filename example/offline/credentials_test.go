package main

import (
	"path/filepath"
	"testing"
	"time"

	"example.com/msauth/msauthtest"
	"example.com/msauth/tests/testsite"
)

// The worker goes on with the next certificate, once it is in the file.
func TestTheCertificateIsReplacedWhileTheWorkerRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	path := filepath.Join(t.TempDir(), "app.pem")
	first, second := testsite.NewCertificate(t, "first", time.Hour), testsite.NewCertificate(t, "second", time.Hour)
	testsite.Replace(t, path, first.PEM)
	delete(s.env, "AZURE_CLIENT_SECRET")
	s.env["AZURE_CLIENT_CERTIFICATE_PATH"] = path
	s.restart()
	old := s.ms.AddCertificate(first.X509)

	const lifetime = 1 * time.Second // each run has to renew
	s.lifetime(lifetime)
	s.connected("zoe", msauthtest.Ada)
	renewed := func(want *msauthtest.Credential) {
		t.Helper()
		time.Sleep(lifetime)
		before := want.Accepted()
		s.wantRun(run{Users: 1, Written: 1})
		if want.Accepted() == before {
			t.Errorf("the credential was not used; log:\n%s", s.log)
		}
	}
	renewed(old)
	next := s.ms.AddCertificate(second.X509)
	testsite.Replace(t, path, second.PEM)
	renewed(next)
	old.Remove()
	renewed(next)
	if n := s.ms.Secret().Accepted(); n != 0 {
		t.Errorf("%d requests with the client secret", n)
	}
}
