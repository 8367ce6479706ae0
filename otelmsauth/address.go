package otelmsauth

import (
	"net/url"
	"strings"
)

// redacted stands for what an address does not show, as the semantic conventions have
// it for the query.
const redacted = "REDACTED"

// addressOf returns a URL as spans show it: without user, query and fragment, and with
// the segments of the path that are the same for everybody.
func addressOf(u *url.URL) string {
	var b strings.Builder
	b.WriteString(u.Scheme + "://" + strings.ToLower(u.Host))
	for segment := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), "/"), "/") {
		b.WriteByte('/')
		switch {
		case segment == "":
		case words[segment]:
			b.WriteString(segment)
		default:
			b.WriteString(redacted)
		}
	}
	return b.String()
}

// words are segments of paths at Microsoft's sign-in service and in Microsoft Graph. A
// file or a user of such a name is not given away by it.
var words = wordsOf(`
	.well-known openid-configuration oauth2 v2.0 authorize token logout discovery keys common organizations consumers
	v1.0 beta $batch me users groups drive drives root items children content createUploadSession copy delta search special
	recent sharedWithMe createLink permissions invite thumbnails preview followedSites sites lists site pages
	messages mailFolders sendMail events calendar calendars calendarView contacts photo $value $count photos manager
	directReports memberOf transitiveMemberOf checkMemberGroups getMemberGroups checkMemberObjects getMemberObjects
	onenote notebooks sections planner tasks todo teams channels chats joinedTeams presence subscriptions organization
	directoryObjects appRoleAssignments`)

func wordsOf(list string) map[string]bool {
	words := map[string]bool{}
	for word := range strings.FieldsSeq(list) {
		words[word] = true
	}
	return words
}
