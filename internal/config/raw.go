package config

// The file's shape. Each type lists its keys in one table, which is all there is to
// know about what an object may hold; the values are checked in validate.go and resource.go.

type rawConfig struct {
	socket    value[rawSocket]
	metrics   value[rawMetrics]
	cni       value[rawCNI]
	stateDir  value[string]
	resources value[[]value[rawResource]]
	limits    value[rawLimits]
	log       value[rawLog]

	maxAttachmentsPerUser value[string]
}

func (c *rawConfig) keys() []key {
	return []key{
		{name: "domain_socket", read: one(&c.socket, object[rawSocket])},
		{name: "metrics", read: one(&c.metrics, object[rawMetrics])},
		{name: "cni", read: one(&c.cni, object[rawCNI])},
		{name: "state_dir", read: one(&c.stateDir, text)},
		{name: "resources", required: true, read: many(&c.resources, object[rawResource])},
		{name: "limits", read: one(&c.limits, object[rawLimits])},
		{name: "log", read: one(&c.log, object[rawLog])},
		{name: "max_attachments_per_user", read: one(&c.maxAttachmentsPerUser, number)},
	}
}

type rawSocket struct {
	path  value[string]
	user  value[rawPrincipal]
	group value[rawPrincipal]
	mode  value[string]
}

func (s *rawSocket) keys() []key {
	return []key{
		{name: "path", read: one(&s.path, text)},
		{name: "user", read: one(&s.user, principal)},
		{name: "group", read: one(&s.group, principal)},
		{name: "mode", read: one(&s.mode, octal)},
	}
}

type rawMetrics struct {
	listen        value[string]
	webConfigFile value[string]
}

func (m *rawMetrics) keys() []key {
	return []key{
		{name: "listen", read: one(&m.listen, text)},
		{name: "web_config_file", read: one(&m.webConfigFile, text)},
	}
}

type rawCNI struct {
	configDir  value[string]
	pluginDirs value[[]value[string]]
	timeout    value[string]
}

func (c *rawCNI) keys() []key {
	return []key{
		{name: "config_dir", read: one(&c.configDir, text)},
		{name: "plugin_dirs", read: many(&c.pluginDirs, text)},
		{name: "timeout", read: one(&c.timeout, duration)},
	}
}

type rawResource struct {
	name        value[string]
	allowUsers  value[[]value[rawPrincipal]]
	allowGroups value[[]value[rawPrincipal]]
	identity    value[string]
	mac         value[string]
	dhcp        value[rawDHCP]
	ipv6Wait    value[string]
	grants      value[[]value[rawGrant]]
	onRevoke    value[string]
	enforce     value[bool]

	maxAttachmentsPerUser value[string]
}

func (r *rawResource) keys() []key {
	return []key{
		{name: "name", required: true, read: one(&r.name, text)},
		{name: "allow_users", spellings: []string{"allow_user"}, read: many(&r.allowUsers, principal)},
		{name: "allow_groups", spellings: []string{"allow_group"}, read: many(&r.allowGroups, principal)},
		{name: "identity", read: one(&r.identity, text)},
		{name: "mac", read: one(&r.mac, text)},
		{name: "dhcp", read: one(&r.dhcp, object[rawDHCP])},
		{name: "ipv6_wait", read: one(&r.ipv6Wait, duration)},
		{name: "grants", spellings: []string{"grant"}, read: many(&r.grants, object[rawGrant])},
		{name: "max_attachments_per_user", read: one(&r.maxAttachmentsPerUser, number)},
		{name: "on_revoke", read: one(&r.onRevoke, text)},
		{name: "enforce", read: one(&r.enforce, boolean)},
	}
}

// rawDropIn is a file of config.d.
type rawDropIn struct {
	resources value[[]value[rawResource]]
	grants    value[[]value[rawNamedGrant]]
}

func (d *rawDropIn) keys() []key {
	return []key{
		{name: "resources", spellings: []string{"resource"}, read: many(&d.resources, object[rawResource])},
		{name: "grants", spellings: []string{"grant"}, read: many(&d.grants, object[rawNamedGrant])},
	}
}

// rawNamedGrant is a grant on a resource that another file may have.
type rawNamedGrant struct {
	rawGrant
	resource value[string]
}

func (g *rawNamedGrant) keys() []key {
	return append([]key{{name: "resource", required: true, read: one(&g.resource, text)}}, g.rawGrant.keys()...)
}

type rawGrant struct {
	users          value[[]value[rawPrincipal]]
	groups         value[[]value[rawPrincipal]]
	staticIPs      value[[]value[string]]
	staticMACs     value[[]value[string]]
	maxAttachments value[string]
}

func (g *rawGrant) keys() []key {
	return []key{
		{name: "users", spellings: []string{"user"}, read: many(&g.users, principal)},
		{name: "groups", spellings: []string{"group"}, read: many(&g.groups, principal)},
		{name: "static_ips", spellings: []string{"static_ip"}, read: many(&g.staticIPs, text)},
		{name: "static_macs", spellings: []string{"static_mac"}, read: many(&g.staticMACs, text)},
		{name: "max_attachments", read: one(&g.maxAttachments, number)},
	}
}

type rawDHCP struct {
	timeout           value[string]
	conflictDetection value[bool]
}

func (d *rawDHCP) keys() []key {
	return []key{
		{name: "timeout", read: one(&d.timeout, duration)},
		{name: "conflict_detection", read: one(&d.conflictDetection, boolean)},
	}
}

type rawLimits struct {
	connectionsPerUser value[string]
	requestsPerUser    value[string]
	ratePerUser        value[string]
	pluginRuns         value[string]
	pluginRunsPerUser  value[string]
}

func (l *rawLimits) keys() []key {
	return []key{
		{name: "connections_per_user", read: one(&l.connectionsPerUser, number)},
		{name: "requests_per_user", read: one(&l.requestsPerUser, number)},
		{name: "rate_per_user", read: one(&l.ratePerUser, number)},
		{name: "plugin_runs", read: one(&l.pluginRuns, number)},
		{name: "plugin_runs_per_user", read: one(&l.pluginRunsPerUser, number)},
	}
}

type rawLog struct {
	level   value[string]
	format  value[string]
	dumpEnv value[rawDumpEnv]
}

func (l *rawLog) keys() []key {
	return []key{
		{name: "level", read: one(&l.level, text)},
		{name: "format", read: one(&l.format, text)},
		{name: "dump_env", read: one(&l.dumpEnv, object[rawDumpEnv])},
	}
}

type rawDumpEnv struct {
	enabled value[bool]
}

func (d *rawDumpEnv) keys() []key {
	return []key{
		{name: "enabled", read: one(&d.enabled, boolean)},
	}
}
