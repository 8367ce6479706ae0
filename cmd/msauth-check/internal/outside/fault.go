package outside

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"syscall"
	"time"

	"example.com/msauth/internal/web"
)

// A fault is why a host could not be reached.
type fault int

const (
	noFault fault = iota // it could, and something else is wrong
	unresolved
	unreachable
	silent
	proxyFailed
	untrusted
	tlsFailed
)

// faultOf tells which fault an error of a client is, and describes it in a sentence.
func faultOf(err error, where string) (fault, string) {
	trip, traced := errors.AsType[*tripError](err)
	dns, isDNS := errors.AsType[*net.DNSError](err)
	verification, isVerification := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isVerification:
		return certificateFault(verification, where)
	case traced && trip.proxy != "" && trip.at < handshaking:
		return proxyFailed, fmt.Sprintf("The proxy %s does not connect to %s: %s.", trip.proxy, where, reason(err))
	case isDNS && dns.IsTimeout, isDNS && dns.IsTemporary && !dns.IsNotFound:
		return unresolved, fmt.Sprintf("The DNS server does not answer for the name %s.", dns.Name)
	case isDNS:
		return unresolved, fmt.Sprintf("There is no host of the name %s.", dns.Name)
	case isTimeout(err) && traced:
		doing := map[phase]string{
			resolving: "its name was not resolved", connecting: "no connection was made", handshaking: "the TLS handshake was not finished",
		}[trip.at]
		if doing == "" {
			doing = "no answer came"
		}
		return silent, fmt.Sprintf("%s: %s in time.", where, doing)
	case isTimeout(err):
		return silent, fmt.Sprintf("%s: the answer was not complete in time.", where)
	case traced && trip.at == handshaking && hungUp(err): // as firewalls do that look at the name
		return unreachable, fmt.Sprintf("%s closes connections in the TLS handshake: %s.", where, reason(err))
	case traced && trip.at == handshaking:
		return tlsFailed, fmt.Sprintf("The TLS handshake with %s fails: %s.", where, reason(err))
	case traced && trip.at == waiting:
		if !hungUp(err) {
			return unreachable, fmt.Sprintf("%s accepts connections, and gives no answer of HTTP: %s.", where, reason(err))
		}
		return unreachable, fmt.Sprintf("%s closes connections without an answer: %s.", where, reason(err))
	case traced:
		return unreachable, fmt.Sprintf("No connection to %s: %s.", where, reason(err))
	case hungUp(err):
		return unreachable, fmt.Sprintf("%s closes connections in the middle of an answer: %s.", where, reason(err))
	}
	return noFault, ""
}

// hungUp reports whether the other side has closed the connection.
func hungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func isTimeout(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || os.IsTimeout(err)
}

// reason is the text of the innermost error that says something.
func reason(err error) string {
	if trip, ok := errors.AsType[*tripError](err); ok {
		err = trip.error
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return web.OneLine(err.Error(), 300)
}

// certificateFault describes a certificate that was refused, and who has issued it.
func certificateFault(err *tls.CertificateVerificationError, where string) (fault, string) {
	shown := "a certificate"
	if len(err.UnverifiedCertificates) > 0 {
		c := err.UnverifiedCertificates[0]
		shown = fmt.Sprintf("a certificate for %q, issued by %q, valid from %s until %s", web.OneLine(c.Subject.String(), 200), web.OneLine(c.Issuer.String(), 200),
			c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
	}
	text := fmt.Sprintf("%s shows %s: %s.", where, shown, web.OneLine(err.Err.Error(), 300))
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err.Err); unknown {
		return untrusted, text
	}
	return tlsFailed, text
}

// A namer gives the ID of a finding for each fault.
type namer map[fault]string

var providerFaults = namer{
	unresolved: "host-unresolved", unreachable: "host-unreachable", silent: "host-silent",
	proxyFailed: "proxy-failed", untrusted: "tls-untrusted", tlsFailed: "tls-failed",
}

var siteFaults = namer{
	unresolved: "site-unresolved", unreachable: "site-unreachable", silent: "site-silent",
	proxyFailed: "site-unreachable", untrusted: "site-tls", tlsFailed: "site-tls",
}
