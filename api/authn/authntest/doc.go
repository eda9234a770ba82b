// Package authntest makes tests of authentication short: an issuer in memory
// whose tokens have the shape of Kubernetes', with any claim and any header
// changed, and a clock to set.
//
// It is for tests only and is linked into no program. It stands beside package
// authn as net/http/httptest stands beside net/http.
package authntest
