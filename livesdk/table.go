package livesdk

// A rule says what a request to Live Connect is today. Patterns have {item} and
// {folder} for IDs and {name} for the name of a file, which Graph's have as {id}
// and {name}.
type rule struct {
	method, live string
	to, graph    string
	query        query
	body         string
}

// A query says which parameters have an equivalent.
type query int

const (
	none        query = iota
	fileList          // a list of files
	outlookList       // a list of contacts, calendars or events
	uploading
	searching
	picturing
)

// places are the folders that have paths, and others by ID.
var places = []struct {
	live, graph string // Graph's ends where "/children" or ":/name:" can follow
}{
	{"me/skydrive", "me/drive/root"},
	{"me/skydrive/camera_roll", "me/drive/special/cameraroll"},
	{"me/skydrive/my_documents", "me/drive/special/documents"},
	{"me/skydrive/my_photos", "me/drive/special/photos"},
	{"{folder}", "me/drive/items/{id}"},
}

// inPlace are the requests that all folders have.
var inPlace = []rule{
	{"GET", "", "GET", "", none, ""},
	{"POST", "", "POST", "/children", none, ""}, // a new folder
	{"GET", "/files", "GET", "/children", fileList, ""},
	{"PUT", "/files/{name}", "PUT", ":/{name}:/content", uploading, ""},
	{"GET", "/search", "GET", "/search(q='{q}')", searching, ""},
}

// elsewhere are all others.
var elsewhere = []rule{
	{"GET", "me", "GET", "me", none, ""},
	{"GET", "me/picture", "GET", "me/photo/$value", none, ""},
	{"GET", "me/skydrive/quota", "GET", "me/drive?$select=quota", none, ""},

	{"GET", "{item}", "GET", "me/drive/items/{id}", none, ""},
	{"PUT", "{item}", "PATCH", "me/drive/items/{id}", none, ""},
	{"DELETE", "{item}", "DELETE", "me/drive/items/{id}", none, ""},
	{"MOVE", "{item}", "PATCH", "me/drive/items/{id}", none, ""},
	{"COPY", "{item}", "POST", "me/drive/items/{id}/copy", none, ""},
	{"GET", "{item}/content", "GET", "me/drive/items/{id}/content", none, ""},
	{"PUT", "{item}/content", "PUT", "me/drive/items/{id}/content", uploading, ""},
	{"GET", "{item}/picture", "GET", "me/drive/items/{id}/thumbnails/0/{size}/content", picturing, ""},
	{"GET", "{item}/shared_read_link", "POST", "me/drive/items/{id}/createLink", none, `{"type":"view","scope":"anonymous"}`},
	{"GET", "{item}/shared_edit_link", "POST", "me/drive/items/{id}/createLink", none, `{"type":"edit","scope":"anonymous"}`},
	{"GET", "{item}/embed", "POST", "me/drive/items/{id}/createLink", none, `{"type":"embed"}`},

	{"GET", "me/contacts", "GET", "me/contacts", outlookList, ""},
	{"POST", "me/contacts", "POST", "me/contacts", none, ""},
	{"GET", "me/calendars", "GET", "me/calendars", outlookList, ""},
	{"POST", "me/calendars", "POST", "me/calendars", none, ""},
	{"GET", "me/events", "GET", "me/events", outlookList, ""},
	{"POST", "me/events", "POST", "me/events", none, ""},
}

// rules are all of them.
var rules = func() []rule {
	var all []rule
	for _, p := range places {
		for _, r := range inPlace {
			r.live, r.graph = p.live+r.live, p.graph+r.graph
			all = append(all, r)
		}
	}
	return append(all, elsewhere...)
}()

// A gap is what has no equivalent. Its pattern may end in "/...", which is
// everything below; no method means every method.
type gap struct{ method, live, why string }

const (
	albums     = "albums were folders at the top of the drive: list me/drive/root/children, and POST a new folder there"
	faceted    = "Graph lists all items of a folder: list its children, and choose by the properties photo, video, audio and folder"
	degraded   = " is deprecated, and returns no data after November 2026"
	topFolder  = "is the top folder of a drive: me/drive/root, if it is that of the person who has signed in"
	otherUser  = "Graph has the person who has signed in as \"me\", and has no friends"
	multipart  = "Graph takes no forms: PUT the content to a name"
	remarks    = "OneDrive has no comments or tags that Graph shows"
	consent    = "the scopes that were granted come with each token: Session.Scopes of msauth"
	registered = "apps are registered in the Entra admin center"
)

var gaps = []gap{
	{"", "me/skydrive/public_documents", "OneDrive no longer has this folder"},
	{"", "me/skydrive/public_documents/...", "OneDrive no longer has this folder"},
	{"", "me/skydrive/recent_docs", "its successor me/drive/recent" + degraded},
	{"", "me/skydrive/recent", "its successor me/drive/recent" + degraded},
	{"", "me/skydrive/shared", "its successor me/drive/sharedWithMe" + degraded},
	{"", "me/skydrive/shared/...", "its successor me/drive/sharedWithMe" + degraded},
	{"", "skydrive/get_item_preview", "use the item's thumbnails, me/drive/items/{id}/thumbnails"},
	{"", "me/albums", albums},
	{"", "me/permissions", consent},
	{"", "me/permissions/...", consent},
	{"", "me/friends", "Messenger has ended; contacts are in me/contacts"},
	{"", "me/share", "status messages have ended"},
	{"", "me/applications", registered},
	{"", "{item}/comments", remarks},
	{"", "{item}/tags", remarks},
	{"POST", "me/skydrive/files", multipart},
	{"POST", "{folder}/files", multipart},
	{"GET", "{folder}/albums", faceted},
	{"GET", "{folder}/audio", faceted},
	{"GET", "{folder}/photos", faceted},
	{"GET", "{folder}/videos", faceted},
}

// outlookReason says what to do about the ID of a contact, calendar or event.
func outlookReason(id string) string {
	const lost = " have other IDs today: list "
	switch id[0] | 0x20 {
	case 'e':
		return "events" + lost + "me/events and find it by subject and time"
	case 'c':
		if id[1]|0x20 == 'a' {
			return "calendars" + lost + "me/calendars and find it by name; its events are me/calendars/{id}/events"
		}
	}
	return "contacts" + lost + "me/contacts and find it by name or address"
}
