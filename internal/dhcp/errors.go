package dhcp

import (
	"context"
	"errors"

	"github.com/net-porter/net-porter/internal/dhcp/grant"
)

// What [Expectation.Err] and the calls of this package wrap beside the errors of package
// grant. The IPAM plugin passes on an error's text only, so the texts are stable.
var (
	// ErrCanceled says that the exchange was stopped by [Expectation.Done], by the
	// end of the calling plugin, or by [Service.Close].
	ErrCanceled = errors.New("the DHCP exchange was cancelled")
	// ErrUnexpected says that nobody announced the call with [Service.Expect].
	ErrUnexpected = errors.New("no attachment is being made or removed with this container id and interface")
	// ErrBusy says that the same interface of the same container is already expected.
	ErrBusy = errors.New("another operation on this interface is under way")
	// ErrInvalid says that an id, interface name or configuration is not well-formed.
	ErrInvalid = errors.New("invalid")
	// ErrUnheard says that only the container has heard that it was granted an address.
	ErrUnheard = errors.New("the DHCP server does not tell the host that the container was granted the address")
	// ErrExpired says that the lease's time is over, and that a new one is being asked for.
	ErrExpired = errors.New("the lease has expired and no DHCP server has granted another one yet")
	// ErrIPv6 says that it was the IPv6 address that could not be had (DHCPv6).
	ErrIPv6 = errors.New("DHCPv6")
	// ErrClosed says that the service has been closed.
	ErrClosed = errors.New("the DHCP lease service is closed")
)

var (
	// errNotRecorded stands for what is in the log.
	errNotRecorded = errors.New("the lease could not be recorded: the administrator finds more in the log of net-porter")
	// errUnreachable says that there was no way to an interface.
	errUnreachable = errors.New("the container's interface cannot be reached")
	// errInternal stands for a panic.
	errInternal = errors.New("internal error in the DHCP lease service: see the log of net-porter")
)

// outcomeOf is an exchange's outcome, as metrics have it.
func outcomeOf(err error) string {
	for _, o := range []struct {
		is   error
		name string
	}{
		{grant.ErrNoOffer, "no-offer"},
		{grant.ErrNoAck, "no-ack"},
		{grant.ErrNak, "nak"},
		{grant.ErrOther, "other-address"},
		{grant.ErrConflict, "conflict"},
		{grant.ErrLinkDown, "link-down"},
		{ErrCanceled, "canceled"},
		{context.Canceled, "canceled"},
		{errUnreachable, "unreachable"},
	} {
		if errors.Is(err, o.is) {
			return o.name
		}
	}
	if err == nil {
		return "ok"
	}
	return "error"
}
