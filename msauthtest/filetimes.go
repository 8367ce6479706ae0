package msauthtest

import (
	"cmp"
	"time"
)

// fileTimes are the times of a file on the client's computer ("fileSystemInfo
// resource type"). They are empty if the client has not sent them.
type fileTimes struct {
	Created  string `json:"createdDateTime"`
	Modified string `json:"lastModifiedDateTime"`
}

// check returns the problem with times that a client has sent, or nil.
func (t *fileTimes) check() *problem {
	if t == nil {
		return nil
	}
	for _, text := range []string{t.Created, t.Modified} {
		if _, err := time.Parse(time.RFC3339, text); text != "" && err != nil {
			return badRequest("The times of fileSystemInfo are not valid.")
		}
	}
	return nil
}

// set takes over those times that are not empty.
func (t *fileTimes) set(sent *fileTimes) {
	if sent != nil {
		t.Created, t.Modified = cmp.Or(sent.Created, t.Created), cmp.Or(sent.Modified, t.Modified)
	}
}

// doc returns fileSystemInfo. By default it has the times of the item.
func (t *fileTimes) doc(created, modified string) map[string]any {
	return map[string]any{"createdDateTime": cmp.Or(t.Created, created), "lastModifiedDateTime": cmp.Or(t.Modified, modified)}
}
