// Package kedgeapi serves kedge.v1.CertificateAuthority: issue, renew, and the
// trust bundle, once or as a stream. It turns wire forms into an api.Order and
// back; it decides nothing.
package kedgeapi
