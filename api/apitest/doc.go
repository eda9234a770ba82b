// Package apitest makes tests of the API short: a whole server over real TLS on
// loopback, with an authority in memory, an issuer of tokens, and clients that
// trust it.
//
// It is for tests only and is linked into no program. It stands beside package
// api as net/http/httptest stands beside net/http.
package apitest
