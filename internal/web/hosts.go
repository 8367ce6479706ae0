package web

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
)

// IsLoopback reports whether a host name or address, without port and brackets,
// can only mean this machine. That includes names below localhost (RFC 6761
// section 6.3).
func IsLoopback(host string) bool {
	if !IsASCII(host) {
		return false
	}
	host = strings.ToLower(host)
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// IsASCII reports whether s has ASCII characters only. A host with others is
// looked up under another name than it is written with.
func IsASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}

// HostPort returns the host of a URL in the form in which hosts are compared: lower
// case, with the port. A dot at the end is kept, so that such a name equals no
// other.
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}
