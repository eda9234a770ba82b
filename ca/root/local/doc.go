// Package local is a root whose key is a sealed file on this machine. It is for
// trying Kedge and for small installations; a root key should not stand beside
// the process that answers proxies where Vault or an HSM can be had.
//
// It promises that Init makes an active root and a standby in directories and
// under passphrases of their own, and overwrites nothing; that the active key is
// in memory only while it signs; and that the standby's directory need not be
// there at all once Init is done. It refuses files that others can read, links,
// certificates that are not the key's, and anything but one certificate.
//
// cmd/ca uses it for `root: {type: local}`.
package local
