package outside

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// Whatever the sign-in page shows, there is a verdict, in one line of bounded length.
func FuzzSignInPage(f *testing.F) {
	const redirectURI = "https://app.example.com/auth/callback"
	f.Add(200, `<script>$Config={"strServiceExceptionMessage":"AADSTS50011: The redirect URI \u0027https://x\u0027 specified\r\n in the request"}</script>`)
	f.Add(400, `<p>AADSTS700016</p><p>Application with identifier &#39;x&#39; was not found</p>`)
	f.Add(200, `<form method="POST" action="https://app.example.com/auth/callback"><input name="error">`)
	f.Add(500, "AADB2C90006")
	f.Add(200, "")
	f.Fuzz(func(t *testing.T, status int, body string) {
		v := judgePage(status, []byte(body), redirectURI)
		if v.outcome == notAsked || v.err != nil {
			t.Errorf("no verdict: %+v", v)
		}
		if len(v.text) > 700 || strings.ContainsAny(v.text, "\r\n\x1b") || utf8.ValidString(body) && !utf8.ValidString(v.text) {
			t.Errorf("text %q", v.text)
		}
		if v.outcome == refused && v.text == "" {
			t.Error("a refusal without a text")
		}
	})
}

// What comes to the redirect URI is judged by its error alone.
func FuzzAnswer(f *testing.F) {
	f.Add("error=login_required&error_description=AADSTS50058%3A+x", "")
	f.Add("error=invalid_scope&error_description=AADSTS70011%3A+x%0D%0ATrace+ID%3A+y", "")
	f.Add("", "error=interaction_required")
	f.Add("code=x", "")
	f.Fuzz(func(t *testing.T, query, fragment string) {
		q, _ := url.ParseQuery(query)
		v := judgeAnswer(q, fragment)
		if v.outcome != returned && v.outcome != refused {
			t.Errorf("%+v", v)
		}
		if v.outcome == refused && v.text == "" || len(v.text) > 700 || strings.ContainsAny(v.text, "\r\n\x1b") {
			t.Errorf("text %q", v.text)
		}
	})
}

// A link is one to a sign-in, or it is none.
func FuzzSignInAddress(f *testing.F) {
	f.Add("https://login.example/authorize?response_type=code&client_id=x&redirect_uri=https%3A%2F%2Fapp&state=y")
	f.Add("//%zz")
	f.Add("/login?return_to=/")
	f.Fuzz(func(t *testing.T, address string) {
		if u := signInAddress(address); u != nil && (u.Host == "" || u.Query().Get("state") == "") {
			t.Errorf("%q", address)
		}
	})
}
