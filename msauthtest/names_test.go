package msauthtest_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"example.com/msauth/msauthtest"
)

// "Restrictions and limitations in OneDrive and SharePoint"
func TestNamesThatAreRefused(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	create := func(drive, token, name string) (int, string) {
		ask, _ := json.Marshal(map[string]any{"name": name, "folder": map[string]any{}})
		res, text := a.send("POST", drive+"/root/children", token, string(ask))
		var doc struct {
			Name  string
			Error struct{ InnerError struct{ Code string } }
		}
		json.Unmarshal([]byte(text), &doc)
		return res.StatusCode, doc.Name + doc.Error.InnerError.Code
	}
	work, workToken := a.writer(msauthtest.Ada)
	personal, personalToken := a.writer(msauthtest.Mia)
	for _, name := range []string{
		`a"b`, "a*b", "a:b", "a<b", "a>b", "a?b", "a/b", `a\b`, "a|b", "a\tb",
		"", " a", "a ", "a.", ".", "..", "CON", "prn", "Aux", "NUL", "COM0", "com9", "LPT0", "lpt9",
		".lock", "desktop.ini", "a_vti_b", "~$draft.docx", strings.Repeat("x", 256), strings.Repeat("𝄞", 128),
	} {
		for _, d := range [][2]string{{work, workToken}, {personal, personalToken}} {
			if status, inner := create(d[0], d[1], name); status != 400 || inner != "nameContainsInvalidCharacters" {
				t.Errorf("%q: %d %s", name, status, inner)
			}
		}
	}
	for _, name := range []string{"a#b", "100%", "%41", "it's", "a+b & c", ".hidden", "COM", "COM10", "CON.txt", "a..b", "a~$b", strings.Repeat("x", 255), strings.Repeat("𝄞", 127), "Straße", "a;b,c=d"} {
		for _, d := range [][2]string{{work, workToken}, {personal, personalToken}} {
			if status, got := create(d[0], d[1], name); status != 201 || got != name {
				t.Errorf("%q: %d %s", name, status, got)
			}
		}
	}

	// Only the libraries of work accounts refuse these, as folders.
	for _, name := range []string{"~temporary", "Forms"} {
		if status, _ := create(work, workToken, name); status != 400 {
			t.Errorf("work account: %q: %d", name, status)
		}
		if status, _ := create(personal, personalToken, name); status != 201 {
			t.Errorf("personal account: %q: %d", name, status)
		}
	}
	a.do(201, "PUT", work+"/root:/~temporary.txt:/content", workToken, "a file")
	a.do(201, "PUT", work+"/root:/Documents/forms:/content", workToken, "a file below the root")
}

func TestNamesInPaths(t *testing.T) {
	t.Parallel()
	a := newApp(t, newServer(t))
	drive, token := a.writer(msauthtest.Ada)
	for _, name := range []string{"#1 & 100%25.txt", "it's + more.txt", "search(q='x')", "content", "a=b;c,d@e$f!", "名前.txt"} {
		it := a.do(201, "PUT", drive+"/root:/Odd names/"+url.PathEscape(name)+":/content", token, name)
		if it.Name != name {
			t.Errorf("%q is named %q", name, it.Name)
		}
		if again := a.do(200, "GET", drive+"/root:/odd%20names/"+url.PathEscape(name), token, ""); again.ID != it.ID {
			t.Errorf("%q by its path: %+v", name, again)
		}
		if got := a.text(drive, it.ID, token); got != name {
			t.Errorf("%q: content %q", name, got)
		}
	}
	for _, method := range []string{"PUT", "POST"} {
		action := map[string]string{"PUT": ":/content", "POST": ":/createUploadSession"}[method]
		a.refusedBy(400, "invalidRequest", "nameContainsInvalidCharacters", method, drive+"/root:/Odd names/a%3Fb"+action, token, "")
		a.refusedBy(400, "invalidRequest", "pathIsTooLong", method, drive+"/root:/"+strings.Repeat("abcdefghi/", 40)+"x"+action, token, "")
	}
	a.do(201, "PUT", drive+"/root:/"+strings.Repeat("abcdefghi/", 39)+"abcdefghij:/content", token, "400 characters")
	deep := a.do(200, "GET", drive+"/root:/"+strings.TrimSuffix(strings.Repeat("abcdefghi/", 39), "/"), token, "")
	a.refusedBy(400, "invalidRequest", "pathIsTooLong", "PATCH", drive+"/root:/Measurements.csv", token, `{"parentReference":{"id":"`+deep.ID+`"}}`)
	a.refusedBy(400, "invalidRequest", "nameContainsInvalidCharacters", "PATCH", drive+"/root:/Measurements.csv", token, `{"name":"NUL"}`)
}
