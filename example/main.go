// Command example is "OneDrive at a glance", a small web app that signs people in
// with package msauth and shows them their Microsoft profile, calendar and files. It
// is a small file manager, on package graph: uploads and downloads of any size,
// folders, search, pictures, links. Some of its pages require more than a sign-in: a
// permission that is requested on the first visit, a password entered a moment ago,
// a role. Notes are a page for those who take their time: what is being written
// survives the end of the session, and links to a note survive a sign-in. Every page
// counts down to the end of the session, and hides what is private once somebody
// signs out in another tab. The sign-in pages are in a language to choose.
//
//	go run ./example
//
// Without configuration it runs on a local stand-in for Microsoft, so that you can
// try it without an account. If AZURE_CLIENT_ID and the other variables described
// in env.go are set, it runs on the real one.
//
// What to copy is in app.go (one handler mounted, the others wrapped), in
// failure.go (errors that only the user can resolve), in static/page.js, static/notes.js
// and templates/parts.html (msauth.js in a page), in language.go and, for files, in
// download.go, uploadform.go and upload.go. Package webapp, below internal, holds what any web app
// needs.
package main

import (
	"context"
	"io"
	"log/slog"

	"example.com/msauth"
	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/msauthtest"
)

func main() { webapp.Main(run) }

// run serves the app until ctx is done.
func run(ctx context.Context, getenv func(string) string, out io.Writer, log *slog.Logger) error {
	set, err := readSettings(getenv)
	if err != nil {
		return err
	}
	if set.Auth.ClientID == "" {
		microsoft := msauthtest.NewServer() // on a free port of 127.0.0.1
		defer microsoft.Close()
		set.useLocal(microsoft)
	}
	set.Auth.Logger = log
	auth, err := msauth.New(set.Auth)
	if err != nil {
		return err
	}
	listener, err := webapp.Listen(set.Listen, "go run ./example")
	if err != nil {
		return err
	}
	set.announce(out)
	return webapp.Serve(ctx, listener, newApp(auth, set, log), auth.Close, out, log)
}
