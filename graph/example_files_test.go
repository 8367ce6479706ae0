package graph_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"example.com/msauth/graph"
	"example.com/msauth/msauthtest"
)

// What a file manager does: a folder, a file in it, another name, another place, the
// recycle bin and back.
func ExampleFiles() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	files := c.Files("me/drive")

	letters, err := files.CreateFolder(ctx, graph.Ref{}, "Letters", graph.Fail)
	if err != nil {
		log.Fatal(err)
	}
	const content = "Dear Ada"
	letter, err := files.Upload(ctx, graph.Ref{ID: letters.ID, Path: "draft.txt"}, strings.NewReader(content), int64(len(content)), graph.UploadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	letter, err = files.Rename(ctx, graph.Ref{ID: letter.ID}, "To Ada.txt", graph.Rename)
	fmt.Println(letter.Name, err)
	letter, err = files.Move(ctx, graph.Ref{ID: letter.ID}, graph.Ref{}, "", graph.Fail) // to the root, by the same name
	fmt.Println(letter.Name, err)

	if err := files.Delete(ctx, graph.Ref{ID: letter.ID}); err != nil {
		log.Fatal(err)
	}
	_, err = files.Stat(ctx, graph.Ref{ID: letter.ID})
	fmt.Println("gone:", errors.Is(err, fs.ErrNotExist))
	letter, err = files.Restore(ctx, letter.ID, nil, "")
	fmt.Println(letter.Name, err)

	drive, err := files.Drive(ctx)
	fmt.Println("room for it:", drive.Quota != nil && drive.Quota.Remaining > letter.Size, err)
	// Output:
	// To Ada.txt <nil>
	// To Ada.txt <nil>
	// gone: true
	// To Ada.txt <nil>
	// room for it: true <nil>
}

// Something that must not stay in the recycle bin. Personal accounts cannot do that:
// theirs is a call of Delete.
func ExampleFiles_DeletePermanently() {
	ctx := context.Background()
	for _, person := range []string{msauthtest.Ada, msauthtest.Mia} {
		c, end := signedInAs(person)
		defer end()
		files := c.Files("me/drive")
		folder, err := files.CreateFolder(ctx, graph.Ref{}, "Secret", graph.Fail)
		if err != nil {
			log.Fatal(err)
		}
		err = files.DeletePermanently(ctx, graph.Ref{ID: folder.ID})
		if failure, ok := errors.AsType[*graph.Error](err); ok && failure.HasCode("notSupported") {
			fmt.Println("to the recycle bin:", files.Delete(ctx, graph.Ref{ID: folder.ID}))
			continue
		}
		fmt.Println("for good:", err)
	}
	// Output:
	// for good: <nil>
	// to the recycle bin: <nil>
}

// The drive copies by itself, and can be asked how far it is: also by another request,
// to which the page has brought the operation's URL.
func ExampleFiles_Copy() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	files := c.Files("me/drive")
	if _, err := files.CreateFolder(ctx, graph.Ref{}, "Archive", graph.Fail); err != nil {
		log.Fatal(err)
	}

	operation, err := files.Copy(ctx, graph.Ref{Path: "Documents"}, graph.Ref{Path: "Archive"}, "Documents of 2026", graph.Fail)
	if err != nil {
		log.Fatal(err)
	}
	later, err := c.Operation(operation.URL)
	if err != nil {
		log.Fatal(err)
	}
	id, err := later.Wait(ctx, func(percent float64) {})
	if err != nil {
		log.Fatal(err)
	}
	copied, err := files.Stat(ctx, graph.Ref{ID: id})
	fmt.Println(copied.Name, err)
	// Output: Documents of 2026 <nil>
}

// A link for somebody who has no account, until the end of the month, and its end
// before that.
func ExampleFiles_CreateLink() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	files, item := c.Files("me/drive"), graph.Ref{Path: "Documents"}

	link, err := files.CreateLink(ctx, item, graph.LinkOptions{Type: "view", Scope: "anonymous", Expires: time.Now().Add(24 * time.Hour)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(link.Link.Type, link.Link.Scope, link.Link.WebURL != "")
	links := func() (n int) {
		for permission, err := range files.Permissions(ctx, item) {
			if err != nil {
				log.Fatal(err)
			}
			if permission.Link != nil {
				n++
			}
		}
		return n
	}
	fmt.Println("links:", links())
	fmt.Println(files.DeletePermission(ctx, item, link.ID))
	fmt.Println("links:", links())
	// Output:
	// view anonymous true
	// links: 1
	// <nil>
	// links: 0
}

// Pictures of the files in a folder, small enough for a list.
func ExampleFiles_Thumbnails() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	files := c.Files("me/drive")
	for item, err := range files.List(ctx, graph.Ref{Path: "Pictures"}) {
		if err != nil {
			log.Fatal(err)
		}
		sets, err := files.Thumbnails(ctx, graph.Ref{ID: item.ID}) // addresses, which a page can load without a token
		if err != nil || len(sets) == 0 || sets[0].Small == nil {
			continue
		}
		picture, err := files.Thumbnail(ctx, graph.Ref{ID: item.ID}, "small") // or the picture itself
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item.Name, sets[0].Small.URL != "", picture.ContentType)
		picture.Close()
	}
	// Output:
	// Harbour.png true image/jpeg
	// Sunrise.png true image/jpeg
	// Été à la mer.png true image/jpeg
}

