package nft

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Table is a table of nf_tables.
type Table struct {
	Family uint8 // unix.NFPROTO_NETDEV or unix.NFPROTO_INET
	Name   string
}

// Hook is where a base chain looks at frames.
type Hook struct {
	Number   uint32 // unix.NF_NETDEV_EGRESS or NF_INET_POST_ROUTING
	Priority int32
	Device   string // the link, in a table of the family netdev
	Drop     bool   // what no rule decides is dropped
}

// Field is a part of a set's key.
type Field struct {
	kind uint32 // as nft shows it (enum datatypes of nft's datatype.h)
	size int    // in bytes
}

// Fields. The index of a link is in the byte order of the machine.
var (
	FieldLink     = Field{20, 4}
	FieldMAC      = Field{9, 6}
	FieldIPv4     = Field{7, 4}
	FieldIPv6     = Field{8, 16}
	FieldProtocol = Field{12, 1}
	FieldICMPv6   = Field{29, 1}
)

// Key puts the values of fields into one key, each filled up to whole registers.
func Key(values ...[]byte) string {
	var key []byte
	for _, v := range values {
		key = append(key, v...)
		for len(key)%4 != 0 && len(values) > 1 {
			key = append(key, 0)
		}
	}
	return string(key)
}

// Batch is a list of changes that the kernel makes all at once or not at all. What is
// written into it again with nothing different is no error.
type Batch struct {
	data  []byte
	count uint32 // of messages
}

// Len is the number of changes.
func (b *Batch) Len() int { return int(b.count) }

// message adds one, whose sequence number is its place until it is sent.
func (b *Batch) message(kind uint16, flags uint16, family uint8, resource uint16, body attributes) {
	b.data = appendMessage(b.data, kind, flags|unix.NLM_F_REQUEST, b.count, family, resource, body)
	b.count++
}

// nfgenmsgLen is the size of struct nfgenmsg (linux/netfilter/nfnetlink.h).
const nfgenmsgLen = 4

func appendMessage(to []byte, kind, flags uint16, seq uint32, family uint8, resource uint16, body attributes) []byte {
	to = binary.NativeEndian.AppendUint32(to, uint32(unix.NLMSG_HDRLEN+nfgenmsgLen+len(body)))
	to = binary.NativeEndian.AppendUint16(to, kind)
	to = binary.NativeEndian.AppendUint16(to, flags)
	to = binary.NativeEndian.AppendUint32(to, seq)
	to = binary.NativeEndian.AppendUint32(to, 0)
	to = append(to, family, unix.NFNETLINK_V0)
	to = binary.BigEndian.AppendUint16(to, resource)
	return append(to, body...)
}

func (b *Batch) change(t Table, message, flags uint16, fill func(*attributes)) {
	var body attributes
	fill(&body)
	b.message(kindOf(message), flags, t.Family, 0, body)
}

// kindOf is a message of nf_tables as netlink has it.
func kindOf(message uint16) uint16 { return unix.NFNL_SUBSYS_NFTABLES<<8 | message }

// AddTable makes a table if there is none, and wakes one that is dormant.
func (b *Batch) AddTable(t Table) {
	b.change(t, unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, func(a *attributes) {
		a.text(unix.NFTA_TABLE_NAME, t.Name)
		a.number(unix.NFTA_TABLE_FLAGS, 0)
	})
}

// DeleteTable removes a table with all that is in it.
func (b *Batch) DeleteTable(t Table) {
	b.change(t, unix.NFT_MSG_DELTABLE, 0, func(a *attributes) { a.text(unix.NFTA_TABLE_NAME, t.Name) })
}

// AddSet makes a set, if there is none, whose keys have the fields.
func (b *Batch) AddSet(t Table, name string, fields ...Field) {
	var kind, size uint32
	for _, f := range fields {
		kind = kind<<6 | f.kind // TYPE_BITS of nft's datatype.h
		size += uint32(f.size)
		for size%4 != 0 && len(fields) > 1 {
			size++
		}
	}
	b.change(t, unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, func(a *attributes) {
		a.text(unix.NFTA_SET_TABLE, t.Name)
		a.text(unix.NFTA_SET_NAME, name)
		a.number(unix.NFTA_SET_KEY_TYPE, kind)
		a.number(unix.NFTA_SET_KEY_LEN, size)
		a.number(unix.NFTA_SET_ID, b.count+1)
		if len(fields) == 1 && fields[0] == FieldLink { // so that nft shows its name
			a.bytes(unix.NFTA_SET_USERDATA, append([]byte{udataByteOrder, 4}, binary.NativeEndian.AppendUint32(nil, 1)...))
		}
	})
}

