// Package istio speaks Istio's certificate protocol,
// istio.v1.auth.IstioCertificateService/CreateCertificate, exactly as sidecars,
// gateways and waypoints expect it. It turns wire forms into an api.Order and
// back; it decides nothing.
//
// It refuses impersonation, which ztunnel needs: a node's token is worth another
// workload's certificate only where pod and node can be looked up.
package istio
