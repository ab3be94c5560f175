package dhcp

import "errors"

// What [Expectation.Err] and the calls of this package wrap. The IPAM plugin passes
// on an error's text only, so the texts are stable.
var (
	// ErrNoOffer says that no usable DHCPOFFER came within the timeout.
	ErrNoOffer = errors.New("no DHCP server offered an address")
	// ErrNoAck says that a server offered an address and then did not confirm it
	// within the timeout.
	ErrNoAck = errors.New("the DHCP server offered an address but did not confirm it")
	// ErrNak says that the server kept refusing what it had offered (DHCPNAK).
	ErrNak = errors.New("the DHCP server refused the address that it had offered")
	// ErrLinkDown says that the interface could not be set up or got no carrier.
	ErrLinkDown = errors.New("the link is down")
	// ErrCanceled says that the exchange was stopped by [Expectation.Done], by the
	// end of the calling plugin, or by [Service.Close].
	ErrCanceled = errors.New("the DHCP exchange was cancelled")
	// ErrUnexpected says that nobody announced the call with [Service.Expect].
	ErrUnexpected = errors.New("no attachment is being made or removed with this container id and interface")
	// ErrBusy says that the same interface of the same container is already expected.
	ErrBusy = errors.New("another operation on this interface is under way")
	// ErrInvalid says that an id, interface name or configuration is not well-formed.
	ErrInvalid = errors.New("invalid")
	// ErrClosed says that the service has been closed.
	ErrClosed = errors.New("the DHCP lease service is closed")
)
