// Package secretfile reads and writes the files that hold secrets: private keys,
// passphrases, the database of issuance records.
//
// It promises that what it reads comes from a regular file that nobody but its
// owner can read, that a file it has created is complete and would survive a
// crash, and that it never replaces a file.
//
// It refuses symbolic links, devices and FIFOs (without ever waiting on one),
// files and directories of another owner or open to others, and files larger
// than the caller expects. Each refusal names the path and what to do about it.
// ReadMounted alone follows links, as kubelet makes them; passphrases are read by
// it, keys never.
//
// The key stores, the local root and the SQLite store call it.
package secretfile
