package netns

import (
	"errors"
	"fmt"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxAgain bounds the tries of a walk over "..", which the kernel gives up whenever
// anything is renamed or mounted meanwhile (openat2(2), EAGAIN): its caller could
// do that for ever.
const maxAgain = 64

// walk looks up a path as the caller would itself: from the caller's root, in the
// caller's mount namespace, with the caller's rights and no more. It returns an
// O_PATH descriptor of a file on nsfs.
//
// It may take for ever, and it gives up the thread's rights, so it is for a thread
// of its own that ends afterwards. No path of it opens a file: O_PATH blocks on no
// FIFO and wakes no device.
func walk(caller Caller, path string) (int, error) {
	root, err := openRoot(caller)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	if err := becomeCaller(caller); err != nil {
		return -1, fmt.Errorf("cannot take on the caller's rights: %w", err)
	}
	fd, err := openBelow(root, path)
	if err != nil {
		return -1, err
	}
	is, err := onNsfs(fd)
	if err == nil && is {
		return fd, nil
	}
	// A file on procfs is none of the caller's: /proc/self is the daemon there, and
	// what exists in it is not for the caller to learn.
	if err == nil && !onProcfs(fd) {
		err = ErrNotNetns
	} else {
		err = ErrNotFound
	}
	unix.Close(fd)
	return -1, err
}

// openRoot opens the caller's root directory. The caller is asked for after that:
// if it lives then, its number was its own all the time, and so is the root.
func openRoot(caller Caller) (int, error) {
	root, openErr := unix.Open("/proc/"+strconv.Itoa(caller.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err := caller.Alive(); err != nil {
		if openErr == nil {
			unix.Close(root)
		}
		return -1, ErrCallerGone
	}
	switch {
	case openErr == nil:
		return root, nil
	case errors.Is(openErr, unix.ENOENT), errors.Is(openErr, unix.ESRCH):
		return -1, ErrCallerGone // it is ending: a zombie has no root
	}
	return -1, fmt.Errorf("cannot look into the calling process (the server needs CAP_SYS_PTRACE): %w", openErr)
}

// openBelow resolves a path with root as "/". Symlinks and ".." stay below it, and
// links that jump anywhere else, those of /proc/<pid>, are refused.
func openBelow(root int, path string) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range maxAgain {
		fd, err := unix.Openat2(root, path, &how)
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
			return -1, fmt.Errorf("cannot look up a path: %w", err) // the daemon's fault
		}
		// EACCES, ENOENT, ENOTDIR, ELOOP, ENAMETOOLONG and what file systems think
		// of: to the caller it is all the same, or one could feel one's way through
		// directories that one cannot read (lxc-user-nic, CVE-2022-47952).
		return -1, ErrNotFound
	}
	return -1, ErrNotFound
}

// becomeCaller gives the current thread the caller's ids for file access and takes
// all capabilities out of use. Not the real, effective and saved ids: with those the
// caller could send it signals. The system calls are made directly, because those of
// the runtime change every thread of the process.
func becomeCaller(caller Caller) error {
	groups := caller.Groups
	if _, _, errno := unix.RawSyscall(sysSetgroups, uintptr(len(groups)),
		uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0); errno != 0 {
		return fmt.Errorf("setgroups: %w", errno)
	}
	// setfsuid(2) and setfsgid(2) report no failure; an id that is not valid changes
	// nothing and tells what is in force.
	if err := unix.Setfsgid(int(caller.GID)); err != nil {
		return fmt.Errorf("setfsgid: %w", err)
	}
	if err := unix.Setfsuid(int(caller.UID)); err != nil {
		return fmt.Errorf("setfsuid: %w", err)
	}
	if gid, err := unix.SetfsgidRetGid(-1); err != nil || uint32(gid) != caller.GID {
		return errors.New("setfsgid has not worked (the server needs CAP_SETGID)")
	}
	if uid, err := unix.SetfsuidRetUid(-1); err != nil || uint32(uid) != caller.UID {
		return errors.New("setfsuid has not worked (the server needs CAP_SETUID)")
	}
	// The kernel drops the file capabilities itself when the fsuid stops being 0
	// (capabilities(7)), but not for root as the caller, nor with the securebit
	// SECBIT_NO_SETUID_FIXUP.
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capset(&header, &caps[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	return nil
}

func onProcfs(fd int) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(fd, &st) != nil || uint32(st.Type) == unix.PROC_SUPER_MAGIC
}
