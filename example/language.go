package main

import (
	"net/http"
	"strings"
	"time"
)

// This app's own pages are in English. Those of msauth, and Microsoft's, are in the language
// that a person chooses at the bottom of each page.

// A language is one to choose.
type language struct {
	Tag, Name string
	Chosen    bool
}

var languages = []language{
	{Tag: "", Name: "As in your browser"},
	{Tag: "ar", Name: "العربية"}, {Tag: "cs", Name: "Čeština"}, {Tag: "de", Name: "Deutsch"}, {Tag: "en", Name: "English"},
	{Tag: "es", Name: "Español"}, {Tag: "fr", Name: "Français"}, {Tag: "it", Name: "Italiano"}, {Tag: "ja", Name: "日本語"},
	{Tag: "ko", Name: "한국어"}, {Tag: "nl", Name: "Nederlands"}, {Tag: "pl", Name: "Polski"}, {Tag: "pt", Name: "Português"},
	{Tag: "sv", Name: "Svenska"}, {Tag: "tr", Name: "Türkçe"}, {Tag: "zh-Hans", Name: "简体中文"}, {Tag: "zh-Hant", Name: "繁體中文"},
}

const languageCookie = "language"

// chosenLanguage is the app's msauth.Config.Language.
func chosenLanguage(r *http.Request) string {
	c, err := r.Cookie(languageCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// languagesFor returns the languages for the list on a page.
func languagesFor(r *http.Request) (list []language) {
	chosen := chosenLanguage(r)
	for _, l := range languages {
		l.Chosen = l.Tag == chosen
		list = append(list, l)
	}
	return list
}

// chooseLanguage keeps the language that somebody has chosen, and leads back to the page.
func chooseLanguage(w http.ResponseWriter, r *http.Request) {
	if readForm(w, r) != nil {
		http.Error(w, "The form could not be read.", http.StatusBadRequest)
		return
	}
	for _, l := range languages {
		if l.Tag == r.PostForm.Get("language") {
			http.SetCookie(w, &http.Cookie{Name: languageCookie, Value: l.Tag, Path: "/", MaxAge: int((365 * 24 * time.Hour).Seconds()), SameSite: http.SameSiteLaxMode, HttpOnly: true})
		}
	}
	back := r.PostForm.Get("back")
	if !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		back = "/"
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
