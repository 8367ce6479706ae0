package webapp

import (
	"fmt"
	"math"
	"time"
)

// Bytes formats a number of bytes: "812 bytes", "1.5 KB", "36 MB".
func Bytes(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d bytes", n)
	}
	size, unit := float64(n)/1024, 0
	for size >= 1024 && unit < 4 {
		size, unit = size/1024, unit+1
	}
	digits := 0
	if size < 10 && size*10 != math.Floor(size)*10 {
		digits = 1
	}
	return fmt.Sprintf("%.*f %s", digits, size, []string{"KB", "MB", "GB", "TB", "PB"}[unit])
}

// Ago formats a time relative to now: "in 58 minutes", "3 days ago".
func Ago(t time.Time) string {
	d := time.Until(t)
	past := d < 0
	d = d.Abs()
	n, unit := int(d.Round(time.Second)/time.Second), "second"
	switch {
	case d < time.Second:
		return "now"
	case d >= 48*time.Hour:
		n, unit = int(d.Round(24*time.Hour)/(24*time.Hour)), "day"
	case d >= 2*time.Hour:
		n, unit = int(d.Round(time.Hour)/time.Hour), "hour"
	case d >= 2*time.Minute:
		n, unit = int(d.Round(time.Minute)/time.Minute), "minute"
	}
	if n != 1 {
		unit += "s"
	}
	if past {
		return fmt.Sprintf("%d %s ago", n, unit)
	}
	return fmt.Sprintf("in %d %s", n, unit)
}
