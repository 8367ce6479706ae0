package web

import (
	"net/netip"
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
