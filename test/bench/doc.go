// Command bench prints the table of docs/benchmarks.md: certificates per server
// CPU-second with the floors of the same run, latencies at half load, memory,
// start-up and size. `make bench` runs it.
//
// Server and load generator are separate processes on different cores; CPU time
// is the server's user and system time from /proc. Every request carries a key
// of its own, and a sample of the answers is verified. Children of this program
// (flag -child) play the floors.
package main
