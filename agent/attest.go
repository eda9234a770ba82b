package agent

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/kedge-ca/kedge/ca"
)

// Peer is a process at the other end of a Unix socket, as the kernel names it
// (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
}

// Digest is SHA-256 of an executable's file.
type Digest [sha256.Size]byte

// Selector says which processes are a workload: those for which everything holds that
// is set. GID is the primary group.
type Selector struct {
	UID, GID   *uint32
	Executable *Digest
}

// isEmpty tells whether s selects every process.
func (s Selector) isEmpty() bool { return s.UID == nil && s.GID == nil && s.Executable == nil }

// matchesUser tells whether the user of p is one of s.
func (s Selector) matchesUser(p Peer) bool {
	return (s.UID == nil || *s.UID == p.UID) && (s.GID == nil || *s.GID == p.GID)
}

// ErrUnknown means that a process is no workload of this machine.
var ErrUnknown = errors.New("no workload is configured for this process")

// Attest is the identities of p in the order of the configuration, at least one. Its
// error wraps ErrUnknown when there is none; another means that it cannot be known
// now.
func (a *Agent) Attest(p Peer) ([]ca.Identity, error) {
	var found []ca.Identity
	var digest *Digest // read when a workload asks for it
	for _, w := range a.workloads {
		if !w.Selector.matchesUser(p) {
			continue
		}
		if w.Selector.Executable != nil {
			if digest == nil {
				read, err := a.digest(p.PID)
				if err != nil {
					return nil, fmt.Errorf("reading the executable of process %d: %w", p.PID, err)
				}
				digest = &read
			}
			if *digest != *w.Selector.Executable {
				continue
			}
		}
		if !slices.Contains(found, w.Identity) {
			found = append(found, w.Identity)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("user %d, group %d, process %d: %w", p.UID, p.GID, p.PID, ErrUnknown)
	}
	return found, nil
}

// DigestOf reads the executable of a process through /proc, in whatever mount
// namespace it is and even when its file has been replaced. The reader must be root,
// or the same user as a process that can be traced (proc_pid_exe(5)).
func DigestOf(pid int32) (Digest, error) {
	f, err := os.Open("/proc/" + strconv.Itoa(int(pid)) + "/exe")
	if err != nil {
		return Digest{}, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return Digest{}, err
	}
	return Digest(h.Sum(nil)), nil
}
