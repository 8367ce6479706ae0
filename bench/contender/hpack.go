package contender

import (
	"bytes"
	"fmt"

	"golang.org/x/net/http2/hpack"
)

// HeaderBlock is the number of bytes that the request headers of a page take
// over HTTP/2 once the connection has settled, with a table of 4096 bytes, one
// field for every cookie, and another page every time.
func HeaderBlock(c *Contender) int {
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
		for _, field := range BrowserHeaders {
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
