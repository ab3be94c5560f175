package journald

import (
	"encoding/binary"
	"strings"
)

// maxName is how long the name of a field may be; the journal drops longer ones.
const maxName = 64

// entry is one entry of the journal, in the native protocol.
type entry []byte

// add adds a field. An empty value is left out, as it says nothing.
func (e *entry) add(name, value string) {
	if value == "" {
		return
	}
	*e = append(*e, name...)
	*e = append(*e, '\n')
	*e = binary.LittleEndian.AppendUint64(*e, uint64(len(value)))
	*e = append(*e, value...)
	*e = append(*e, '\n')
}

// fieldName makes a field's name of an attribute's: upper-case letters, digits and
// underscores, which is all that the journal takes (systemd.journal-fields(7)). With the
// program's own prefix it is none of the journal's own.
func fieldName(key string) string {
	name := fieldPrefix + strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, key)
	return name[:min(len(name), maxName)]
}
