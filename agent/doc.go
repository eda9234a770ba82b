// Package agent holds the certificates of the workloads of one machine: it makes
// their keys, keeps them in memory, renews them, and says which workload a process
// on the machine is.
//
// It promises that a key is never written anywhere, that a certificate stays until
// another takes its place, whatever a renewal fails of, that nobody gets a
// certificate whose identity is not the one configured, that the bundle it hands out
// never goes back to a lower sequence, and that every change wakes who waits for it.
//
// It refuses workloads that nothing selects, identities of another trust domain, and
// processes that no workload selects.
//
// Limit: processes of one user can take each other's place. A process may connect
// and then execute another program, so that an executable's hash tells programs of
// one user apart but is no wall between them; users are.
//
// cmd/ca-agent runs it; api/workload and api/sds hand out what it holds.
package agent
