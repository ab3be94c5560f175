package nft

import "golang.org/x/sys/unix"

// Register is one of the 32-bit registers (NFT_REG32_00 to NFT_REG32_15). What is longer
// than four bytes takes the following ones too, and is filled up with zeros.
type Register uint32

// R returns register n, 0 to 15.
func R(n int) Register { return Register(unix.NFT_REG32_00 + n) }

// Expr is one expression of a rule (NFTA_EXPR_NAME, NFTA_EXPR_DATA). Where one does not
// hold, or looks for what the frame has not got, the rule ends there without effect.
type Expr struct {
	name string
	data attributes
}

func expr(name string, fill func(*attributes)) Expr {
	e := Expr{name: name}
	fill(&e.data)
	return e
}

// Keys of Meta (enum nft_meta_keys).
const (
	// MetaPriority is skb->priority, in the byte order of the machine.
	MetaPriority = unix.NFT_META_PRIORITY
	// MetaOutput is the index of the link that the frame leaves by, in the byte order of
	// the machine.
	MetaOutput = unix.NFT_META_OIF
	// MetaInput is the same of the link that the frame came in by.
	MetaInput = unix.NFT_META_IIF
	// MetaUser is the uid of the process whose socket the frame comes from. There is none
	// if it does not come from a socket that a process has opened in this very network
	// namespace.
	MetaUser = unix.NFT_META_SKUID
)

// Meta loads what is known of a frame.
func Meta(key uint32, to Register) Expr {
	return expr("meta", func(a *attributes) {
		a.number(unix.NFTA_META_KEY, key)
		a.number(unix.NFTA_META_DREG, uint32(to))
	})
}

// SetMeta changes what is known of a frame.
func SetMeta(key uint32, from Register) Expr {
	return expr("meta", func(a *attributes) {
		a.number(unix.NFTA_META_KEY, key)
		a.number(unix.NFTA_META_SREG, uint32(from))
	})
}

// Frame loads bytes of the frame, counted from its first: a tag that the kernel keeps
// beside the frame is where it will be on the wire. Nothing that a sender says of the
// frame, such as where its network header begins, has a part in it.
func Frame(offset, length int, to Register) Expr {
	return expr("payload", func(a *attributes) {
		a.number(unix.NFTA_PAYLOAD_DREG, uint32(to))
		a.number(unix.NFTA_PAYLOAD_BASE, unix.NFT_PAYLOAD_LL_HEADER)
		a.number(unix.NFTA_PAYLOAD_OFFSET, uint32(offset))
		a.number(unix.NFTA_PAYLOAD_LEN, uint32(length))
	})
}

// Equal holds if a register has a value.
func Equal(r Register, value []byte) Expr { return compare(r, unix.NFT_CMP_EQ, value) }

// NotEqual holds if a register does not have a value.
func NotEqual(r Register, value []byte) Expr { return compare(r, unix.NFT_CMP_NEQ, value) }

// AtLeast holds if a register has a value that is not smaller, as bytes.
func AtLeast(r Register, value []byte) Expr { return compare(r, unix.NFT_CMP_GTE, value) }

func compare(r Register, op uint32, value []byte) Expr {
	return expr("cmp", func(a *attributes) {
		a.number(unix.NFTA_CMP_SREG, uint32(r))
		a.number(unix.NFTA_CMP_OP, op)
		a.nest(unix.NFTA_CMP_DATA, func(a *attributes) { a.bytes(unix.NFTA_DATA_VALUE, value) })
	})
}

// Bitwise puts from & mask ^ xor into a register; mask and xor have the same length.
func Bitwise(from, to Register, mask, xor []byte) Expr {
	return expr("bitwise", func(a *attributes) {
		a.number(unix.NFTA_BITWISE_SREG, uint32(from))
		a.number(unix.NFTA_BITWISE_DREG, uint32(to))
		a.number(unix.NFTA_BITWISE_LEN, uint32(len(mask)))
		a.nest(unix.NFTA_BITWISE_MASK, func(a *attributes) { a.bytes(unix.NFTA_DATA_VALUE, mask) })
		a.nest(unix.NFTA_BITWISE_XOR, func(a *attributes) { a.bytes(unix.NFTA_DATA_VALUE, xor) })
	})
}

// In holds if the set has the key that begins at a register.
func In(set string, key Register) Expr {
	return expr("lookup", func(a *attributes) {
		a.text(unix.NFTA_LOOKUP_SET, set)
		a.number(unix.NFTA_LOOKUP_SREG, uint32(key))
	})
}

// Immediate puts a value into a register.
func Immediate(to Register, value []byte) Expr {
	return expr("immediate", func(a *attributes) {
		a.number(unix.NFTA_IMMEDIATE_DREG, uint32(to))
		a.nest(unix.NFTA_IMMEDIATE_DATA, func(a *attributes) { a.bytes(unix.NFTA_DATA_VALUE, value) })
	})
}

// Forward sends the frame out of the link whose index, in the byte order of the machine,
// is in a register. It is a verdict. If there is no such link the frame is dropped.
func Forward(link Register) Expr {
	return expr("fwd", func(a *attributes) { a.number(unix.NFTA_FWD_SREG_DEV, uint32(link)) })
}

// Count counts frames and bytes.
func Count() Expr { return expr("counter", func(*attributes) {}) }

// NF_DROP and NF_ACCEPT of linux/netfilter.h.
const (
	nfDrop   = 0
	nfAccept = 1
)

// Accept lets the frame pass this hook's chain.
func Accept() Expr { return verdict(nfAccept, "") }

// Drop drops the frame.
func Drop() Expr { return verdict(nfDrop, "") }

// Jump runs another chain and comes back.
func Jump(chain string) Expr { return verdict(unix.NFT_JUMP, chain) }

// Goto runs another chain, which returns to where its caller was called from.
func Goto(chain string) Expr { return verdict(unix.NFT_GOTO, chain) }

func verdict(code int32, chain string) Expr {
	return expr("immediate", func(a *attributes) {
		a.number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT)
		a.nest(unix.NFTA_IMMEDIATE_DATA, func(a *attributes) {
			a.nest(unix.NFTA_DATA_VERDICT, func(a *attributes) {
				a.number(unix.NFTA_VERDICT_CODE, uint32(code))
				if chain != "" {
					a.text(unix.NFTA_VERDICT_CHAIN, chain)
				}
			})
		})
	})
}
