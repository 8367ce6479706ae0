package livesdk_test

import (
	"errors"
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

// What has no equivalent, one by one.
func ExampleUnmappedError() {
	_, err := livesdk.Scopes("wl.messenger", "wl.skydrive", "wl.skydrive_delete")
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, err := range joined.Unwrap() {
			if e, ok := errors.AsType[*livesdk.UnmappedError](err); ok {
				fmt.Println(e.Name, "-", e.Reason)
			}
		}
	}
	// Output:
	// wl.messenger - has no equivalent: Messenger has ended
	// wl.skydrive_delete - is not a scope of Live Connect
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

// IDs that a site has in its database. What is no ID of a file or folder is an error.
func ExampleItemID() {
	for _, stored := range []string{
		"file.8c8ce076ca27823f.8C8CE076CA27823F!126",
		"folder.8c8ce076ca27823f",
		"contact.b4466224b2ca42798c3d4ea90c75aa56",
	} {
		id, err := livesdk.ItemID(stored)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("me/drive/items/" + id)
	}
	// Output:
	// me/drive/items/8C8CE076CA27823F!126
	// livesdk: "folder.8c8ce076ca27823f": is the top folder of a drive: me/drive/root, if it is that of the person who has signed in
	// livesdk: "contact.b4466224b2ca42798c3d4ea90c75aa56": contacts have other IDs today: list me/contacts and find it by name or address
}
