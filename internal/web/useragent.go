package web

import "strings"

// maxUserAgent is how many bytes of a User-Agent header are looked at. Those of
// browsers have 60 to 300.
const maxUserAgent = 512

// A product is a word of a User-Agent header, without what follows its slash, and
// the browser that it stands for.
type product struct{ word, browser string }

// browsers are the products in the order in which they are looked for: most browsers
// name Chrome or Safari besides themselves.
var browsers = [...]product{
	{"Edg", "Edge"}, {"EdgA", "Edge"}, {"EdgiOS", "Edge"}, {"Edge", "Edge"},
	{"OPR", "Opera"}, {"OPT", "Opera"}, {"OPX", "Opera"}, {"Opera", "Opera"},
	{"SamsungBrowser", "Samsung Internet"},
	{"Vivaldi", "Vivaldi"}, {"YaBrowser", "Yandex"}, {"DuckDuckGo", "DuckDuckGo"}, {"Ddg", "DuckDuckGo"},
	{"FxiOS", "Firefox"}, {"Firefox", "Firefox"},
	{"CriOS", "Chrome"}, {"Chrome", "Chrome"},
}

// platforms are words of the comment in a User-Agent header, in the order in which
// they are looked for: Android names Linux, and iPhones are "like Mac OS X".
var platforms = [...]struct{ word, platform string }{
	{"Windows Phone", ""}, {"CrOS ", "ChromeOS"}, {"Android", "Android"}, {"iPod", ""}, {"iPhone", "iPhone"}, {"iPad", "iPad"},
	{"Windows", "Windows"}, {"Macintosh", "macOS"}, {"Linux", "Linux"},
}

// Browser names the browser and the platform that a User-Agent header claims, in
// words for a page that lists somebody's sessions: "Chrome", "Edge", "Firefox",
// "Safari", "Opera", "Samsung Internet" and a few others, on "Windows", "macOS",
// "Linux", "Android", "iPhone", "iPad" or "ChromeOS". Either is "" if it is not
// known; a web view in an app is no browser. The results are words of this package
// and no text of the header, of which 512 bytes are looked at.
//
// Anybody can send any header: decide nothing by it. Brave claims to be Chrome, and
// Safari on an iPad to be on macOS.
func Browser(userAgent string) (browser, platform string) {
	userAgent = userAgent[:min(len(userAgent), maxUserAgent)]
	_, comment, _ := strings.Cut(userAgent, "(")
	comment, _, _ = strings.Cut(comment, ")")
	for _, p := range platforms {
		if strings.Contains(comment, p.word) {
			platform = p.platform
			break
		}
	}
	if strings.Contains(comment, "; wv") { // Android's web view
		return "", platform
	}
	for _, p := range browsers {
		if hasProduct(userAgent, p.word) {
			return p.browser, platform
		}
	}
	// Web views of iOS have no Version, and the old browser of Android has it too.
	if hasProduct(userAgent, "Version") && hasProduct(userAgent, "Safari") && (platform == "macOS" || platform == "iPhone" || platform == "iPad") {
		browser = "Safari"
	}
	return browser, platform
}

// hasProduct reports whether a User-Agent header names a product with its version.
func hasProduct(userAgent, word string) bool {
	for rest := userAgent; ; {
		i := strings.Index(rest, word)
		if i < 0 {
			return false
		}
		after := rest[i+len(word):]
		if strings.HasPrefix(after, "/") && (i == 0 || rest[i-1] == ' ') {
			return true
		}
		rest = after
	}
}
