package main

import (
	"errors"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"

	"example.com/msauth/graph"
)

// A nameForm is a page that asks for the name of an item.
type nameForm struct {
	Heading, Text  string
	Action, Submit string
	Back           string  // page to return to without a change
	Hidden         []field // values that the form sends along
	Name           string
	Problem        string // what was wrong with the name that was sent
}

// A field is a hidden field of a form.
type field struct{ Name, Value string }

// askName shows the form.
func (a *app) askName(w http.ResponseWriter, r *http.Request, form nameForm) error {
	return a.render(w, r, http.StatusOK, "name", form.Heading, form)
}

// askAgain shows the form again, with what was typed, if an error is about the
// name. It returns other errors.
func (a *app) askAgain(w http.ResponseWriter, r *http.Request, form nameForm, err error) error {
	invalid, _ := errors.AsType[*graph.InvalidError](err)
	status := http.StatusBadRequest
	switch {
	case invalid != nil && invalid.Field == "name":
		form.Problem = "This name " + invalid.Reason + ". Choose another one."
	case errors.Is(err, fs.ErrExist):
		status = http.StatusConflict
		form.Problem = "There is already an item called “" + form.Name + "” in the folder. Choose another name."
		form.Name = otherName(form.Name)
	default:
		return err
	}
	return a.render(w, r, status, "name", form.Heading, form)
}

// otherName suggests a name beside one that is taken: "a (2).txt" for "a.txt".
func otherName(name string) string {
	ext := path.Ext(name)
	stem, n := strings.TrimSuffix(name, ext), 2
	if i := strings.LastIndex(stem, " ("); i > 0 && strings.HasSuffix(stem, ")") {
		if number, err := strconv.Atoi(stem[i+2 : len(stem)-1]); err == nil && number > 0 && number < 1000 {
			stem, n = stem[:i], number+1
		}
	}
	return stem + " (" + strconv.Itoa(n) + ")" + ext
}

// readForm reads the fields of a small form. The largest is a note, whose bytes may each
// take three.
func readForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return errors.Join(errBadForm, err)
	}
	return nil
}
