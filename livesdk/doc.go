// Package livesdk has the tables for sites that move from the Live SDK and the
// data API of Live Connect, which ended in 2018, to Microsoft Graph. [Scopes] is for the scopes that
// a site asked for, [Path] for the paths that it called, and [ItemID] for the IDs of
// files and folders that it has stored. They compute; nothing is sent. The package
// uses the standard library only.
//
//	scopes, err := livesdk.Scopes("wl.signin wl.basic wl.skydrive_update")
//	req, err := livesdk.Path("GET", "me/skydrive/files?limit=10")
//
// What has no equivalent is an [*UnmappedError] that says why. JSON is not
// converted: the names in the bodies of requests and answers are Graph's.
//
// # Sources
//
// The scopes and paths of old are those of "Scopes and permissions", "REST
// reference" and "File and folder properties on OneDrive (REST)" of the Live SDK's
// documentation, and of the SDK itself. What they have become is said by Microsoft's
// page "Migrating from Live SDK to Microsoft Graph"; where this package differs from
// it or goes beyond it, the comments say so. Nothing has been tried at the real
// Microsoft, and that API no longer answers.
//
// # Identifiers
//
// The page says both that identifiers of Live Connect cannot be used with Graph,
// and that the item folder.a6b2a7e8f2515e5e.A6B2A7E8F2515E5E!110 is
// me/drive/items/A6B2A7E8F2515E5E!110 there. [ItemID] and [Path] follow the
// example. Take the result for an attempt: if Graph answers 404, look the item up by
// its path or name. Personal OneDrives have been moved to another storage since, and
// there IDs such as A6B2A7E8F2515E5E!s and 32 hexadecimal digits have been seen
// (issue 1890 of OneDrive/onedrive-api-docs, 2025). Nobody has published whether the
// old IDs still work for those.
//
// The IDs of contacts, calendars and events cannot be converted, and nor can the
// user ID of the authentication token, which was a different one for each app. On
// the ID in "me", docs/live-sdk.md says what is known.
package livesdk

import (
	"fmt"
	"strings"
)

// An UnmappedError is about a scope or path that has no equivalent, or that was
// never one of Live Connect.
type UnmappedError struct {
	// Name is the scope, or the method and path without the query: in a query there
	// could be an access token. It is at most 200 bytes long, in one line.
	Name string

	// Reason says why, and what there is instead.
	Reason string
}

func (e *UnmappedError) Error() string {
	return fmt.Sprintf("livesdk: %q: %s", e.Name, e.Reason)
}

// unmapped returns an error about a name that may have come from anywhere.
func unmapped(name, reason string) *UnmappedError {
	name = strings.ToValidUTF8(name, "?")
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, name)
	if len(name) > 200 {
		name = strings.ToValidUTF8(name[:197], "") + "..."
	}
	return &UnmappedError{Name: name, Reason: reason}
}
