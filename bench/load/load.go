// Package load sends the same HTTP/1.1 request over and over on a fixed number
// of connections. It does as little as it can, so that the server is what is
// measured.
package load

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Run sends n requests on so many kept-alive connections and returns how long
// that took. Every answer must have the status 200 and the length of the first.
func Run(address string, request []byte, connections, n int) (time.Duration, error) {
	clients := make([]*client, connections)
	for i := range clients {
		c, err := dial(address, request)
		if err != nil {
			return 0, err
		}
		defer c.conn.Close()
		clients[i] = c
	}
	var left atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, connections)
	var group sync.WaitGroup
	begin := time.Now()
	for _, c := range clients {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := c.once(request); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	select {
	case err := <-errs:
		return 0, err
	default:
		return took, nil
	}
}

type client struct {
	conn   net.Conn
	answer []byte
}

// dial opens a connection and learns from a first answer how long they are.
func dial(address string, request []byte) (*client, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	c := &client{conn: conn}
	if _, err := conn.Write(request); err != nil {
		return nil, err
	}
	count := &counter{r: conn}
	reader := bufio.NewReader(count)
	res, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK || res.ContentLength < 0 || reader.Buffered() != 0 {
		return nil, fmt.Errorf("load: %s answers %s: %.200s", address, res.Status, body)
	}
	c.answer = make([]byte, count.n)
	return c, nil
}

var statusLine = []byte("HTTP/1.1 200 OK\r\n")

func (c *client) once(request []byte) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.conn, c.answer); err != nil {
		return err
	}
	if !bytes.HasPrefix(c.answer, statusLine) {
		return fmt.Errorf("load: an answer that is not like the first: %.100q", c.answer)
	}
	return nil
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += n
	return n, err
}
