package web

// Browser is a placeholder until the words are here.
func Browser(string) (browser, platform string) { return "", "" }
