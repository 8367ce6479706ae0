package main

import (
	"errors"
	"io/fs"
	"net/http"

	"example.com/msauth/example/internal/webapp"
	"example.com/msauth/graph"
)

// fileFailures are the failures to show for what can happen to files.
var fileFailures = []struct {
	err     error
	failure webapp.Failure
}{
	{errCut, webapp.Failure{Status: http.StatusBadRequest, Title: "The upload was interrupted",
		Text: "Not all of the file has arrived here. Nothing was stored. Please upload the file again."}},
	{errFrame, webapp.Failure{Status: http.StatusBadRequest, Title: "Upload not accepted",
		Text: "The form has to have one file, and nothing after it, and its length has to be known. Nothing was stored."}},
	{errOtherAccount, webapp.Failure{Status: http.StatusForbidden, Title: "Another account has signed in",
		Text: "The upload page was opened with another account. Nothing was stored. Open the page again, and look at where the file goes."}},
	{errManyUploads, webapp.Failure{Status: http.StatusTooManyRequests, Title: "Too many uploads at once",
		Text: "Nothing was stored. Please wait until one of your other uploads is complete."}},
	{errNoFile, webapp.Failure{Status: http.StatusBadRequest, Title: "No file chosen", Text: "Choose a file on the upload page. Nothing was stored."}},
	{errLargeFile, webapp.Failure{Status: http.StatusRequestEntityTooLarge, Title: "The file is too large",
		Text: "OneDrive takes files of at most 250 GB. Nothing was stored."}},
	{fs.ErrExist, webapp.Failure{Status: http.StatusConflict, Title: "The name is taken",
		Text: "There is already an item of this name in the folder. Choose another name. Nothing has changed."}},
	{graph.ErrUploadUnknown, webapp.Failure{Status: http.StatusBadGateway, Title: "It is not known whether the file was stored",
		Text: "Microsoft’s last answer was lost. Look for the file in its folder before you upload it again."}},
	{graph.ErrUploadExpired, webapp.Failure{Status: http.StatusServiceUnavailable, Title: "The upload was interrupted",
		Text: "OneDrive has ended it before the file was complete. Nothing was stored. Please upload the file again."}},
	{graph.ErrCorrupt, webapp.Failure{Status: http.StatusBadGateway, Title: "The file did not arrive intact",
		Text: "What has arrived is not what was sent. Please try again."}},
	{graph.ErrChanged, webapp.Failure{Status: http.StatusConflict, Retry: true, Title: "The file has changed",
		Text: "Somebody has changed it during the download. Please download it again."}},
}

// explainFile returns the failure for an error of a file, a folder or a name. It
// reports false for others.
func explainFile(err error) (webapp.Failure, bool) {
	for _, one := range fileFailures {
		if errors.Is(err, one.err) {
			return one.failure, true
		}
	}
	if invalid, ok := errors.AsType[*graph.InvalidError](err); ok {
		switch invalid.Field {
		case "name":
			return webapp.Failure{Status: http.StatusBadRequest, Title: "The name is not allowed",
				Text: "A name that " + invalid.Reason + " is not allowed in OneDrive. Nothing has changed."}, true
		case "path", "id", "link", "item", "thumbnail size":
			return notFound, true
		}
		return webapp.Failure{Status: http.StatusBadRequest, Title: "Not accepted", Text: "The request is not valid. Nothing has changed."}, true
	}
	e, ok := errors.AsType[*graph.Error](err)
	if !ok {
		return webapp.Failure{}, false
	}
	f := webapp.Failure{Status: e.Status}
	switch e.Status {
	case http.StatusBadRequest:
		f.Title, f.Text = "OneDrive does not accept this", "The item cannot be changed in this way. Nothing has changed."
	case http.StatusConflict, http.StatusPreconditionFailed:
		f.Status, f.Title = http.StatusConflict, "The item has changed"
		f.Text = "Somebody has changed it meanwhile. Go back to the folder and try again."
	case http.StatusRequestEntityTooLarge:
		f.Title, f.Text = "The file is too large", "OneDrive does not take files of this size. Nothing was stored."
	case http.StatusRequestedRangeNotSatisfiable:
		f.Title = "The file is shorter than requested"
		f.Text = "The requested part of the file does not exist. Download the file from the start."
	case http.StatusLocked:
		f.Title, f.Text = "The item is in use", "Somebody is editing it, or another program has locked it. Close it there, or try again later. Nothing has changed."
	case http.StatusInsufficientStorage:
		f.Title, f.Text = "This OneDrive is full", "There is no room for it. Delete something, empty the recycle bin or get more storage. Nothing was stored."
	default:
		return f, false
	}
	return f, true
}
