package compact

import (
	"slices"
	"strings"
	"testing"
)

// A text is divided where that takes fewer bits.
func TestRuns(t *testing.T) {
	t.Parallel()
	const digits, url, std, guid = 0, 2, 3, "0a0a0a0a-1b1b-2c2c-3d3d-4e4e4e4e4e4e"
	known := Dictionary{Texts: []string{"", "Ada", "Ada Lovelace", "contoso.example", "Ada Lovelace"}}
	for _, test := range []struct {
		text string
		want []run
	}{
		{"", nil},
		{"qkayw", []run{{lower, 0, "qkayw"}}},
		{"Ziddbr", []run{{lower, 0, "Ziddbr"}}},
		{"TE", []run{{url, 0, "TE"}}},
		{"é", []run{{plainRun, 0, "é"}}},
		{"52.51.861.53", []run{{digits, 0, "52.51.861.53"}}},
		{"S-4-3-52-3489154583-811457875", []run{{url, 0, "S"}, {digits, 0, "-4-3-52-3489154583-811457875"}}},
		{"2.RcIdrzpNM2OPzYjdlM2tXgNkToPLphZSgjo2XocM.", []run{
			{digits, 0, "2."}, {url, 0, "RcIdrzpNM2OPzYjdlM2tXgNkToPLphZSgjo2XocM"}, {digits, 0, "."},
		}},
		{"XXJeCRd7d7uTZAV9+LoPd4Pt/CHPMG", []run{{std, 0, "XXJeCRd7d7uTZAV9+LoPd4Pt/CHPMG"}}},
		{"https://uju.oxcituk.example/" + guid + "/", []run{{lower, 0, "https://uju.oxcituk.example/"}, {guidRun, 0, guid}, {digits, 0, "/"}}},
		{guid, []run{{guidRun, 0, guid}}},
		{strings.ToUpper(guid), []run{{url, 0, strings.ToUpper(guid)}}},
		{"Ada", []run{{knownRun, 1, "Ada"}}},
		{"Ada Lovelace", []run{{knownRun, 2, "Ada Lovelace"}}},
		{"Ada Lovelaces", []run{{knownRun, 2, "Ada Lovelace"}, {lower, 0, "s"}}},
		{"Ada L", []run{{lower, 0, "Ada L"}}},
		{"a@contoso.example", []run{{lower, 0, "a@"}, {knownRun, 3, "contoso.example"}}},
		{"mycontoso.example", []run{{lower, 0, "mycontoso.example"}}},
		{"openid profile", []run{{knownRun, 5, "openid"}, {digits, 0, " "}, {knownRun, 6, "profile"}}},
		{"x@Ada", []run{{lower, 0, "x@"}, {knownRun, 1, "Ada"}}},
	} {
		got := known.runs(test.text)
		if !slices.Equal(got, test.want) {
			t.Errorf("%q is %v, want %v", test.text, got, test.want)
		}
	}
}
