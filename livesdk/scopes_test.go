package livesdk_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"example.com/msauth/livesdk"
)

// unmapped are the errors that Scopes has joined.
func unmapped(t *testing.T, err error) (all []*livesdk.UnmappedError) {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not joined", err)
	}
	for _, e := range joined.Unwrap() {
		u, ok := errors.AsType[*livesdk.UnmappedError](e)
		if !ok {
			t.Fatalf("%T: %v", e, e)
		}
		all = append(all, u)
	}
	return all
}

func TestScopes(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scope string
		want  string
		why   string // part of the reason
	}{
		{"wl.basic", "User.Read Contacts.Read", ""},
		{"wl.offline_access", "offline_access", ""},
		{"wl.signin", "openid profile", ""},
		{"wl.birthday", "User.Read", ""},
		{"wl.calendars", "Calendars.Read", ""},
		{"wl.calendars_update", "Calendars.ReadWrite", ""},
		{"wl.contacts_birthday", "User.Read Contacts.Read", ""},
		{"wl.contacts_calendar", "Calendars.Read.Shared", ""},
		{"wl.contacts_calendars", "Calendars.Read.Shared", ""},
		{"wl.contacts_create", "Contacts.ReadWrite", ""},
		{"wl.contacts_emails", "Contacts.Read", ""},
		{"wl.contacts_phone_numbers", "Contacts.Read", ""},
		{"wl.contacts_photos", "Files.Read.All", ""},
		{"wl.contacts_postal_addresses", "Contacts.Read", ""},
		{"wl.contacts_skydrive", "Files.Read.All", ""},
		{"wl.emails", "email User.Read", ""},
		{"wl.events_create", "Calendars.ReadWrite", ""},
		{"wl.phone_numbers", "User.Read", ""},
		{"wl.photos", "Files.Read", ""},
		{"wl.postal_addresses", "User.Read", ""},
		{"wl.skydrive", "Files.Read", ""},
		{"wl.skydrive_update", "Files.ReadWrite", ""},
		{"wl.work_profile", "User.Read", ""},
		{"office.onenote_create", "Notes.ReadWrite", ""},
		{"wl.applications", "", "Entra admin center"},
		{"wl.applications_create", "", "Entra admin center"},
		{"wl.imap", "", "Mail.Read"},
		{"wl.messenger", "", "has ended"},
		{"wl.share", "", "have ended"},
		{"wl.nosuch", "", "is not a scope of Live Connect"},
		{"Files.Read", "", "is not a scope of Live Connect"},
		{"offline_access", "", "is not a scope of Live Connect"},
	} {
		got, err := livesdk.Scopes(test.scope)
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: %q, want %q", test.scope, got, test.want)
		}
		failures := unmapped(t, err)
		if (test.why == "") != (len(failures) == 0) {
			t.Errorf("%s: %v", test.scope, err)
			continue
		}
		for _, e := range failures {
			if e.Name != strings.ToLower(test.scope) || !strings.Contains(e.Reason, test.why) {
				t.Errorf("%s: %v, want %q", test.scope, e, test.why)
			}
		}
	}
}

func TestListsOfScopes(t *testing.T) {
	t.Parallel()
	const want = "openid profile offline_access User.Read Files.ReadWrite Contacts.Read"
	for _, lists := range [][]string{
		{"wl.signin", "wl.basic", "wl.skydrive_update", "wl.offline_access"},
		{"wl.offline_access wl.skydrive_update wl.basic wl.signin"},
		{"wl.signin,wl.basic, wl.skydrive_update\n", " wl.offline_access"},
		{"WL.Signin wl.BASIC", "wl.basic", "wl.skydrive_update wl.offline_access"},
	} {
		got, err := livesdk.Scopes(lists...)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v", lists, got, err)
		}
	}
	got, err := livesdk.Scopes("wl.share wl.skydrive wl.x wl.share", "wl.messenger")
	if !slices.Equal(got, []string{"Files.Read"}) {
		t.Errorf("%q", got)
	}
	var names []string
	for _, e := range unmapped(t, err) {
		names = append(names, e.Name)
	}
	if strings.Join(names, " ") != "wl.share wl.x wl.messenger" {
		t.Errorf("errors about %q", names)
	}
	if e, ok := errors.AsType[*livesdk.UnmappedError](err); !ok || e.Name != "wl.share" {
		t.Errorf("the first is %v", e)
	}
	if got, err := livesdk.Scopes(); got != nil || err != nil {
		t.Errorf("of nothing: %q, %v", got, err)
	}
}
