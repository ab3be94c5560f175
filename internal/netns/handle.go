package netns

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// A namespace's file handle is struct nsfs_file_handle of linux/nsfs.h, since Linux
// 6.18: ns_id of 64 bits, then ns_type and ns_inum of 32 each, in the machine's order.
const (
	handleType = 0xf1 // FILEID_NSFS of linux/exportfs.h
	handleLen  = 16
)

// serialOf returns ID.Serial of a descriptor on nsfs, 0 if this kernel tells none.
func serialOf(fd int) uint64 {
	handle, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil || handle.Type() != handleType || handle.Size() < handleLen {
		return 0
	}
	return binary.NativeEndian.Uint64(handle.Bytes())
}

// openHandle opens the network namespace with a serial and an inode number. The kernel
// wants CAP_SYS_ADMIN over the namespace for it, and not the CAP_DAC_READ_SEARCH of
// open_by_handle_at(2); who has it not, and who asks for a dead one, gets ESTALE.
func openHandle(serial, ino uint64) (int, error) {
	handle := make([]byte, 0, handleLen)
	handle = binary.NativeEndian.AppendUint64(handle, serial)
	handle = binary.NativeEndian.AppendUint32(handle, unix.CLONE_NEWNET)
	handle = binary.NativeEndian.AppendUint32(handle, uint32(ino))
	return unix.OpenByHandleAt(unix.FD_NSFS_ROOT, unix.NewFileHandle(handleType, handle), unix.O_RDONLY|unix.O_CLOEXEC)
}

// isExhausted says whether something failed for want of descriptors or memory, which
// says nothing of what was asked for.
func isExhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}
