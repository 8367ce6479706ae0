// Package material makes the files that the recipes mount: keys, the users of Redis,
// and for trying a site out a certificate that no authority has signed.
package material

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Files in the directory.
const (
	// Keys is in a directory of its own. A container must have that mounted, and not
	// the file, to see when another file takes its place.
	Keys          = "keys/keys"
	RedisPassword = "redis-password" // of the user msauth
	RedisUsers    = "redis-users.acl"
	ClientSecret  = "client-secret" // of the app registration; Write makes a random one
	CA            = "ca.pem"        // what browsers have to trust
	Certificate   = "site.pem"
	PrivateKey    = "site-key.pem"
)

// caName is the name of the authority, by which its certificates are told from others.
const caName = "msauth deploy: for trying out"

const week = 7 * 24 * time.Hour

// commands is what redisshared needs, with the prefix msauth: see its package
// documentation.
const commands = "resetkeys ~msauth:* resetchannels &msauth:changed -@all" +
	" +evalsha +eval +get +set +del +xadd +xread +xrevrange +xtrim +dump +restore" +
	" +pexpire +publish +subscribe +unsubscribe +ping"

// Write writes the files that are missing in a directory, which it makes. The
// certificate is for the names and addresses in hosts.
//
// Only the user can enter the directory. Each file by itself can be read by
// everybody: in a container, where a file is mounted without its directory, the
// program runs as another user.
//
// A certificate of this package is replaced in its last week, one from elsewhere never.
func Write(dir string, hosts ...string) (written []string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	keys := filepath.Join(dir, filepath.Dir(Keys))
	if err := os.MkdirAll(keys, 0o755); err != nil {
		return nil, err
	}
	if err := os.Chmod(keys, 0o755); err != nil { // whatever the umask is
		return nil, err
	}
	d := directory{path: dir}
	d.one(Keys, func() string {
		return "# added " + time.Now().UTC().Format(time.RFC3339) + "\n" + randomKey() + "\n"
	})
	d.one(ClientSecret, func() string { return rand.Text() + "\n" })
	d.pair(RedisPassword, RedisUsers, func() (string, string, error) {
		password := rand.Text()
		sum := sha256.Sum256([]byte(password))
		return password + "\n", "user default off\nuser msauth on #" + hex.EncodeToString(sum[:]) + " " + commands + "\n", nil
	})
	d.certificate(hosts)
	return d.written, d.err
}

type directory struct {
	path    string
	written []string
	err     error
}

func (d *directory) has(name string) bool {
	_, err := os.Stat(filepath.Join(d.path, name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.err = errors.Join(d.err, err)
	}
	return err == nil
}

func (d *directory) remove(name string) {
	if err := os.Remove(filepath.Join(d.path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.err = errors.Join(d.err, err)
	}
}

// write writes a file whole or not at all.
func (d *directory) write(name, text string) {
	if d.err != nil {
		return
	}
	path := filepath.Join(d.path, name)
	if d.err = os.WriteFile(path+".new", []byte(text), 0o644); d.err == nil {
		d.err = os.Chmod(path+".new", 0o644) // whatever the umask is
	}
	if d.err == nil {
		d.err = os.Rename(path+".new", path)
	}
	d.written = append(d.written, name)
}

func (d *directory) one(name string, text func() string) {
	if !d.has(name) {
		d.write(name, text())
	}
}

// pair is for two files that belong together. The second one says that both are there.
func (d *directory) pair(first, second string, texts func() (string, string, error)) {
	if d.has(first) && d.has(second) {
		return
	}
	a, b, err := texts()
	d.err = errors.Join(d.err, err)
	d.remove(second)
	d.write(first, a)
	d.write(second, b)
}

// certificate makes the certificate and what belongs to it, unless all of it is there and
// good for some days. A certificate that somebody else has signed is not touched, nor its
// key.
func (d *directory) certificate(hosts []string) {
	if d.has(Certificate) {
		text, err := os.ReadFile(filepath.Join(d.path, Certificate))
		if err != nil {
			d.err = errors.Join(d.err, err)
			return
		}
		switch until, ours := readCertificate(text); {
		case !ours && !d.has(PrivateKey):
			d.err = errors.Join(d.err, fmt.Errorf("%s is not a certificate of this command, and there is no %s: put its key there, or remove it", Certificate, PrivateKey))
			return
		case !ours, d.has(CA) && d.has(PrivateKey) && time.Until(until) > week:
			return
		}
	} else if d.has(PrivateKey) && !d.has(CA) {
		d.err = errors.Join(d.err, fmt.Errorf("there is a %s, and no %s: put the certificate there, or remove the key", PrivateKey, Certificate))
		return
	}
	ca, certificate, key, err := newCertificate(hosts)
	if err != nil {
		d.err = errors.Join(d.err, err)
		return
	}
	// The key of the authority is gone, so there is a new authority too. What is there
	// without its certificate is not taken for somebody else's after an interruption.
	d.write(CA, ca)
	d.remove(Certificate)
	d.write(PrivateKey, key)
	d.write(Certificate, certificate)
}

// readCertificate returns until when a certificate is good, and whether it is one of
// newCertificate's.
func readCertificate(text []byte) (until time.Time, ours bool) {
	block, _ := pem.Decode(text)
	if block == nil {
		return time.Time{}, false
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, false
	}
	return c.NotAfter, c.Issuer.CommonName == caName
}

func randomKey() string {
	key := make([]byte, 32)
	rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// newCertificate makes an authority and a certificate of it, both for 90 days. The
// authority can sign for hosts only, and its key is forgotten: to trust it is to
// trust this certificate.
func newCertificate(hosts []string) (caPEM, certificatePEM, keyPEM string, err error) {
	now := time.Now()
	template := func(name string) *x509.Certificate {
		serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
		return &x509.Certificate{
			SerialNumber: serial, Subject: pkix.Name{CommonName: name},
			NotBefore: now.Add(-time.Hour), NotAfter: now.Add(90 * 24 * time.Hour), BasicConstraintsValid: true,
		}
	}
	ca, leaf := template(caName), template("msauth deploy")
	ca.IsCA, ca.MaxPathLenZero, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	ca.PermittedDNSDomainsCritical = true
	leaf.KeyUsage, leaf.ExtKeyUsage = x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
			bits := len(ip) * 8
			if four := ip.To4(); four != nil {
				ip, bits = four, 32
			}
			ca.PermittedIPRanges = append(ca.PermittedIPRanges, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, host)
		ca.PermittedDNSDomains = append(ca.PermittedDNSDomains, host)
	}
	if len(hosts) == 0 {
		return "", "", "", errors.New("no host to make a certificate for")
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", "", err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", "", err
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return "", "", "", err
	}
	parent, err := x509.ParseCertificate(caDER)
	if err != nil {
		return "", "", "", err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &key.PublicKey, caKey)
	if err != nil {
		return "", "", "", fmt.Errorf("a certificate for %q: %w", hosts, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", "", err
	}
	text := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return text("CERTIFICATE", caDER), text("CERTIFICATE", der), text("PRIVATE KEY", keyDER), nil
}
