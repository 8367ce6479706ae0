package livesdk

import (
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// A Request is what to send to Graph.
type Request struct {
	Method string

	// Path is below https://graph.microsoft.com/v1.0/, escaped, without a slash at
	// its beginning, and with its query. Calls of package graph take it as it is.
	Path string

	// Body is the JSON body of requests that had none before: those for sharing
	// links. It is empty for others, whose bodies are the app's own.
	Body string

	// Dropped are parameters that had an effect at Live Connect, or are unknown, and
	// are not in Path: names only, sorted. For pages after the first, follow the
	// @odata.nextLink of Graph's answers in place of counting with offset.
	Dropped []string
}

// Path returns today's request for one to Live Connect: a method, which is GET if
// it is empty, and a path such as "me/skydrive/files", with or without a slash or
// "v5.0/" before it or all of https://apis.live.net/v5.0/. The case of words and IDs
// does not matter, that of names does. An error is an [*UnmappedError].
//
// PUT becomes PATCH where it changed properties. MOVE becomes PATCH, and COPY becomes
// POST: the body {"destination": ID} becomes {"parentReference": {"id": ID}}, with
// the [ItemID]. Of POST to a folder the body becomes
// {"name": "...", "folder": {}}, of PUT to an item the property name is still so called.
// Files of more than 250 MB need an upload session ("driveItem:
// createUploadSession", Microsoft), which Upload of package graph uses.
//
// Of the query, limit, sort_by and sort_order, offset for Outlook's lists, q, type
// of an item's picture, overwrite of an upload and the method override "method" have
// equivalents. Parameters about the form of the answer, such as pretty, are left
// out. An access token in the query is in neither the result nor the error: send
// one of Graph's in the Authorization header.
//
// Two things are not documented anywhere: which size of today is nearest to a
// picture's type, and that Live Connect did not care about case, which is inferred
// from the SDK.
func Path(method, path string) (Request, error) {
	segments, params, reason := split(path)
	method = strings.ToUpper(method)
	if method == "" {
		method = "GET"
	}
	if m := strings.ToUpper(params.get("method")); slices.Contains(methods, m) {
		method = m
	}
	if !slices.Contains(methods, method) {
		return Request{}, unmapped(printable(path), "the method is not one of Live Connect: GET, POST, PUT, DELETE, MOVE and COPY are")
	}
	if reason != "" {
		return Request{}, unmapped(method+" "+printable(path), reason)
	}
	name := method + " " + printable(strings.Join(segments, "/"))
	known := false
	for _, r := range rules {
		values, ok := match(r.live, segments)
		known = known || ok
		if !ok || r.method != method {
			continue
		}
		q := r.convert(params, values)
		if r.query == searching && values["q"] == "" {
			return Request{}, unmapped(name, "there is no text to search for, in q")
		}
		return Request{Method: r.to, Path: fill(r.graph, values) + q.text(r.graph), Body: r.body, Dropped: q.droppedNames()}, nil
	}
	return Request{}, unmapped(name, why(method, segments, known))
}

var methods = []string{"GET", "POST", "PUT", "DELETE", "MOVE", "COPY"}

// why returns the reason why there is no rule for a path.
func why(method string, segments []string, known bool) string {
	for _, g := range gaps {
		_, ok := match(g.live, segments)
		if ok && (g.method == "" || g.method == method) {
			return "has no equivalent: " + g.why
		}
	}
	switch first, n := segments[0], len(segments); {
	case n > 1 && strings.EqualFold(segments[n-2], "files") && !isName(segments[n-1]):
		return "has a name that OneDrive does not allow"
	case known:
		return "has no equivalent with this method"
	case outlook.MatchString(first):
		return "has no equivalent: " + outlookReason(first)
	case remark.MatchString(first):
		return "has no equivalent: " + remarks
	case top.MatchString(first):
		return topFolder
	case user.MatchString(first):
		return "has no equivalent: " + otherUser
	}
	return "is not a path of Live Connect"
}

// split returns the decoded segments of a path and the parameters of its query, or
// a reason why the path is none.
func split(path string) (segments []string, params parameters, reason string) {
	path, _, _ = strings.Cut(path, "#")
	path, rawQuery, _ := strings.Cut(path, "?")
	params = parse(rawQuery)
	if len(path) > 4096 {
		return nil, params, "is longer than 4096 bytes"
	}
	if scheme, rest, ok := strings.Cut(path, "://"); ok && !strings.Contains(scheme, "/") {
		host, below, _ := strings.Cut(rest, "/")
		if strings.ToLower(scheme) != "https" || strings.ToLower(host) != "apis.live.net" {
			return nil, params, "is not below https://apis.live.net/v5.0/"
		}
		if path = below; !hasVersion(path) {
			return nil, params, "is not below https://apis.live.net/v5.0/"
		}
	}
	path = strings.Trim(path, "/")
	if hasVersion(path) {
		path = path[len(version):]
	}
	for segment := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		text, err := url.PathUnescape(segment)
		switch {
		case err != nil:
			return nil, params, "has a % that is not followed by two hexadecimal digits"
		case !utf8.ValidString(text) || strings.ContainsFunc(text, isControl):
			return nil, params, "has a character that no path has"
		case mentionsToken(text):
			return nil, params, "has an access token outside of its query"
		}
		segments = append(segments, text)
	}
	return segments, params, ""
}

