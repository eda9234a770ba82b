// Command probe is the clients that the end-to-end suites need and that nobody
// else ships: clients that issue while the server is killed, that hold idle
// connections, read a byte a second, stay silent, or send HTTP/2 that no library
// would send. It also makes tokens for a ca serve without a cluster.
//
// It is a test program: the suites in test/e2e build and call it, it is part of
// no release. Each command says what it does in commands, in main.go.
package main
