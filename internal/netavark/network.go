package netavark

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
)

// Network is a podman network, as create gets it and as setup and teardown are told
// of it. A field that netavark does not send has its zero value.
type Network struct {
	Name              string            `json:"name"`
	ID                string            `json:"id"`
	Driver            string            `json:"driver"`
	NetworkInterface  string            `json:"network_interface"`
	Subnets           []json.RawMessage `json:"subnets"`
	Routes            []json.RawMessage `json:"routes"`
	IPv6Enabled       bool              `json:"ipv6_enabled"`
	Internal          bool              `json:"internal"`
	DNSEnabled        bool              `json:"dns_enabled"`
	NetworkDNSServers []string          `json:"network_dns_servers"`
	Labels            map[string]string `json:"labels"` // setup and teardown get them from newer netavarks only
	Options           map[string]string `json:"options"`
	IPAMOptions       map[string]string `json:"ipam_options"`

	members []member
}

// member is one member of a JSON object, its value as it was written.
type member struct {
	name  string
	value json.RawMessage
}

// UnmarshalJSON keeps, besides the fields, the whole object for [Network.Echo].
func (n *Network) UnmarshalJSON(data []byte) error {
	type fields Network
	var f fields
	if err := json.Unmarshal(data, &f); err != nil {
		return err
	}
	members, err := objectMembers(data)
	if err != nil {
		return err
	}
	*n = Network(f)
	n.members = members
	return nil
}

// Echo returns the network as create must reply it: every member as it came, also
// those that this package does not know, but for dns_enabled and options, which
// are as they are in the struct now. Podman keeps what is replied, and refuses a
// reply with another name, id or driver.
func (n *Network) Echo() ([]byte, error) {
	members := slices.Clone(n.members)
	set := func(name string, v any) error {
		value, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("cannot write the network's %s: %w", name, err)
		}
		members = setMember(members, name, value)
		return nil
	}
	if err := set("dns_enabled", n.DNSEnabled); err != nil {
		return nil, err
	}
	if len(n.Options) > 0 {
		if err := set("options", n.Options); err != nil {
			return nil, err
		}
	}
	var out bytes.Buffer
	out.WriteByte('{')
	for i, m := range members {
		if i > 0 {
			out.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, fmt.Errorf("cannot write the network: %w", err)
		}
		out.Write(name)
		out.WriteByte(':')
		out.Write(m.value)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// objectMembers splits a JSON object, or null, into its members in their order.
func objectMembers(data []byte) ([]member, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	open, err := dec.Token()
	if err != nil || open != json.Delim('{') {
		return nil, err
	}
	var members []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		members = setMember(members, fmt.Sprint(name), value)
	}
	return members, nil
}

// setMember replaces a member, or appends it. Of members with one name the last
// counts, as in encoding/json.
func setMember(members []member, name string, value json.RawMessage) []member {
	i := slices.IndexFunc(members, func(m member) bool { return m.name == name })
	if i < 0 {
		return append(members, member{name, value})
	}
	members[i].value = value
	return members
}
