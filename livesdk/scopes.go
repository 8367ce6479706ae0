package livesdk

import (
	"errors"
	"slices"
	"strings"
)

// A scopeRow is a scope of Live Connect, with what it is today or why it is
// nothing.
type scopeRow struct {
	wl    string
	today []string
	why   string
}

var scopeTable = []scopeRow{
	// Core scopes.
	{wl: "wl.basic", today: []string{"User.Read", "Contacts.Read"}},
	{wl: "wl.offline_access", today: []string{"offline_access"}},
	{wl: "wl.signin", today: []string{"openid", "profile"}},

	// Extended scopes.
	{wl: "wl.birthday", today: []string{"User.Read"}},
	{wl: "wl.calendars", today: []string{"Calendars.Read"}},
	{wl: "wl.calendars_update", today: []string{"Calendars.ReadWrite"}},
	{wl: "wl.contacts_birthday", today: []string{"User.Read", "Contacts.Read"}}, // that of the user too
	{wl: "wl.contacts_create", today: []string{"Contacts.ReadWrite"}},
	{wl: "wl.contacts_calendars", today: []string{"Calendars.Read.Shared"}},
	{wl: "wl.contacts_photos", today: []string{"Files.Read.All"}},   // photos that others share, not those of contacts
	{wl: "wl.contacts_skydrive", today: []string{"Files.Read.All"}}, // it did not let apps write
	{wl: "wl.emails", today: []string{"email", "User.Read"}},        // addresses, not mail
	{wl: "wl.events_create", today: []string{"Calendars.ReadWrite"}},
	{wl: "wl.messenger", why: "Messenger has ended"},
	{wl: "wl.phone_numbers", today: []string{"User.Read"}},
	{wl: "wl.photos", today: []string{"Files.Read"}},
	{wl: "wl.postal_addresses", today: []string{"User.Read"}},
	{wl: "wl.share", why: "status messages have ended"},
	{wl: "wl.skydrive", today: []string{"Files.Read"}},
	{wl: "wl.skydrive_update", today: []string{"Files.ReadWrite"}},
	{wl: "wl.work_profile", today: []string{"User.Read"}},

	// Developer scopes.
	{wl: "wl.applications", why: "apps are registered in the Entra admin center"},
	{wl: "wl.applications_create", why: "apps are registered in the Entra admin center"},

	// Not on the Live SDK's page of scopes: the first is Microsoft's spelling on the
	// page about migrating, the last is on it, and apps use the others.
	{wl: "wl.contacts_calendar", today: []string{"Calendars.Read.Shared"}},
	{wl: "wl.contacts_emails", today: []string{"Contacts.Read"}},
	{wl: "wl.contacts_phone_numbers", today: []string{"Contacts.Read"}},
	{wl: "wl.contacts_postal_addresses", today: []string{"Contacts.Read"}},
	{wl: "wl.imap", why: "IMAP has a scope of its own, IMAP.AccessAsUser.All of outlook.office.com; with Graph, mail is read with Mail.Read"},
	{wl: "office.onenote_create", today: []string{"Notes.ReadWrite"}},
}

// scopeOrder is the order of what Scopes returns.
var scopeOrder = []string{
	"openid", "profile", "email", "offline_access", "User.Read",
	"Files.Read", "Files.ReadWrite", "Files.Read.All",
	"Contacts.Read", "Contacts.ReadWrite",
	"Calendars.Read", "Calendars.ReadWrite", "Calendars.Read.Shared",
	"Notes.ReadWrite",
}

// Scopes returns the scopes of Microsoft Graph and OpenID Connect that are needed
// for those of Live Connect. Case does not matter, and each argument can be a list
// whose scopes are parted by spaces or commas, as Live Connect wrote them. The
// result has each scope once, in an order that does not depend on the arguments'.
//
// The error has an [*UnmappedError] for every other name: scopes whose service has
// ended, and names that are no scope of Live Connect. Scopes of Graph are such
// names; add them to the result. All others are mapped all the same. The errors
// are joined: errors.As finds the first, Unwrap() []error returns all.
//
// The result differs from Microsoft's table where that says more or something else
// than the scope of old did: wl.signin has profile too, and wl.basic User.Read, for
// the user's name; wl.emails, the user's addresses, is not Mail.Read;
// wl.contacts_skydrive is Files.Read.All, without writing; and wl.contacts_photos, the
// albums and photos that others share, is that too, not Contacts.Read. The table has no
// line for the scopes of single properties of the profile (wl.birthday and others):
// they are User.Read here, as far as Graph has those properties for the account.
//
// Many sites asked for wl.basic for the sake of the name alone. They can leave out
// Contacts.Read.
func Scopes(wl ...string) (graph []string, err error) {
	need := map[string]bool{}
	seen := map[string]bool{}
	var failures []error
	for _, list := range wl {
		for _, name := range strings.FieldsFunc(list, isSeparator) {
			name = strings.ToLower(name)
			if seen[name] {
				continue
			}
			seen[name] = true
			row, reason := scope(name)
			if reason != "" {
				failures = append(failures, unmapped(name, reason))
			}
			for _, s := range row.today {
				need[s] = true
			}
		}
	}
	for _, s := range scopeOrder {
		if need[s] {
			graph = append(graph, s)
		}
	}
	return graph, errors.Join(failures...)
}

// isSeparator says what parts scopes in a list. Live Connect's answers had both.
func isSeparator(r rune) bool { return strings.ContainsRune(" ,\t\r\n", r) }

// scope returns the row of a scope, or a reason why it has none.
func scope(name string) (row scopeRow, reason string) {
	i := slices.IndexFunc(scopeTable, func(row scopeRow) bool { return row.wl == name })
	if i < 0 {
		return row, "is not a scope of Live Connect"
	}
	row = scopeTable[i]
	if row.why != "" {
		reason = "has no equivalent: " + row.why
	}
	return row, reason
}
