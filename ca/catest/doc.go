// Package catest makes tests of certificate authorities short: a complete
// authority over real keys in memory, recorders and stores that fail on demand,
// and CSRs of every kind.
//
// It is for tests only and is linked into no program. It stands beside package
// ca as net/http/httptest stands beside net/http.
package catest
