// Package config owns the daemon's configuration file: it reads the file, checks
// every value and gives a configuration that the rest of the program need not check again.
//
// The file is JSON, read strictly: a key that is not known, a key written twice or
// a value of the wrong type is an error with its line and column. What the file
// does not allow is denied: a resource without an allow list allows nobody.
//
// Files in config.d beside it add resources and grants, each of which is one file's alone
// (dropin.go).
//
// The way of a file is: bytes, a tree of nodes that know where they were written
// (syntax.go), the file's shape as raw types (raw.go), the validated [Config]
// (validate.go, resource.go). A new key is a line in raw.go and its check there.
package config

import (
	"io/fs"
	"log/slog"
	"strconv"
	"time"

	"github.com/net-porter/net-porter/internal/addrrange"
)

// DefaultPath is the configuration file that is read when no other is named.
const DefaultPath = "/etc/net-porter/config.json"

// The values of the keys that the file leaves out. The plugin directories are
// net-porter's own first, since distributions ship CNI plugins that are years old.
const (
	DefaultSocketPath   = "/run/net-porter.sock"
	DefaultSocketUser   = "root"
	DefaultSocketGroup  = "net-porter"
	DefaultSocketMode   = fs.FileMode(0o660)
	DefaultCNIConfigDir = "/etc/net-porter/cni.d"
	DefaultCNITimeout   = 30 * time.Second
	DefaultDHCPTimeout  = 15 * time.Second // at most three quarters of cni.timeout
	DefaultStateDir     = "/var/lib/net-porter"
	DefaultLogLevel     = slog.LevelInfo
	DefaultLogFormat    = "text"
)

// The limits that the file leaves out. A pod of a hundred containers comes one by one,
// since podman holds its network lock; these are for those who mean harm, and for
// everybody's containers that start at once when the machine does.
const (
	DefaultConnectionsPerUser = 64
	DefaultRequestsPerUser    = 16 // at most limits.connections_per_user
	DefaultRatePerUser        = 50
	DefaultPluginRuns         = 32
	DefaultPluginRunsPerUser  = 8 // at most limits.plugin_runs
)

// DefaultPluginDirs returns the directories that CNI plugins are looked for in, in
// this order, when the file does not say.
func DefaultPluginDirs() []string {
	return []string{"/usr/lib/net-porter/cni", "/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni"}
}

// Config is a validated configuration. Two files that mean the same give values that are
// equal but for their Places.
type Config struct {
	Socket    Socket
	Metrics   Metrics
	CNI       CNI
	StateDir  string     // absolute; StateDir/dhcp.sock fits a socket address (unix(7))
	Resources []Resource // names are unique; may be empty, never nil
	// MaxAttachmentsPerUser is how many attachments a user may have on all resources
	// together; 0: any number.
	MaxAttachmentsPerUser int
	Limits                Limits
	Log                   Log
}

// Socket says where the daemon listens and who may connect. It is not used for a
// socket that systemd passes.
type Socket struct {
	Path  string      // absolute; may be longer than a socket address (unix(7)) holds
	User  string      // owner: a name, or a user id in decimal digits
	Group string      // a name, or a group id in decimal digits
	Mode  fs.FileMode // read and write bits only; the owner always has both
}

// Metrics says where metrics are served besides the daemon's own socket.
type Metrics struct {
	Listen        string // host:port for TCP; empty: not served on TCP
	WebConfigFile string // absolute path of exporter-toolkit's web configuration (TLS, basic auth); empty: none
}

// CNI says where network configurations and plugins are, and how long one run of a plugin may take.
type CNI struct {
	ConfigDir  string        // absolute; holds <resource>.json, .conflist or .conf
	PluginDirs []string      // absolute, without ':', which separates them in CNI_PATH (CNI specification)
	Timeout    time.Duration // between MinCNITimeout and MaxCNITimeout
}

// The bounds of cni.timeout. Podman holds a user's network lock while a plugin
// runs, so that a longer wait would look like a hang.
const (
	MinCNITimeout = 100 * time.Millisecond
	MaxCNITimeout = 2 * time.Minute
)

// Place is where something was written.
type Place struct {
	File string
	Line int // from 1
}

// String is "file:line".
func (p Place) String() string { return p.File + ":" + strconv.Itoa(p.Line) }

// Allowed is somebody who may use a resource, with addresses that it gives.
type Allowed struct {
	Principal
	At Place
}

// Grant is what some users may have on a resource beyond an address that it gives. Who
// has one may use the resource. It names a user or a group, and grants something.
type Grant struct {
	Users, Groups  []Principal // in the file's order, no duplicates
	StaticIPs      []addrrange.IP
	StaticMACs     []addrrange.MAC
	MaxAttachments int // of each of the users on the resource; 0: the grant does not say
	At             Place
}

