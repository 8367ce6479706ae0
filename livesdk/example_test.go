package livesdk_test

import (
	"fmt"

	"example.com/msauth/livesdk"
)

func ExampleScopes() {
	scopes, err := livesdk.Scopes("wl.signin wl.basic wl.skydrive_update wl.share")
	fmt.Println(scopes)
	fmt.Println(err)
	// Output:
	// [openid profile User.Read Files.ReadWrite Contacts.Read]
	// livesdk: "wl.share": has no equivalent: status messages have ended
}

func ExamplePath() {
	for _, path := range []string{
		"me/skydrive/files?limit=10&sort_by=updated&access_token=secret",
		"folder.8c8ce076ca27823f.8C8CE076CA27823F!126/files?filter=photos",
		"me/friends",
	} {
		req, err := livesdk.Path("GET", path)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(req.Method, req.Path, req.Dropped)
	}
	// Output:
	// GET me/drive/root/children?$orderby=lastModifiedDateTime&$top=10 []
	// GET me/drive/items/8C8CE076CA27823F!126/children [filter]
	// livesdk: "GET me/friends": has no equivalent: Messenger has ended; contacts are in me/contacts
}
