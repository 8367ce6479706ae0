package main

import (
	"bytes"
	"fmt"
	"strings"

	"golang.org/x/net/http2/hpack"

	"example.com/msauth/bench/contender"
)

// headerBlock is the number of bytes that the request headers of a page take
// over HTTP/2 once the connection has settled, with a table of 4096 bytes, one
// field for every cookie, and another page every time.
func headerBlock(c *contender.Contender) int {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	const warm, counted = 500, 1000
	total := 0
	for i := range warm + counted {
		block.Reset()
		write := func(name, value string) {
			encoder.WriteField(hpack.HeaderField{Name: name, Value: value})
		}
		write(":method", "GET")
		write(":authority", "app.example.com")
		write(":scheme", "https")
		write(":path", fmt.Sprintf("/files/%d", 1000+i))
		for _, field := range contender.BrowserHeaders {
			write(field[0], field[1])
		}
		for _, cookie := range c.Cookies {
			write("cookie", cookie)
		}
		if i >= warm {
			total += block.Len()
		}
	}
	return total / counted
}

// cells joins the columns of a row of a Markdown table.
func cells(columns ...any) string {
	texts := make([]string, len(columns))
	for i, c := range columns {
		texts[i] = fmt.Sprint(c)
	}
	return "| " + strings.Join(texts, " | ") + " |"
}
