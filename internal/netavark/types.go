package netavark

// Exec is the stdin of setup and teardown: one container on one network.
type Exec struct {
	ContainerID    string            `json:"container_id"` // podman: 64 hexadecimal digits
	ContainerName  string            `json:"container_name"`
	PortMappings   []PortMapping     `json:"port_mappings"`
	Network        Network           `json:"network"`
	NetworkOptions PerNetworkOptions `json:"network_options"`
}

// PortMapping is what `podman run --publish` asked for.
type PortMapping struct {
	ContainerPort int    `json:"container_port"`
	HostIP        string `json:"host_ip"` // empty: all of the host's addresses
	HostPort      int    `json:"host_port"`
	Protocol      string `json:"protocol"` // tcp, udp, sctp, or several of them with commas between; empty: tcp
	Range         int    `json:"range"`    // how many ports from these two on; 0 and 1 mean one
}

// PerNetworkOptions is what one container asked for on one network.
type PerNetworkOptions struct {
	InterfaceName string            `json:"interface_name"`
	StaticIPs     []string          `json:"static_ips"` // without prefix length; network reload sends each twice
	StaticMAC     string            `json:"static_mac"`
	Aliases       []string          `json:"aliases"` // the container's --hostname comes last, after the short id
	Options       map[string]string `json:"options"` // podman 5.4 and later: `--network name:key=value`
}

// StatusBlock is the reply of setup.
type StatusBlock struct {
	Interfaces       map[string]Interface `json:"interfaces"` // by the interface's name in the container
	DNSServerIPs     []string             `json:"dns_server_ips"`
	DNSSearchDomains []string             `json:"dns_search_domains"`
}

// Interface is an interface in the container.
type Interface struct {
	MACAddress string   `json:"mac_address"` // netavark refuses a reply in which this does not parse
	Subnets    []Subnet `json:"subnets"`     // may be empty
}

// Subnet is an address of an interface.
type Subnet struct {
	IPNet   string `json:"ipnet"` // address and prefix length
	Gateway string `json:"gateway,omitempty"`
}

// Info is the reply of info.
type Info struct {
	Version    string `json:"version"` // the plugin's own
	APIVersion string `json:"api_version"`
}

// APIVersion is the version of netavark's plugin API that this package speaks.
const APIVersion = "1.0.0"
