package catalog

import (
	"strings"
	"testing"
)

// What a header costs, at worst.
func BenchmarkFor(b *testing.B) {
	for name, header := range map[string]string{"none": "", "usual": "de-CH,de;q=0.9,en;q=0.8", "long": strings.Repeat("xh-Latn-ZA,", 100)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				For("", header)
			}
		})
	}
}
