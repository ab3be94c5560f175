package server

import (
	"time"

	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/config"
)

// Settings are how a resource makes attachments, for whomever.
type Settings struct {
	// ByContainerID: a container is known to its LAN by its id, so that the next one of
	// the same name is another machine there.
	ByContainerID bool
	// RandomMAC: the kernel makes up the MAC.
	RandomMAC bool
	// DHCPTimeout bounds an acquisition of addresses; 0 means dhcp.DefaultTimeout.
	DHCPTimeout time.Duration
	// Probe: a DHCP address is used only if no other machine claims it.
	Probe bool
	// IPv6Wait is how long IPv6 addresses are waited for to be ready, those of router
	// advertisements among them.
	IPv6Wait time.Duration
	// DetachOnRevoke: an attachment is not to outlive its user's right to it.
	DetachOnRevoke bool
	// Enforce: what containers send on the parent link is held to what they hold.
	Enforce bool
}

// SettingsOf are those of the configuration's resources, by name.
func SettingsOf(resources []config.Resource) map[string]Settings {
	settings := make(map[string]Settings, len(resources))
	for _, r := range resources {
		settings[r.Name] = Settings{
			ByContainerID:  r.Identity == config.IdentityContainerID,
			RandomMAC:      r.MAC == config.MACRandom,
			DHCPTimeout:    r.DHCP.Timeout,
			Probe:          r.DHCP.ConflictDetection,
			IPv6Wait:       r.IPv6Wait,
			DetachOnRevoke: r.OnRevoke == config.RevokeDetach,
			Enforce:        r.Enforce,
		}
	}
	return settings
}

func (s Settings) apply(q *attachment.Request) {
	q.KnownAs = q.Container
	if s.ByContainerID || q.Container == "" {
		q.KnownAs = q.ContainerID
	}
	q.StableMAC, q.DHCPTimeout, q.Probe, q.IPv6Wait = !s.RandomMAC, s.DHCPTimeout, s.Probe, s.IPv6Wait
	q.DetachOnRevoke, q.Enforced = s.DetachOnRevoke, s.Enforce
}
