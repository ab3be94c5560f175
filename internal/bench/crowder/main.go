// Command crowder is a user who means harm: it holds connections to the daemon on which
// nothing goes on, and asks for attaches that never end, until it is killed.
//
//	crowder SOCKET RESOURCE CONNECTIONS NETNS...
package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// again is the pause before what was refused or cut off is tried again; the daemon asks
// for as much (Retry-After).
const again = time.Second

func main() {
	socket, resource, paths := os.Args[1], os.Args[2], os.Args[4:]
	connections, err := strconv.Atoi(os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "crowder:", err)
		os.Exit(2)
	}
	for i, path := range paths {
		go hang(socket, resource, path, i)
	}
	time.Sleep(again / 5) // half a body takes an attach's place, too
	for i := range connections {
		go stall(socket, i)
	}
	select {}
}

// stalled are beginnings of requests: nothing, half a header, half a body, and whole
// requests of which nobody reads the answers.
var stalled = []string{
	"",
	"GET /v1/networks HTTP/1.1\r\nHost: loc",
	"POST /v1/networks/x/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"container_id\":",
	"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\nGET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n",
}

func stall(socket string, i int) {
	for ; ; time.Sleep(again) {
		c, err := net.Dial("unix", socket)
		if err != nil {
			continue
		}
		_, _ = io.WriteString(c, stalled[i%len(stalled)])
		if i%len(stalled) == len(stalled)-1 {
			time.Sleep(10 * again) // before it takes the answers
		}
		_, _ = io.Copy(io.Discard, c) // until the daemon hangs up
		c.Close()
	}
}

func hang(socket, resource, path string, i int) {
	body := fmt.Sprintf(`{"container_id":"crowd%d","interface_name":"eth0","netns":%q}`, i, path)
	request := fmt.Sprintf("POST /v1/networks/%s/attach HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", resource, len(body), body)
	for ; ; time.Sleep(again) {
		c, err := net.Dial("unix", socket)
		if err != nil {
			continue
		}
		if _, err := io.WriteString(c, request); err == nil {
			if r, err := http.ReadResponse(bufio.NewReader(c), nil); err == nil {
				r.Body.Close()
			}
		}
		c.Close()
	}
}