const version = "v5.0/"

func hasVersion(path string) bool {
	return len(path) >= len(version) && strings.EqualFold(path[:len(version)], version)
}

// match compares a path with a pattern, and returns what stands for its words in
// braces.
func match(pattern string, segments []string) (values map[string]string, ok bool) {
	words := strings.Split(pattern, "/")
	if n := len(words) - 1; words[n] == "..." {
		if words = words[:n]; len(segments) <= n {
			return nil, false
		}
		segments = segments[:n]
	}
	if len(words) != len(segments) {
		return nil, false
	}
	values = map[string]string{}
	for i, word := range words {
		switch s := segments[i]; word {
		case "{item}", "{folder}":
			kind, id, isItem := itemParts(s)
			if !isItem || word == "{folder}" && kind != "folder" && kind != "album" {
				return nil, false
			}
			values["id"] = id
		case "{name}":
			if !isName(s) {
				return nil, false
			}
			values["name"] = s
		default:
			if !strings.EqualFold(word, s) {
				return nil, false
			}
		}
	}
	return values, true
}

// isName reports whether a file can have a name ("Restrictions and limitations in
// OneDrive and SharePoint", Microsoft).
func isName(s string) bool {
	return strings.Trim(s, " .") != "" && len(utf16.Encode([]rune(s))) <= 255 && !strings.ContainsAny(s, `"*:<>?/\|`)
}

// fill puts values into a pattern of Graph.
func fill(pattern string, values map[string]string) string {
	for key, value := range values {
		if key != "id" { // which needs none
			value = escape(value)
		}
		pattern = strings.ReplaceAll(pattern, "{"+key+"}", value)
	}
	return pattern
}

// escape makes a segment of a path. A colon would end a name.
func escape(s string) string { return strings.ReplaceAll(url.PathEscape(s), ":", "%3A") }

func isControl(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }

// mentionsToken reports whether a text has the parameter with the access token in
// it, encoded or not.
func mentionsToken(s string) bool {
	for range 4 {
		_, after, ok := strings.Cut(strings.ToLower(strings.ReplaceAll(s, "_", "")), "accesstoken")
		if ok && strings.Contains(after, "=") {
			return true
		}
		decoded, err := url.PathUnescape(s)
		if err != nil || decoded == s {
			return false
		}
		s = decoded
	}
	return true // nobody encodes a path so often
}

// printable is the part of a path that an error may show. What cannot be decoded could
// have anything in it.
func printable(path string) string {
	if i := strings.IndexAny(path, "?#&;"); i >= 0 {
		path = path[:i]
	}
	if _, err := url.PathUnescape(path); err != nil || strings.Contains(path, "://") || mentionsToken(path) {
		return "(not shown)"
	}
	return path
}
