package linkerd

import (
	"fmt"
	"regexp"
)

// Audience is the audience of the tokens that Linkerd's injector mounts for its
// proxies (linkerd2 charts/partials/templates/_volumes.tpl).
const Audience = "identity.l5d.io"

// controllerAccount is the service account of Linkerd's own issuer. Its DNS name is
// the one that every proxy verifies in the issuer's certificate.
const controllerAccount = "linkerd-identity"

// Mesh is one Linkerd: its identities are those of one control plane.
type Mesh struct{ controlPlane, trustDomain string }

var (
	label  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	domain = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$`)
)

// NewMesh is the Linkerd whose control plane is in the namespace controlPlane and
// whose identityTrustDomain is trustDomain.
func NewMesh(controlPlane, trustDomain string) (Mesh, error) {
	switch {
	case !label.MatchString(controlPlane):
		return Mesh{}, fmt.Errorf("control plane's namespace %q is not the name of a namespace", controlPlane)
	case !domain.MatchString(trustDomain):
		return Mesh{}, fmt.Errorf("trust domain %q is not a lower-case DNS name", trustDomain)
	}
	return Mesh{controlPlane: controlPlane, trustDomain: trustDomain}, nil
}

// AccountDomain is what follows <account>.<namespace> in the identity of a service
// account (linkerd2 controller/identity/domain.go).
func (m Mesh) AccountDomain() string {
	return "serviceaccount.identity." + m.controlPlane + "." + m.trustDomain
}

// ServerName is the name that proxies verify in the certificate of their issuer,
// LINKERD2_PROXY_IDENTITY_SVC_NAME.
func (m Mesh) ServerName() string {
	return controllerAccount + "." + m.controlPlane + "." + m.AccountDomain()
}