// AddChain makes a chain if there is none; hook is nil for one that others run. The
// comment is kept with it.
func (b *Batch) AddChain(t Table, name string, hook *Hook, comment string) {
	b.change(t, unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, func(a *attributes) {
		a.text(unix.NFTA_CHAIN_TABLE, t.Name)
		a.text(unix.NFTA_CHAIN_NAME, name)
		if hook == nil {
			return
		}
		a.nest(unix.NFTA_CHAIN_HOOK, func(a *attributes) {
			a.number(unix.NFTA_HOOK_HOOKNUM, hook.Number)
			a.number(unix.NFTA_HOOK_PRIORITY, uint32(hook.Priority))
			if hook.Device != "" {
				a.text(unix.NFTA_HOOK_DEV, hook.Device)
			}
		})
		a.text(unix.NFTA_CHAIN_TYPE, "filter")
		policy := uint32(nfAccept)
		if hook.Drop {
			policy = nfDrop
		}
		a.number(unix.NFTA_CHAIN_POLICY, policy)
		if comment != "" { // NFTNL_UDATA_CHAIN_COMMENT of libnftnl, by which nft shows it
			a.bytes(chainUserdata, append([]byte{0, byte(len(comment) + 1)}, comment+"\x00"...))
		}
	})
}

// udataByteOrder is NFTNL_UDATA_SET_KEYBYTEORDER of libnftnl; 1 is the machine's.
const udataByteOrder = 0

// chainUserdata is NFTA_CHAIN_USERDATA, which x/sys lacks.
const chainUserdata = 12

// DeleteChain removes a chain and its rules.
func (b *Batch) DeleteChain(t Table, name string) {
	b.FlushChain(t, name)
	b.change(t, unix.NFT_MSG_DELCHAIN, 0, func(a *attributes) {
		a.text(unix.NFTA_CHAIN_TABLE, t.Name)
		a.text(unix.NFTA_CHAIN_NAME, name)
	})
}

// FlushChain removes the rules of a chain.
func (b *Batch) FlushChain(t Table, name string) {
	b.change(t, unix.NFT_MSG_DELRULE, 0, func(a *attributes) {
		a.text(unix.NFTA_RULE_TABLE, t.Name)
		a.text(unix.NFTA_RULE_CHAIN, name)
	})
}

// AddRule puts a rule at the end of a chain.
func (b *Batch) AddRule(t Table, chain string, rule ...Expr) {
	b.change(t, unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, func(a *attributes) {
		a.text(unix.NFTA_RULE_TABLE, t.Name)
		a.text(unix.NFTA_RULE_CHAIN, chain)
		a.nest(unix.NFTA_RULE_EXPRESSIONS, func(a *attributes) {
			for _, e := range rule {
				a.nest(unix.NFTA_LIST_ELEM, func(a *attributes) {
					a.text(unix.NFTA_EXPR_NAME, e.name)
					a.nest(unix.NFTA_EXPR_DATA, func(a *attributes) { *a = append(*a, e.data...) })
				})
			}
		})
	})
}

// FlushSet removes all elements of a set.
func (b *Batch) FlushSet(t Table, set string) { b.elements(t, unix.NFT_MSG_DELSETELEM, 0, set, nil) }

// AddElements puts keys into a set; those that it has stay.
func (b *Batch) AddElements(t Table, set string, keys ...string) {
	b.inParts(t, unix.NFT_MSG_NEWSETELEM, unix.NLM_F_CREATE, set, keys)
}

// DeleteElements removes keys from a set. One that it has not fails the batch with ENOENT.
func (b *Batch) DeleteElements(t Table, set string, keys ...string) {
	b.inParts(t, unix.NFT_MSG_DELSETELEM, 0, set, keys)
}

// partLen is how many keys go into one message: an attribute has at most 64 KiB.
const partLen = 500

func (b *Batch) inParts(t Table, message, flags uint16, set string, keys []string) {
	for len(keys) > 0 {
		part := keys[:min(len(keys), partLen)]
		keys = keys[len(part):]
		b.elements(t, message, flags, set, part)
	}
}

func (b *Batch) elements(t Table, message, flags uint16, set string, keys []string) {
	b.change(t, message, flags, func(a *attributes) {
		a.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
		a.text(unix.NFTA_SET_ELEM_LIST_SET, set)
		if len(keys) == 0 {
			return
		}
		a.nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func(a *attributes) {
			for _, key := range keys {
				a.nest(unix.NFTA_LIST_ELEM, func(a *attributes) {
					a.nest(unix.NFTA_SET_ELEM_KEY, func(a *attributes) { a.bytes(unix.NFTA_DATA_VALUE, []byte(key)) })
				})
			}
		})
	})
}
