package cas

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"sync"
	"time"

	stepcas "github.com/smallstep/certificates/cas"
	"github.com/smallstep/certificates/cas/apiv1"
	_ "github.com/smallstep/certificates/cas/cloudcas" // registers its type
	_ "github.com/smallstep/certificates/cas/softcas"
	_ "github.com/smallstep/certificates/cas/stepcas"

	"github.com/kedge-ca/kedge/ca"
)

// The types of authority.
const (
	TypeSoft  = "softcas"
	TypeStep  = "stepcas"
	TypeCloud = "cloudcas"
)

// Config is which authority it is. What a type does not use must be empty.
type Config struct {
	Type string

	// Of softcas: the issuer first and the anchor last, and the issuer's key.
	Chain  []*x509.Certificate
	Signer crypto.Signer

	// Of stepcas: its URL and the SHA-256 of its root certificate, in hex. Of
	// cloudcas: the resource name.
	Authority   string
	Fingerprint string
	Issuer      *Issuer

	CredentialsFile string // of cloudcas; empty means what the environment offers

	Now func() time.Time
}

// Issuer is how a step-ca knows who asks: a provisioner.
type Issuer struct {
	Type        string // jwk or x5c
	Provisioner string // its name
	Certificate string // file, of x5c
	Key         string // file; of jwk, empty means the encrypted key that step-ca offers
	Password    string // of the key
}

// Root is the authority as a ca.Root. It is safe for concurrent use.
type Root struct {
	c Config

	mu      sync.Mutex // held while connecting only
	service apiv1.CertificateAuthorityService
}

var _ ca.Root = (*Root)(nil)

// New checks c. Only softcas, which needs nobody, is opened at once.
func New(c Config) (*Root, error) {
	if c.Now == nil {
		return nil, fmt.Errorf("cas: no clock was given")
	}
	soft, remote := len(c.Chain) != 0 && c.Signer != nil, c.Authority != ""
	step := c.Fingerprint != "" && c.Issuer != nil
	switch {
	case c.Type == TypeSoft && soft && !remote:
	case c.Type == TypeStep && remote && step && !soft:
	case c.Type == TypeCloud && remote && !soft && !step:
	case c.Type == TypeSoft || c.Type == TypeStep || c.Type == TypeCloud:
		return nil, fmt.Errorf("cas: what %s needs is missing, or there is what it has no use for", c.Type)
	default:
		return nil, fmt.Errorf("cas: unknown type %q: want softcas, stepcas or cloudcas", c.Type)
	}
	if i := c.Issuer; i != nil && i.Key == "" && i.Password == "" {
		// The library would ask at a terminal.
		return nil, fmt.Errorf("cas: provisioner %q needs a key, or a password for the key that step-ca offers", i.Provisioner)
	}
	return &Root{c: c}, nil
}

// open connects where that has not been done.
func (r *Root) open() (apiv1.CertificateAuthorityService, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.service != nil {
		return r.service, nil
	}
	o := apiv1.Options{
		Type: r.c.Type, CertificateAuthority: r.c.Authority, CertificateAuthorityFingerprint: r.c.Fingerprint,
		CredentialsFile: r.c.CredentialsFile, CertificateChain: r.c.Chain, Signer: r.c.Signer,
	}
	if i := r.c.Issuer; i != nil {
		o.CertificateIssuer = &apiv1.CertificateIssuer{
			Type: i.Type, Provisioner: i.Provisioner, Certificate: i.Certificate, Key: i.Key, Password: i.Password,
		}
	}
	// The connection outlives the call that makes it.
	service, err := stepcas.New(context.Background(), o)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", r.c.Type, err)
	}
	r.service = service
	return service, nil
}

// Anchor implements ca.Root.
func (r *Root) Anchor(ctx context.Context) (*x509.Certificate, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	anchor, _, err := r.issuers()
	return anchor, err
}

// issuers are the anchor and what stands between it and the intermediate.
func (r *Root) issuers() (anchor *x509.Certificate, between []*x509.Certificate, err error) {
	if r.c.Type == TypeSoft {
		last := len(r.c.Chain) - 1
		return r.c.Chain[last], r.c.Chain[:last], nil
	}
	service, err := r.open()
	if err != nil {
		return nil, nil, err
	}
	getter, ok := service.(apiv1.CertificateAuthorityGetter)
	if !ok {
		return nil, nil, fmt.Errorf("%s does not say what its root is", r.c.Type)
	}
	answer, err := getter.GetCertificateAuthority(&apiv1.GetCertificateAuthorityRequest{Name: r.c.Authority})
	if err != nil {
		return nil, nil, fmt.Errorf("asking %s for its root: %w", r.c.Type, err)
	}
	if answer.RootCertificate == nil {
		return nil, nil, fmt.Errorf("%s has no root", r.c.Type)
	}
	return answer.RootCertificate, answer.IntermediateCertificates, nil
}

// SignIntermediate implements ca.Root.
func (r *Root) SignIntermediate(ctx context.Context, csr []byte, p ca.IntermediateRequest) ([]*x509.Certificate, error) {
	anchor, between, err := r.issuers()
	if err != nil {
		return nil, err
	}
	service, err := r.open()
	if err != nil {
		return nil, err
	}
	for _, issuer := range append([]*x509.Certificate{anchor}, between...) {
		if issuer.NotAfter.Before(p.NotAfter) {
			p.NotAfter = issuer.NotAfter
		}
	}
	request, err := r.request(csr, p)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nobody waits for a certificate any more
	}
	answer, err := service.CreateCertificate(request)
	if err != nil {
		return nil, fmt.Errorf("asking %s for an intermediate: %w", r.c.Type, err)
	}
	return chain(answer, anchor)
}

// chain is what an authority answered, without the anchor.
func chain(answer *apiv1.CreateCertificateResponse, anchor *x509.Certificate) ([]*x509.Certificate, error) {
	if answer.Certificate == nil {
		return nil, fmt.Errorf("the answer has no certificate")
	}
	links := []*x509.Certificate{answer.Certificate}
	for _, link := range answer.CertificateChain {
		if !link.Equal(anchor) && !link.Equal(answer.Certificate) {
			links = append(links, link)
		}
	}
	return links, nil
}
