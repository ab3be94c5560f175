package nft

import (
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Events are changes of nf_tables as they are made, by whomever (NFNLGRP_NFTABLES).
type Events struct{ socket *nl.NetlinkSocket }

// Subscribe begins to listen, in the network namespace of the calling thread.
func Subscribe() (*Events, error) {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, fmt.Errorf("cannot listen to changes of nf_tables: %w", err)
	}
	if err := socket.SetReceiveBufferSize(socketBuffer, true); err != nil {
		socket.Close()
		return nil, fmt.Errorf("cannot listen to changes of nf_tables: %w", err)
	}
	return &Events{socket}, nil
}

// Close ends Next.
func (e *Events) Close() { e.socket.Close() }

// Next waits for changes, and says whether there are some of the tables that have a name
// which were not made through the port. ENOBUFS says that some were lost.
func (e *Events) Next(table string, port uint32) (bool, error) {
	messages, _, err := e.socket.Receive()
	if err != nil {
		return false, err
	}
	others := false
	for _, m := range messages {
		others = others || m.Header.Pid != port && tableOf(m) == table
	}
	return others, nil
}

// tableOf is the table that a change is of. Each kind of message has its name in the
// attribute 1.
func tableOf(m syscall.NetlinkMessage) string {
	if m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type&0xff == unix.NFT_MSG_NEWGEN || len(m.Data) < nfgenmsgLen {
		return ""
	}
	name := ""
	each(m.Data[nfgenmsgLen:], func(kind uint16, value []byte) {
		if kind == unix.NFTA_TABLE_NAME {
			name = textOf(value)
		}
	})
	return name
}
