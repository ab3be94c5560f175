package grant

import "errors"

// What the errors of exchanges wrap. The IPAM plugin passes on an error's text only, so
// the texts are stable.
var (
	// ErrNoOffer says that no usable offer (DHCPOFFER, ADVERTISE) came in time.
	ErrNoOffer = errors.New("no DHCP server offered an address")
	// ErrNoAck says that a server did not confirm in time (DHCPACK, REPLY) what it had
	// offered or granted.
	ErrNoAck = errors.New("the DHCP server did not confirm the address")
	// ErrNak says that a server refused what it had offered or granted (DHCPNAK; NoBinding,
	// NotOnLink or NoAddrsAvail in a REPLY): the address must not be used.
	ErrNak = errors.New("the DHCP server refused the address")
	// ErrOther says that no server grants the address that was asked for.
	ErrOther = errors.New("the DHCP server does not grant the requested address")
	// ErrConflict says that another machine uses the address that a server granted; the
	// server was told (DHCPDECLINE).
	ErrConflict = errors.New("another machine uses the address that the DHCP server granted")
	// ErrLinkDown says that the interface could not be set up, has no carrier or is gone.
	ErrLinkDown = errors.New("the link is down")
	// ErrTimeout is the cause to end an exchange's context with when its time is over: the
	// exchange then fails with what it was waiting for.
	ErrTimeout = errors.New("timeout")
)
