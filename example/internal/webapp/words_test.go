package webapp

import (
	"testing"
	"time"
)

func TestWords(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ got, want string }{
		{Bytes(0), "0 bytes"},
		{Bytes(1023), "1023 bytes"},
		{Bytes(1536), "1.5 KB"},
		{Bytes(5 << 30), "5 GB"},
		{Bytes(1<<20 - 1), "1024 KB"},
		{Bytes(1 << 62), "4096 PB"},
		{Ago(time.Now().Add(time.Hour + time.Millisecond)), "in 60 minutes"},
		{Ago(time.Now().Add(-90 * time.Second)), "90 seconds ago"},
		{Ago(time.Now().Add(-3 * time.Minute)), "3 minutes ago"},
		{Ago(time.Now().Add(-72 * time.Hour)), "3 days ago"},
		{Ago(time.Now().Add(5*time.Hour + time.Minute)), "in 5 hours"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}
