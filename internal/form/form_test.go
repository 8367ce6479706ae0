package form

import (
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		body   string
		fields []Field
		reason string
	}{
		{"", nil, ""},
		{"b=2&a=1&b=", []Field{{"b", "2"}, {"a", "1"}, {"b", ""}}, ""},
		{"a+b=%3D%26+%2B%C3%BC", []Field{{"a b", "=& +ü"}}, ""},
		{"a=1%0D%0A2", []Field{{"a", "1\r\n2"}}, ""},
		{"_charset_=UTF-8", []Field{{"_charset_", "UTF-8"}}, ""},
		{"a=" + strings.Repeat("&a=", MaxFields), nil, "too many fields"},
		{"a", nil, "not as browsers send forms"},
		{"a=1;b=2", nil, "not as browsers send forms"},
		{"%zz=1", nil, "broken encoding"},
		{"a=%2", nil, "broken encoding"},
		{"=1", nil, "field without a name"},
		{"a=%00", nil, "not text that a page can hold"},
		{"a=%FF", nil, "not text that a page can hold"},
		{"a=%0A", nil, "not text that a page can hold"},
		{"%0D=1", nil, "not text that a page can hold"},
		{"_CHARSET_=windows-1252", nil, "another encoding"},
	} {
		fields, reason := Parse(test.body)
		if reason != test.reason || reason == "" && !slices.Equal(fields, test.fields) {
			t.Errorf("%.40q: %q, %q, want %q, %q", test.body, fields, reason, test.fields, test.reason)
		}
	}
}