// A folder in a batch, together with something else that a page shows.
func ExampleFiles_ChildrenPath() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	path, err := c.Files("me/drive").ChildrenPath(graph.Ref{Path: "Documents"})
	if err != nil {
		log.Fatal(err)
	}
	answers, err := c.Batch(ctx, graph.BatchRequest{Path: "me"}, graph.BatchRequest{Path: path, Query: graph.Query{Top: 10}})
	if err != nil {
		log.Fatal(err)
	}
	me, err := graph.Decode[graph.User](answers[0])
	if err != nil {
		log.Fatal(err)
	}
	page, err := graph.Decode[graph.Page[graph.DriveItem]](answers[1])
	fmt.Println(me.DisplayName, "has files there:", len(page.Value) > 0, err)
	// Output: Mia Müller has files there: true <nil>
}

// What a person types into a search field.
func ExampleFiles_Search() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	files := c.Files("me/drive")
	if _, err := files.CreateFolder(ctx, graph.Ref{}, "Mia's letters", graph.Fail); err != nil {
		log.Fatal(err)
	}
	for item, err := range files.Search(ctx, graph.Ref{}, "mia's") {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(item.Name)
	}
	// Output: Mia's letters
}

// An upload whose bytes the page sends, straight from the browser to the storage host:
// the site begins it, and ends it if the person changes their mind.
func ExampleFiles_StartUpload() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()

	session, err := c.Files("me/drive").StartUpload(ctx, graph.Ref{Path: "film.mp4"}, 3<<30, graph.UploadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the page gets an address:", session.URL != "", time.Until(session.Expires) > 0)
	arrived, err := c.UploadStatus(ctx, session)
	fmt.Println("arrived:", arrived, err)
	fmt.Println(c.CancelUpload(ctx, session))
	_, err = c.UploadStatus(ctx, session)
	fmt.Println("over:", errors.Is(err, fs.ErrNotExist))
	// Output:
	// the page gets an address: true true
	// arrived: 0 <nil>
	// <nil>
	// over: true
}

// A name is checked while somebody types it: the reason is for them.
func ExampleCheckName() {
	for _, name := range []string{"Report.txt", "what?.txt", "CON"} {
		err := graph.CheckName(name)
		if invalid, ok := errors.AsType[*graph.InvalidError](err); ok {
			fmt.Printf("%s: %s\n", name, invalid.Reason)
			continue
		}
		fmt.Printf("%s: fine\n", name)
	}
	// Output:
	// Report.txt: fine
	// what?.txt: contains one of " * : < > ? / \ |
	// CON: is reserved
}

// Is the copy on this disk the one in OneDrive? Only its hash is asked for.
func ExampleVerify() {
	ctx := context.Background()
	c, end := signedIn()
	defer end()
	const content = "The ground is firm.\n"
	file, err := c.Files("me/drive").Upload(ctx, graph.Ref{Path: "Report.txt"}, strings.NewReader(content), int64(len(content)), graph.UploadOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(graph.Verify(file, strings.NewReader(content)))
	fmt.Println(errors.Is(graph.Verify(file, strings.NewReader("The ground is soft.\n")), graph.ErrCorrupt))
	// Output:
	// <nil>
	// true
}

// The hash as Graph writes it, for files that were not downloaded by this package.
func ExampleNewQuickXorHash() {
	h := graph.NewQuickXorHash()
	h.Write([]byte("The ground is firm.\n"))
	fmt.Println(base64.StdEncoding.EncodeToString(h.Sum(nil))) // DriveItem.File.Hashes.QuickXorHash
	// Output: dU0xccN7Ejm8oQ5uNAMI0jAHEJg=
}

// Bytes of files come from storage hosts, not from Graph. Behind a proxy of the
// company's both need a transport that knows it.
func ExampleClient_WithStorage() {
	transport := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
	}
	c, end := signedIn()
	defer end()
	c = c.WithStorage(transport)

	const content = "The ground is firm.\n"
	item, err := c.Files("me/drive").Upload(context.Background(), graph.Ref{Path: "Report.txt"}, strings.NewReader(content), int64(len(content)), graph.UploadOptions{})
	fmt.Println(item.Size, err)
	// Output: 20 <nil>
}