// MaxQuota is the greatest number of attachments that may be written as a bound.
const MaxQuota = 1_000_000

// Limits are what users may have going on at a time. Those of one user do not bind root,
// except PluginRunsPerUser.
type Limits struct {
	ConnectionsPerUser int // open at a time; from MinConnectionsPerUser to MaxConnectionsPerUser
	RequestsPerUser    int // attaches, detaches and checks in flight; from 1 to ConnectionsPerUser
	RatePerUser        int // of these, how many may begin in a second; from 1 to MaxRatePerUser
	PluginRuns         int // chains of plugins at a time, of everybody's; from 1 to MaxPluginRuns
	PluginRunsPerUser  int // and of one user's; from 1 to PluginRuns
}

// The bounds of limits. The daemon lets in 4,096 connections in all. A podman that finds
// no connection free is worse off than one that waits for a turn, so some are needed. A
// chain takes a dozen threads (systemd's TasksMax), and more than hundreds at once would
// make each of them slower than a queue does.
const (
	MinConnectionsPerUser = 4
	MaxConnectionsPerUser = 4096
	MaxRatePerUser        = 10_000
	MaxPluginRuns         = 256
)

// Resource is a network that users may attach to. Without an allow list and grants nobody
// may.
type Resource struct {
	At          Place     // where it was written
	Name        string    // names a file in CNI.ConfigDir: [A-Za-z0-9][A-Za-z0-9_.-]{0,62}, without ".."
	AllowUsers  []Allowed // in the file's order, no duplicates
	AllowGroups []Allowed // in the file's order, no duplicates
	Grants      []Grant   // in the file's order
	// MaxAttachmentsPerUser is how many attachments a user may have on the resource whose
	// grants do not say; 0: any number.
	MaxAttachmentsPerUser int
	OnRevoke              OnRevoke // one of the constants
	// Enforce: containers cannot send from MACs and addresses other than theirs.
	Enforce  bool
	Identity Identity // one of the constants
	MAC      MAC      // one of the constants
	DHCP     DHCP
	// IPv6Wait is how long an attach waits for addresses from router advertisements
	// (RFC 4862), so that its result names them; 0 to MaxIPv6Wait, shorter than CNI.Timeout.
	IPv6Wait time.Duration
}

// OnRevoke says what becomes of live attachments whose user may not have them any more.
type OnRevoke string

const (
	RevokeKeep   OnRevoke = "keep"   // they stay until the container ends
	RevokeDetach OnRevoke = "detach" // they are detached at once
)

// Identity says by what a container is known again when it is made anew: with the
// same identity it is the same machine to the LAN's DHCP servers.
type Identity string

const (
	IdentityContainerName Identity = "container-name" // survives `podman run --replace`; podman makes up a new name where none is given
	IdentityContainerID   Identity = "container-id"   // ends with the container
)

// MAC says where the MAC address of an interface comes from when the user asks for none.
type MAC string

const (
	MACStable MAC = "stable" // derived from the container's identity: the same each time
	MACRandom MAC = "random" // the kernel's choice, another each time
)

// DHCP says how addresses are obtained where a conflist leaves that to DHCP.
type DHCP struct {
	Timeout           time.Duration // of a whole acquisition, below CNI.Timeout; from MinDHCPTimeout where the file says it
	ConflictDetection bool          // ask the LAN by ARP whether an address is in use before using it (RFC 5227 section 2.1.1)
}

// The bounds of a resource's durations. A DHCP server may probe an address before
// it offers it (RFC 2131 section 2.2), which no shorter timeout leaves time for. A
// router answers a solicitation within half a second, and hosts ask three times, 4 s
// apart (RFC 4861 sections 6.3.7 and 10).
const (
	MinDHCPTimeout = time.Second
	MaxDHCPTimeout = MaxCNITimeout
	MaxIPv6Wait    = 10 * time.Second
)

// Principal is a user or a group as the file names it. It is comparable.
type Principal struct {
	Name    string // empty when Numeric
	ID      uint32 // user or group id, 0 to 4294967294; meaningful only when Numeric
	Numeric bool
}

// String returns the name, or the id in decimal digits.
func (p Principal) String() string {
	if p.Numeric {
		return strconv.FormatUint(uint64(p.ID), 10)
	}
	return p.Name
}

// Log says what the daemon logs and how.
type Log struct {
	Level   slog.Level // debug, info, warn or error
	Format  string     // "text" or "json", see log/slog's handlers
	DumpEnv bool       // log each plugin run's CNI environment and stdin; both may hold secrets
}

// Parse reads a configuration from data; name is the file name that errors show.
// Every fault is an *[Error]; several are joined with [errors.Join] in the order
// in which they are written in the file.
func Parse(name string, data []byte) (*Config, error) {
	return parseAll(source{name, data}, nil)
}
