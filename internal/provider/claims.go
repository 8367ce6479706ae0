package provider

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// claims are the members of a JSON object, each still JSON: the claims of a JWT,
// or a reply. Its methods take a value of another type for an absent one.
type claims map[string]json.RawMessage

// text returns a string; "" if there is none.
func (c claims) text(name string) string {
	var s string
	if json.Unmarshal(c[name], &s) != nil {
		return ""
	}
	return s
}

// texts returns the strings of a list that are not empty, or a single string as a
// list.
func (c claims) texts(name string) []string {
	var list []json.RawMessage
	if json.Unmarshal(c[name], &list) != nil {
		if s := c.text(name); s != "" {
			return []string{s}
		}
		return nil
	}
	var texts []string
	for _, raw := range list {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			texts = append(texts, s)
		}
	}
	return texts
}

// truth accepts the forms of "yes" in Microsoft's claims: true, 1, "1", "true".
func (c claims) truth(name string) bool {
	switch strings.Trim(string(c[name]), `"`) {
	case "true", "True", "1":
		return true
	}
	return false
}

// time returns a NumericDate (RFC 7519 section 2).
func (c claims) time(name string) (time.Time, bool) {
	var f float64
	if raw := c[name]; len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &f) != nil || math.Abs(f) > 1e11 {
		return time.Time{}, false
	}
	return time.Unix(int64(f), 0), true
}

// duration returns a number of seconds, at most maxLifetime; the number may stand in
// a string. It is 0 if there is none.
func (c claims) duration(name string) time.Duration {
	f, err := strconv.ParseFloat(strings.Trim(string(c[name]), `" `), 64)
	if err != nil || math.IsNaN(f) || f <= 0 {
		return 0
	}
	return time.Duration(min(f, maxLifetime.Seconds()) * float64(time.Second))
}
