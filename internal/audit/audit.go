// Package audit owns the names of the events that are logged for the record: who was
// given what, by which rule, and what became of it. A name, and the number that the
// journal has for it, keep their meaning for good: what searches for them is not ours.
package audit

import "log/slog"

// Event is a kind of event.
type Event struct{ name, id string }

// Key is the attribute of a record that has its Event.
const Key = "event"

// The events. Each is in contrib/systemd/net-porter.catalog too, for `journalctl -x`.
var (
	// Attach: somebody was given an interface.
	Attach = Event{"attach", "e17e8508edbb48cd913ac127588b16a9"}
	// Detach: an interface was removed since its owner, or root, asked for it.
	Detach = Event{"detach", "09e2af60aa5e4588945ec8dad6caf13a"}
	// Denied: somebody asked for what is not allowed to them.
	Denied = Event{"denied", "1a2b5b714517470486777caf6649424c"}
	// Failed: somebody asked for what was not denied, and did not get it.
	Failed = Event{"failed", "6100683d22764be5a7f7995edc554f9a"}
	// NotLogged: somebody was refused, or had an attachment checked, more often than is logged
	// one by one.
	NotLogged = Event{"not-logged", "6ae5822e0edc444bb9ee6a1ad74bb69f"}
	// Release: the daemon removed an interface without being asked.
	Release = Event{"release", "d5d82a4e1a724abf93a80b182ae99ccd"}
	// Revoke: the daemon removed an interface that its user may not have any more.
	Revoke = Event{"revoke", "eaea6100059f4320a36c13e951a9c07f"}
	// ReleaseFailed: the daemon could not remove all of an interface that is over, or revoked.
	ReleaseFailed = Event{"release-failed", "20bf7d6b5d54452684a784c267967667"}
	// LeaseChanged: the addresses of an interface have changed by DHCP.
	LeaseChanged = Event{"lease-changed", "4be5182f4b0a46a1b4bb0a78cb3ad4a1"}
	// LeaseLost: an interface has lost its address, as no DHCP server prolongs it or
	// another machine uses it.
	LeaseLost = Event{"lease-lost", "c383cef63ed545ef952992a5ae142d7e"}
	// LeaseRefused: an interface does not get what was granted by DHCP, since the container
	// alone has heard so.
	LeaseRefused = Event{"lease-refused", "8e4ad242fb1e439e985c08b5168b50ad"}
	// Check: somebody had an attachment compared with what was made.
	Check = Event{"check", "1339ab3cee9c4e97b609ec51e9389fe0"}
	// Leftover: what nobody owns was removed, or could not be.
	Leftover = Event{"leftover", "3172b44ea16e4796979df40996b365ef"}
	// Collect: root had what is left over removed, or looked at.
	Collect = Event{"gc", "d07ae7bf36734b50bd960d89aabbfe70"}
	// Start: the daemon serves.
	Start = Event{"start", "98fa2130024c4cdeb9341bad6e114ee4"}
	// Reload: another configuration is in force.
	Reload = Event{"reload", "e9d4e6c05e6e48ccbd6f49c5d382019e"}
	// ReloadFailed: a configuration was not put in force, or not all of it, since it is wrong.
	ReloadFailed = Event{"reload-failed", "ba91fd7e06b64d10ac4a3b9f62da7be2"}
)

// Events are all of them.
func Events() []Event {
	return []Event{
		Attach, Detach, Denied, Failed, NotLogged, Release, Revoke, ReleaseFailed, LeaseChanged, LeaseLost, LeaseRefused,
		Check, Leftover, Collect, Start, Reload, ReloadFailed,
	}
}

// String is the event's name, in lower-case letters and hyphens.
func (e Event) String() string { return e.name }

// MessageID is the event's number in the journal (systemd.journal-fields(7)).
func (e Event) MessageID() string { return e.id }

// LogValue is the event's name.
func (e Event) LogValue() slog.Value { return slog.StringValue(e.name) }

// Attr is the attribute that makes a record one of the event.
func (e Event) Attr() slog.Attr { return slog.Any(Key, e) }
