// Package netavark owns netavark's plugin protocol: the JSON of create, setup,
// teardown and info, and how a plugin process reads, replies and fails.
//
// A plugin is run as `PLUGIN create`, `PLUGIN setup NETNS`, `PLUGIN teardown NETNS`
// or `PLUGIN info`, with a JSON document on stdin. It exits with 0 and its reply
// on stdout, or with another code and {"error": "..."} on stdout. What it writes on
// stderr reaches the person who called podman. netavark 1.x writes null for what
// 2.x leaves out; both are read alike, and members that are not known are let be.
package netavark

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Sizes in bytes.
const (
	// maxInput is far more than podman ever sends.
	maxInput = 4 << 20
	// maxReply is less than a pipe holds (pipe(7)): podman reads a plugin's reply to
	// create only after the plugin has exited, so that a longer one would hang both.
	maxReply = 60 << 10
	// maxError leaves room for JSON to write six bytes for one.
	maxError = 8 << 10
)

// Exit codes of a plugin.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

const usage = `This program is run by podman's netavark, as the network driver "net-porter":
  podman network create -d net-porter -o net_porter_resource=RESOURCE NAME
  podman run --network NAME ...

Its commands, each with a JSON document on stdin but for info:
  create            check a new network
  setup NETNS       attach a container
  teardown NETNS    detach a container
  info              print the version
`

// Handler does what netavark asks for. The text of an error reaches the person who
// called podman.
type Handler interface {
	// Create checks a new network. It may change the network's DNSEnabled and
	// Options; podman stores the network so.
	Create(ctx context.Context, network *Network) error
	// Setup attaches the container whose network namespace is at the path netns.
	Setup(ctx context.Context, netns string, exec *Exec) (*StatusBlock, error)
	// Teardown detaches it again. It has no error: one would make `podman stop` fail,
	// and podman does not try again.
	Teardown(ctx context.Context, netns string, exec *Exec)
	// Info names the plugin's version.
	Info() Info
}

// Run runs one command, args without the program's name, and returns the exit
// code. Nothing but the reply or the error is written to stdout. A teardown of which
// stdin cannot be understood warns on stderr and succeeds, like every teardown.
func Run(ctx context.Context, h Handler, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 1 && (args[0] == "-h" || args[0] == "--help" || args[0] == "help") {
		fmt.Fprint(stderr, usage)
		return exitOK
	}
	if err := checkArgs(args); err != nil {
		fmt.Fprint(stderr, usage)
		writeError(stdout, err)
		return exitUsage
	}
	reply, err := dispatch(ctx, h, args, stdin, stderr)
	if err == nil && len(reply) > 0 {
		_, err = stdout.Write(append(reply, '\n'))
	} else if err != nil {
		writeError(stdout, err)
	}
	if err != nil {
		return exitFailure
	}
	return exitOK
}

func checkArgs(args []string) error {
	if len(args) == 0 {
		return errors.New("no command: create, setup, teardown or info is expected")
	}
	want := 1
	switch args[0] {
	case "create", "info":
	case "setup", "teardown":
		want = 2
	default:
		return fmt.Errorf("unknown command %.100q: create, setup, teardown or info is expected", args[0])
	}
	if len(args) != want {
		return fmt.Errorf("%s takes %d arguments, got %d", args[0], want-1, len(args)-1)
	}
	return nil
}

func dispatch(ctx context.Context, h Handler, args []string, stdin io.Reader, stderr io.Writer) ([]byte, error) {
	switch args[0] {
	case "create":
		return create(ctx, h, stdin)
	case "setup":
		exec := new(Exec)
		if err := read(stdin, exec); err != nil {
			return nil, err
		}
		status, err := h.Setup(ctx, args[1], exec)
		if err != nil {
			return nil, err
		}
		return json.Marshal(status)
	case "teardown":
		exec := new(Exec)
		if err := read(stdin, exec); err != nil {
			fmt.Fprintf(stderr, "net-porter: warning: nothing was detached: %v\n", err)
			return nil, nil
		}
		h.Teardown(ctx, args[1], exec)
		return nil, nil
	default:
		return json.Marshal(h.Info())
	}
}

func create(ctx context.Context, h Handler, stdin io.Reader) ([]byte, error) {
	network := new(Network)
	if err := read(stdin, network); err != nil {
		return nil, err
	}
	if err := h.Create(ctx, network); err != nil {
		return nil, err
	}
	reply, err := network.Echo()
	if err == nil && len(reply) > maxReply {
		err = fmt.Errorf("the network's definition is longer than %d bytes; use fewer or shorter labels", maxReply)
	}
	return reply, err
}

// read decodes the one document on stdin.
func read(stdin io.Reader, into any) error {
	data, err := io.ReadAll(io.LimitReader(stdin, maxInput+1))
	if err != nil {
		return fmt.Errorf("cannot read what netavark sent: %w", err)
	}
	if len(data) > maxInput {
		return fmt.Errorf("netavark sent more than %d bytes", maxInput)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("cannot understand what netavark sent: %w", err)
	}
	return nil
}

// writeError writes the error's document. "error" is its only member: podman 5 and
// older refuse others.
func writeError(stdout io.Writer, err error) {
	doc, marshalErr := json.Marshal(struct {
		Error string `json:"error"`
	}{truncate("net-porter: "+err.Error(), maxError)})
	if marshalErr != nil {
		return
	}
	_, _ = stdout.Write(append(doc, '\n'))
}

// truncate cuts s to at most n bytes, and not inside a UTF-8 sequence. Where it
// cuts, "..." shows it.
func truncate(s string, n int) string {
	const mark = "..."
	if len(s) <= n {
		return s
	}
	n -= len(mark)
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + mark
}
