package web

import (
	"strings"
	"testing"
)

func TestBrowser(t *testing.T) {
	t.Parallel()
	const webkit = " AppleWebKit/537.36 (KHTML, like Gecko) "
	for _, test := range []struct{ name, header, browser, platform string }{
		{"Chrome", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/131.0.0.0 Safari/537.36", "Chrome", "Windows"},
		{"Chrome", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7)" + webkit + "Chrome/131.0.0.0 Safari/537.36", "Chrome", "macOS"},
		{"Chrome", "Mozilla/5.0 (X11; Linux x86_64)" + webkit + "Chrome/131.0.0.0 Safari/537.36", "Chrome", "Linux"},
		{"Chrome", "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0)" + webkit + "Chrome/131.0.0.0 Safari/537.36", "Chrome", "ChromeOS"},
		{"Chrome", "Mozilla/5.0 (Linux; Android 10; K)" + webkit + "Chrome/131.0.0.0 Mobile Safari/537.36", "Chrome", "Android"},
		{"Chrome", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1", "Chrome", "iPhone"},
		{"Chrome", "Mozilla/5.0 (iPad; CPU OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/131.0.6778.73 Mobile/15E148 Safari/604.1", "Chrome", "iPad"},
		{"Edge", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/131.0.0.0 Safari/537.36 Edg/131.0.2903.70", "Edge", "Windows"},
		{"Edge", "Mozilla/5.0 (Linux; Android 10; HD1913)" + webkit + "Chrome/131.0.6778.81 Mobile Safari/537.36 EdgA/131.0.2903.48", "Edge", "Android"},
		{"Edge", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 EdgiOS/131.2903.68 Mobile/15E148 Safari/605.1.15", "Edge", "iPhone"},
		{"Edge of 2015", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/70.0.3538.102 Safari/537.36 Edge/18.19042", "Edge", "Windows"},
		{"Firefox", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", "Windows"},
		{"Firefox", "Mozilla/5.0 (Macintosh; Intel Mac OS X 14.7; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", "macOS"},
		{"Firefox", "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", "Linux"},
		{"Firefox", "Mozilla/5.0 (Android 14; Mobile; rv:133.0) Gecko/133.0 Firefox/133.0", "Firefox", "Android"},
		{"Firefox", "Mozilla/5.0 (iPhone; CPU iPhone OS 14_7_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/133.0 Mobile/15E148 Safari/605.1.15", "Firefox", "iPhone"},
		{"Firefox on FreeBSD", "Mozilla/5.0 (X11; FreeBSD amd64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox", ""},
		{"Safari", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Safari/605.1.15", "Safari", "macOS"},
		{"Safari", "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 Mobile/15E148 Safari/604.1", "Safari", "iPhone"},
		{"Safari", "Mozilla/5.0 (iPad; CPU OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1", "Safari", "iPad"},
		{"Opera", "Mozilla/5.0 (Windows NT 10.0; Win64; x64)" + webkit + "Chrome/131.0.0.0 Safari/537.36 OPR/115.0.0.0", "Opera", "Windows"},
		{"Opera Touch", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.7 Mobile/15E148 Safari/604.1 OPT/5.2.0", "Opera", "iPhone"},
		{"Opera of 2012", "Opera/9.80 (X11; Linux x86_64) Presto/2.12.388 Version/12.16", "Opera", "Linux"},
		{"Samsung Internet", "Mozilla/5.0 (Linux; Android 10; K)" + webkit + "SamsungBrowser/27.0 Chrome/125.0.0.0 Mobile Safari/537.36", "Samsung Internet", "Android"},
		{"Vivaldi", "Mozilla/5.0 (X11; Linux x86_64)" + webkit + "Chrome/130.0.0.0 Safari/537.36 Vivaldi/7.0.3495.10", "Vivaldi", "Linux"},
		{"DuckDuckGo", "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.4.1 Safari/605.1.15 Ddg/17.4.1", "DuckDuckGo", "macOS"},
		{"a web view of Android", "Mozilla/5.0 (Linux; Android 14; SM-S911B Build/UP1A.231005.007; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/131.0.6778.81 Mobile Safari/537.36", "", "Android"},
		{"a web view of iOS", "Mozilla/5.0 (iPhone; CPU iPhone OS 17_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 [FBAN/FBIOS;FBAV/490.0]", "", "iPhone"},
		{"the old browser of Android", "Mozilla/5.0 (Linux; U; Android 4.0.3; de-de; GT-I9100) AppleWebKit/534.30 (KHTML, like Gecko) Version/4.0 Mobile Safari/534.30", "", "Android"},
		{"Internet Explorer", "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko", "", "Windows"},
		{"Windows Phone", "Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1; Microsoft; Lumia 950)" + webkit + "Chrome/52.0.2743.116 Mobile Safari/537.36 Edge/15.15254", "Edge", ""},
		{"an iPod", "Mozilla/5.0 (iPod touch; CPU iPhone OS 12_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Mobile/15E148 Safari/604.1", "", ""},
		{"a browser without a screen", "Mozilla/5.0 (X11; Linux x86_64)" + webkit + "HeadlessChrome/131.0.0.0 Safari/537.36", "", "Linux"},
		{"curl", "curl/8.5.0", "", ""},
		{"Go", "Go-http-client/2.0", "", ""},
		{"nothing", "", "", ""},
		{"a word without a version", "Mozilla/5.0 (X11; Linux x86_64) Chrome Firefox", "", "Linux"},
		{"a part of a word", "MyFirefox/1 (Android)", "", "Android"},
		{"a word that comes twice", "xChrome/1 Chrome/2", "Chrome", ""},
		{"an open comment", "Mozilla/5.0 (Android", "", "Android"},
		{"a platform outside of the comment", "Mozilla/5.0 (x) Windows Android", "", ""},
		{"hostile texts", "<script>alert(1)</script>\r\nChrome/1", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if browser, platform := Browser(test.header); browser != test.browser || platform != test.platform {
				t.Errorf("%s: %q on %q, want %q on %q", test.header, browser, platform, test.browser, test.platform)
			}
		})
	}
}

// Of a long header only the beginning counts, and it costs no memory. AllocsPerRun
// wants no other tests beside it.
func TestBrowserOfALongHeader(t *testing.T) {
	if browser, _ := Browser(strings.Repeat("x", maxUserAgent-9) + " Chrome/1"); browser != "Chrome" {
		t.Errorf("at the end of what counts: %q", browser)
	}
	if browser, platform := Browser(strings.Repeat("x", maxUserAgent) + " (Android) Chrome/1"); browser != "" || platform != "" {
		t.Errorf("behind it: %q on %q", browser, platform)
	}
	for _, long := range []string{strings.Repeat("Chrome", 8<<10/6), strings.Repeat("(", 8<<10), strings.Repeat(" Edg", 8<<10/4)} {
		if n := testing.AllocsPerRun(10, func() { Browser(long) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkBrowser(b *testing.B) {
	header := strings.Repeat(" Edg EdgA OPR Chrome", 8<<10/20)
	for b.Loop() {
		Browser(header)
	}
}
