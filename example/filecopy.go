package main

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"example.com/msauth/graph"
)

func copyForm(it graph.DriveItem, name string) nameForm {
	return nameForm{
		Heading: "Copy", Text: "The copy of “" + it.Name + "” goes to the same folder.",
		Action: "/files/" + url.PathEscape(it.ID) + "/copy", Submit: "Copy", Back: folderURL(it.Parent), Name: name,
	}
}

func (a *app) copyPage(w http.ResponseWriter, r *http.Request) error {
	_, it, err := a.itemOf(r)
	if err != nil {
		return err
	}
	return a.askName(w, r, copyForm(it, otherName(it.Name)))
}

// copyItem copies an item to the folder that it is in. OneDrive does that after it
// has answered: the page waits for a while, and then says that it is still going on.
func (a *app) copyItem(w http.ResponseWriter, r *http.Request) error {
	f, it, err := a.itemOf(r)
	if err == nil {
		err = readForm(w, r)
	}
	if err == nil && it.Parent == nil {
		err = errNotFound // it is in no folder of this drive
	}
	if err != nil {
		return err
	}
	name := strings.TrimSpace(r.PostForm.Get("name"))
	if err := graph.CheckName(name); err != nil {
		return a.askAgain(w, r, copyForm(it, name), err)
	}
	operation, err := f.Copy(r.Context(), graph.Ref{ID: it.ID}, graph.Ref{ID: it.Parent.ID}, name, graph.Fail)
	if err != nil {
		return a.askAgain(w, r, copyForm(it, name), err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.set.AnswerTime/3)
	defer cancel()
	done := "copied"
	_, err = operation.Wait(ctx, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		done, err = "copying", nil
	}
	if err != nil {
		return a.askAgain(w, r, copyForm(it, name), err)
	}
	return a.after(w, r, folderURL(it.Parent), notice{Done: done, Name: name})
}
