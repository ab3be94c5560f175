package netns

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink/nl"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// indexesIn lists the indexes of all links: from inside, as what lists no more than
// them (RTM_GETSTATS, Linux 4.7) does not take an id.
func indexesIn(ns *Namespace) (indexes []int, err error) {
	doErr := ns.Do(func() error {
		socket, err := nl.GetNetlinkSocketAt(vnetns.None(), vnetns.None(), unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("cannot open a netlink socket: %w", err)
		}
		defer socket.Close()
		handle := &nl.SocketHandle{Socket: socket}
		return list(func() *nl.NetlinkRequest {
			indexes = nil
			req := newRequest(handle, unix.RTM_GETSTATS, unix.NLM_F_DUMP)
			request := make([]byte, ifStatsMsgLen)
			binary.NativeEndian.PutUint32(request[8:], ifStatsLink64)
			req.AddRawData(request)
			return req
		}, unix.RTM_NEWSTATS, func(body []byte) error {
			if len(body) < ifStatsMsgLen {
				return errCut
			}
			if len(indexes) == maxLinks {
				return errTooManyLinks
			}
			indexes = append(indexes, int(int32(binary.NativeEndian.Uint32(body[4:]))))
			return nil
		})
	})
	return indexes, doErr
}

// struct if_stats_msg of linux/if_link.h: two paddings, the index and a mask of what
// to tell, of which IFLA_STATS_LINK_64 is one that every link has.
const (
	ifStatsMsgLen = 12
	ifStatsLink64 = 1
)

var errCut = errors.New("the kernel's answer is cut")

// list makes a request for a list, over again if what it is of changes meanwhile, and
// calls each with every entry, until that fails.
func list(request func() *nl.NetlinkRequest, kind uint16, each func(body []byte) error) error {
	var err error
	for range dumpTries {
		var eachErr error
		err = request().ExecuteIter(unix.NETLINK_ROUTE, kind, func(body []byte) bool {
			eachErr = each(body)
			return eachErr == nil
		})
		if eachErr != nil {
			return eachErr
		}
		if !errors.Is(err, nl.ErrDumpInterrupted) { // NLM_F_DUMP_INTR, netlink(7)
			break
		}
	}
	return err
}
