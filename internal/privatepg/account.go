package privatepg

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the user as whom the server runs.
type account struct {
	uid, gid int
	name     string
	// other is true when this is not the user of this process, which is root then.
	other bool
}

// chooseAccount picks the server's user; the package comment has the order.
func chooseAccount(dir, data string) (account, error) {
	if os.Getuid() != 0 {
		return account{uid: os.Getuid(), gid: os.Getgid(), name: loginName(os.Getuid())}, nil
	}
	for _, path := range []string{data, dir} {
		uid, err := ownerOf(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return account{}, fmt.Errorf("find the owner: %w", err)
		}
		// initdb wants a user that has a name.
		if known, errLookup := user.LookupId(strconv.Itoa(uid)); err == nil && uid != 0 && errLookup == nil {
			return accountOf(known)
		}
	}
	for _, name := range []string{"postgres", "nobody"} {
		if known, err := user.Lookup(name); err == nil {
			return accountOf(known)
		}
	}
	return account{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody: " +
		"create one, or give the directory to an ordinary user")
}

func accountOf(known *user.User) (account, error) {
	uid, err := strconv.Atoi(known.Uid)
	if err != nil {
		return account{}, fmt.Errorf("user %s: %w", known.Username, err)
	}
	gid, err := strconv.Atoi(known.Gid)
	if err != nil {
		return account{}, fmt.Errorf("group of user %s: %w", known.Username, err)
	}
	return account{uid: uid, gid: gid, name: known.Username, other: true}, nil
}

func loginName(uid int) string {
	if known, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return known.Username
	}
	return strconv.Itoa(uid)
}

// attributes let a program run as the account, in a process group of its own — an interrupt typed at the terminal is the owner's
// affair — and get the signal when this process ends.
func (a account) attributes(death syscall.Signal) *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Setpgid: true, Pdeathsig: death}
	if a.other {
		attributes.Credential = &syscall.Credential{Uid: uint32(a.uid), Gid: uint32(a.gid)}
	}
	return attributes
}

// own makes a directory that only the account can enter. One that is there already must be the account's.
func (a account) own(path string) error {
	err := os.Mkdir(path, 0o700)
	if err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err == nil && a.other {
		return os.Lchown(path, a.uid, a.gid)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	uid, err := ownerOf(path)
	if err != nil {
		return err
	}
	// Root may have died between the two steps above.
	if a.other && info.IsDir() && uid == 0 {
		if err := os.Lchown(path, a.uid, a.gid); err != nil {
			return err
		}
		uid = a.uid
	}
	if !info.IsDir() || uid != a.uid || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s is there already, and is not a directory of user %s that is closed to others: remove it", path, a.name)
	}
	return nil
}

// canEnter tells whether the account can reach what lies in dir. For the user of this process the system tells in time.
func (a account) canEnter(dir string) error {
	if !a.other {
		return nil
	}
	for path := dir; ; path = filepath.Dir(path) {
		var stat syscall.Stat_t
		if err := syscall.Stat(path, &stat); err != nil {
			return fmt.Errorf("examine %s: %w", path, err)
		}
		bit := uint32(0o001)
		switch {
		case int(stat.Uid) == a.uid:
			bit = 0o100
		case int(stat.Gid) == a.gid:
			bit = 0o010
		}
		if stat.Mode&bit == 0 {
			return fmt.Errorf("started by root, the server runs as user %s, who cannot enter %s (mode %04o): "+
				"choose another directory, for instance below /var/lib, or let others pass with chmod o+x %s",
				a.name, path, stat.Mode&0o7777, path)
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

func ownerOf(path string) (int, error) {
	var stat syscall.Stat_t
	if err := syscall.Lstat(path, &stat); err != nil {
		return 0, &os.PathError{Op: "lstat", Path: path, Err: err}
	}
	return int(stat.Uid), nil
}
