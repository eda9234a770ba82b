// Package rotationtest makes tests of rotations short: a trust domain in memory with
// processes of the primary, zones with replicas, and workloads that renew their
// certificates, in virtual time, on links that lose, delay, repeat and reorder, and
// over stores that fail at any write and crash whoever was writing.
//
// Everything but the network, the stores and the clock is the real thing: custodians,
// authorities, roots, certificates, bundles and plans.
//
// It promises that after every event the whole world is held to the invariants of
// package rotation: each live certificate verifies at each workload and each replica
// of every zone, and nothing that must rise has fallen. Where Config.Handshakes is set,
// every workload calls every other one over TLS as well.
//
// It is for tests only and is linked into no program.
package rotationtest
