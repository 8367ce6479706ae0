package web

import (
	"net/netip"
	"strings"
)

// IsLoopback reports whether a host name can only mean this machine
// (RFC 6761 section 6.3 for names below localhost).
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

func IsASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= 0x80 }) < 0
}
