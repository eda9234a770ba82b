package secretfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// maxLinks is how many links ReadMounted follows; kubelet makes two.
const maxLinks = 8

// ReadMounted is Read for a file that something else keeps up to date in a mount,
// as kubelet does with a Secret: the name is a link to ..data/NAME, and ..data a
// link to a dated directory beside it, so that all files change at once.
//
// A path that is no link is judged as by Read. A link is followed when nobody but
// root and this process's user can have made the way or can change it:
//   - it leads nowhere but into the directory of path, and never by an absolute name;
//   - each link, and each directory from that one on, belongs to root or this user,
//     and others cannot write to the directory, or it is sticky (kubelet's is 1777:
//     others may add names and replace none);
//   - the file at its end is regular, of root or this user, and written by its
//     owner only. Its group may read it when that is a group of this process, which
//     is how fsGroup lets a pod's user at a Secret (0440).
func ReadMounted(path string, limit int64) (content []byte, err error) {
	info, err := os.Lstat(path)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return Read(path, limit) // which follows nothing that is put there meanwhile
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("opening file: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	m := mount{dir: dir, path: path}
	f, err := m.open()
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	return readAll(f, path, limit)
}

// mount is the directory of a path that is a link. os.Root leaves it by no link,
// however fast one is put in the place of another.
type mount struct {
	dir  *os.Root
	path string // for messages
}

// open opens the file that the path leads to.
func (m mount) open() (*os.File, error) {
	name, judged, err := m.resolve()
	if err != nil {
		return nil, err
	}
	f, err := m.dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !os.SameFile(judged, info):
		err = fmt.Errorf("it was replaced while it was opened; try again")
	default:
		err = checkMounted(info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// resolve follows the links of the path, and judges each link and directory on the
// way. It returns a name without a link in it, and what is there.
func (m mount) resolve() (string, fs.FileInfo, error) {
	at, rest := ".", []string{filepath.Base(m.path)}
	info, err := m.dir.Stat(at)
	if err == nil {
		err = checkMountDir(at, info)
	}
	for links := 0; err == nil && len(rest) > 0; {
		next := filepath.Join(at, rest[0])
		if !filepath.IsLocal(next) {
			return "", nil, errOutOfDirectory()
		}
		if info, err = m.dir.Lstat(next); err != nil {
			return "", nil, err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			if at, rest = next, rest[1:]; len(rest) > 0 {
				err = checkMountDir(at, info)
			}
			continue
		}
		if links++; links > maxLinks {
			return "", nil, fmt.Errorf("there are more than %d symbolic links on its way", maxLinks)
		}
		var target []string
		target, err = m.follow(next, info)
		rest = append(target, rest[1:]...)
	}
	return at, info, err
}

// follow returns the elements that the link's target has.
func (m mount) follow(link string, info fs.FileInfo) ([]string, error) {
	if err := checkOwner(link, info); err != nil {
		return nil, err
	}
	target, err := m.dir.Readlink(link)
	if err != nil {
		return nil, err
	}
	if filepath.IsAbs(target) {
		return nil, errOutOfDirectory()
	}
	return strings.Split(target, "/"), nil // not cleaned: what .. means depends on the links before it
}

func errOutOfDirectory() error {
	return fmt.Errorf("it is a symbolic link out of its directory; name the file itself")
}

// checkOwner refuses what another user than root and this one has made.
func checkOwner(name string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("the system does not tell the owner of %s", name)
	}
	if stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("%s, which it leads to, belongs to uid %d; only root and this user may own it", name, stat.Uid)
	}
	return nil
}

// checkMountDir refuses a directory in which others can replace a name.
func checkMountDir(name string, info fs.FileInfo) error {
	if !info.IsDir() {
		return fmt.Errorf("%s on its way is a %s, not a directory", name, kind(info.Mode()))
	}
	if err := checkOwner(name, info); err != nil {
		return err
	}
	if info.Mode().Perm()&writableAny != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("others can replace what is in %s on its way (mode %04o); run chmod go-w", name, info.Mode().Perm())
	}
	return nil
}

// checkMounted judges the file at the end of the links.
func checkMounted(info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("it is a %s, not a regular file; name the file itself", kind(info.Mode()))
	}
	if err := checkOwner(info.Name(), info); err != nil {
		return err
	}
	mode := info.Mode().Perm()
	if mode&openToOther != 0 {
		return fmt.Errorf("mode %04o lets others at it; set defaultMode: 0400 on the volume, or 0440 with fsGroup", mode)
	}
	if mode&0o040 == 0 {
		return nil
	}
	groups, err := os.Getgroups()
	if err != nil {
		return fmt.Errorf("reading this process's groups: %w", err)
	}
	// checkOwner has found that there is a Stat_t.
	if gid := int(info.Sys().(*syscall.Stat_t).Gid); gid != os.Getegid() && !slices.Contains(groups, gid) {
		return fmt.Errorf("its group %d may read it, and is none of this process's; set fsGroup, or defaultMode: 0400 on the volume", gid)
	}
	return nil
}
