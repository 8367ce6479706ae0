package provider

import (
	"slices"
	"strings"
	"testing"
)

func TestAADSTSNumbers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want []int
	}{
		{"", nil},
		{"AADSTS50011: The redirect URI ...", []int{50011}},
		{"AADSTS65001: a. AADSTS9002327: b", []int{65001, 9002327}},
		{"AADSTS", nil},
		{"AADSTSx AADSTS1x", []int{1}},
		{"AADSTS12345678901234567890", []int{123456789}},
		{"aadsts50011", nil},
		{strings.Repeat("AADSTS1 ", 20), slices.Repeat([]int{1}, 8)},
	} {
		if got := AADSTSNumbers(test.text); !slices.Equal(got, test.want) {
			t.Errorf("%q: %v, want %v", test.text, got, test.want)
		}
	}
}
