package nft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Chain is a chain that is there.
type Chain struct {
	Name    string
	Device  string // of its hook, "" without one
	Comment string
	Hooked  bool
}

// Chains returns the chains of a table; that there is no table is no error.
func (c *Conn) Chains(t Table) ([]Chain, error) {
	var chains []Chain
	err := c.ask(unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, t.Family, func(body []byte) {
		var chain Chain
		table := ""
		each(body, func(kind uint16, value []byte) {
			switch kind {
			case unix.NFTA_CHAIN_TABLE:
				table = textOf(value)
			case unix.NFTA_CHAIN_NAME:
				chain.Name = textOf(value)
			case unix.NFTA_CHAIN_HOOK:
				chain.Hooked = true
				each(value, func(kind uint16, value []byte) {
					if kind == unix.NFTA_HOOK_DEV {
						chain.Device = textOf(value)
					}
				})
			case chainUserdata:
				if len(value) > 2 && value[0] == 0 {
					chain.Comment = textOf(value[2:])
				}
			}
		})
		if table == t.Name {
			chains = append(chains, chain)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list the chains of nf_tables: %w", err)
	}
	return chains, nil
}

// Generation is a number that changes by one with each batch of anybody's.
func (c *Conn) Generation() (uint32, error) {
	var generation uint32
	err := c.ask(unix.NFT_MSG_GETGEN, 0, unix.AF_UNSPEC, func(body []byte) {
		each(body, func(kind uint16, value []byte) {
			if kind == unix.NFTA_GEN_ID && len(value) == 4 {
				generation = binary.BigEndian.Uint32(value)
			}
		})
	})
	if err != nil {
		return 0, fmt.Errorf("cannot ask for the generation of nf_tables: %w", err)
	}
	return generation, nil
}

// maxRetries is how often a list is asked for anew because it changed meanwhile.
const maxRetries = 20

// ask sends a request and calls fn with the attributes of every answer. Those to a list
// that changed meanwhile may come twice.
func (c *Conn) ask(request, flags uint16, family uint8, fn func(body []byte)) error {
	for range maxRetries {
		changed, err := c.askOnce(request, flags, family, fn)
		if err != nil || !changed {
			return err
		}
	}
	return errors.New("it changes all the while")
}

func (c *Conn) askOnce(request, flags uint16, family uint8, fn func(body []byte)) (changed bool, err error) {
	c.seq++
	seq := c.seq
	data := appendMessage(nil, kindOf(request), flags|unix.NLM_F_REQUEST, seq, family, 0, nil)
	if err := unix.Sendto(c.fd, data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	for end := false; !end && err == nil; {
		received := c.receive(func(m message) {
			if m.seq != seq {
				return
			}
			changed = changed || m.flags&unix.NLM_F_DUMP_INTR != 0
			switch m.kind {
			case unix.NLMSG_DONE:
				end = true
			case unix.NLMSG_ERROR:
				end = true
				if errno := unix.Errno(-int32(binary.NativeEndian.Uint32(m.body))); errno != 0 {
					err = errno
				}
			default:
				if len(m.body) >= nfgenmsgLen {
					fn(m.body[nfgenmsgLen:])
				}
				end = end || flags&unix.NLM_F_DUMP == 0
			}
		})
		err = errors.Join(err, received)
	}
	return changed, err
}
