package livesdk

import (
	"regexp"
	"strings"
)

var (
	// item is the ID of a file, folder, album, photo, video or audio: its kind, the
	// number of the owner's account (CID), and the ID within the service.
	item = regexp.MustCompile(`(?i)^(file|folder|album|photo|video|audio)\.[0-9a-f]{1,16}\.([0-9a-f]{1,16}![0-9]{1,19})$`)

	// bare is the last part, which is what Graph has.
	bare = regexp.MustCompile(`(?i)^[0-9a-f]{1,16}![0-9]{1,19}$`)

	// top is the ID of a person's top folder.
	top = regexp.MustCompile(`(?i)^folder\.[0-9a-f]{1,16}$`)

	// user is the ID of a person.
	user = regexp.MustCompile(`(?i)^[0-9a-f]{16}$`)

	// outlook is the ID of something that has another ID today.
	outlook = regexp.MustCompile(`(?i)^(contact|calendar|event)\.[0-9a-z._-]+$`)

	// remark is the ID of a comment or tag.
	remark = regexp.MustCompile(`(?i)^(comment|tag)\.[0-9a-z.!_-]+$`)
)

const notAnItem = "is not the ID of a file or folder"

// ItemID returns Graph's ID for that of a file, folder, album, photo, video or
// audio: of file.8c8ce076ca27823f.8C8CE076CA27823F!126 its last part. The result is
// for me/drive/items, if the item is in the drive of the person who has signed in.
// See the package comment on how far to trust it. A destination for a move needs it
// too. What is such a last part already is returned as it is, in upper case.
func ItemID(id string) (string, error) {
	if bare.MatchString(id) {
		return strings.ToUpper(id), nil
	}
	if _, last, ok := itemParts(id); ok {
		return last, nil
	}
	reason := notAnItem
	switch {
	case top.MatchString(id):
		reason = topFolder
	case outlook.MatchString(id):
		reason = outlookReason(id)
	}
	return "", unmapped(printable(id), reason)
}

// itemParts returns the kind of an item in lower case, and Graph's ID.
func itemParts(id string) (kind, last string, ok bool) {
	m := item.FindStringSubmatch(id)
	if m == nil {
		return "", "", false
	}
	return strings.ToLower(m[1]), strings.ToUpper(m[2]), true
}
