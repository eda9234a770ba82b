// Package workload is the SPIFFE Workload API on a Unix socket.
//
// It promises that a process gets the certificates of the workloads that it is and no
// others, that each stream begins with the present state and brings every change of
// it, and that what is sent is taken from one moment: a certificate with the bundle
// that it verifies against.
//
// It refuses calls without the security header (SPIFFE Workload API §4.2 and §6.2),
// connections that are not Unix sockets, and processes that are no workload. It has no
// JWT-SVIDs and no WIT-SVIDs and says so (ADR 14). A process whose certificate has not
// come yet waits on its open stream.
//
// cmd/ca-agent serves it. Who wants to keep strangers' load away sets the mode of the
// socket; who they are is decided here all the same.
package workload
