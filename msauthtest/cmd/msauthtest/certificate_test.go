package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.com/msauth"
	"example.com/msauth/msauthtest"
)

// printed runs the command and returns the variables that it prints.
func printed(t *testing.T, args ...string) map[string]string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- run(ctx, args, in, io.Discard)
		in.Close()
	}()
	variables := map[string]string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Ctrl-C") {
		if name, value, ok := strings.Cut(strings.TrimPrefix(lines.Text(), "export "), "="); ok && strings.HasPrefix(name, "AZURE_") {
			variables[name] = strings.Trim(value, "'")
		}
	}
	cancel()
	go io.Copy(io.Discard, out)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return variables
}

func TestCertificate(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "app.pem")
	var made []byte
	for range 2 { // the file is made, then used as it is
		variables := printed(t, "-addr", "127.0.0.1:0", "-certificate", path)
		if variables["AZURE_CLIENT_CERTIFICATE_PATH"] != path || variables["AZURE_CLIENT_SECRET"] != "" {
			t.Errorf("printed %v", variables)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if made != nil && string(content) != string(made) {
			t.Error("the file has changed")
		}
		made = content
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	// The file is one that apps accept.
	block, _ := pem.Decode(made)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	ms := msauthtest.New("http://localhost:9")
	defer ms.Close()
	auth, err := msauth.New(msauth.Config{
		ClientID: ms.ClientID, Credentials: []msauth.Credential{msauth.CertificateFiles(path, path)},
		Authority: ms.URL, BaseURL: "https://app.test/auth", Keys: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if status := auth.Stats().Credentials[0]; !status.Ends.Equal(cert.NotAfter) || !status.InUse {
		t.Errorf("status %+v", status)
	}

	wrong := filepath.Join(t.TempDir(), "none", "app.pem")
	if err := run(t.Context(), []string{"-addr", "127.0.0.1:0", "-certificate", wrong}, io.Discard, io.Discard); err == nil || !strings.HasPrefix(err.Error(), "-certificate: ") {
		t.Errorf("error %v", err)
	}
}
