// Package peercred is gRPC over a Unix socket where the kernel says who is at the
// other end (SO_PEERCRED, unix(7)).
//
// It promises that a socket is made with mode 0600, that one which a crash left
// behind is replaced and nothing else ever is, and that either side can decide by
// the other's user id before a byte is read. It refuses connections that are not
// Unix sockets.
//
// The kernel's answer is the user that connected, or that began to listen; what a
// process does with its user id later does not change it.
//
// api/admin, api/upstream and api/workload serve on it.
package peercred
