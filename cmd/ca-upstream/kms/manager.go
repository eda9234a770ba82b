package kms

import (
	"context"
	"errors"
	"fmt"
	"strings"

	stepkms "go.step.sm/crypto/kms"
	"go.step.sm/crypto/kms/apiv1"
	"go.step.sm/crypto/tpm"

	"github.com/kedge-ca/kedge/fips"
)

// Config is which service it is and how to get in.
type Config struct {
	URI      string // of go.step.sm/crypto/kms, such as pkcs11:module-path=…;token=…?pin-source=…
	Password []byte // of software keys; nil for every other service
	Policy   fips.Policy
}

// Manager is an open connection to a service.
type Manager struct {
	c    Config
	keys apiv1.KeyManager
	kind apiv1.Type
}

// Open connects to a service.
func Open(ctx context.Context, c Config) (*Manager, error) {
	if err := checkURI(c.URI); err != nil {
		return nil, err
	}
	kind, err := apiv1.TypeOf(c.URI)
	if err != nil {
		return nil, fmt.Errorf("kms: %w", err)
	}
	if (kind == apiv1.SoftKMS) != (c.Password != nil) {
		return nil, fmt.Errorf("kms: software keys rest under a password, and no others do")
	}
	if kind == apiv1.TPMKMS {
		if err := checkTPM(c.URI); err != nil {
			return nil, err
		}
	}
	keys, err := stepkms.New(ctx, apiv1.Options{URI: c.URI})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", kind, err)
	}
	return &Manager{c: c, keys: keys, kind: kind}, nil
}

// Close ends the connection.
func (m *Manager) Close() error { return m.keys.Close() }

// checkURI refuses secrets in a URI: configuration is shown, and errors name URIs.
func checkURI(uri string) error {
	for _, secret := range []string{"pin-value", "password=", "client-secret", "secret="} {
		if strings.Contains(strings.ToLower(uri), secret) {
			return fmt.Errorf("kms: the URI carries a secret (%s); name a file, with pin-source for PKCS#11", strings.TrimSuffix(secret, "="))
		}
	}
	return nil
}

// isNotFound tells whether the service has no such key. PKCS#11 says so in words
// only.
func (m *Manager) isNotFound(err error) bool {
	return errors.Is(err, apiv1.NotFoundError{}) || errors.Is(err, tpm.ErrNotFound) || m.kind == apiv1.PKCS11 && strings.HasSuffix(err.Error(), " not found")
}

// algorithm is what makes a key of a type: an algorithm and, for RSA, its bits.
func algorithm(t fips.KeyType) (apiv1.SignatureAlgorithm, int, error) {
	switch t {
	case fips.ECDSAP256:
		return apiv1.ECDSAWithSHA256, 0, nil
	case fips.ECDSAP384:
		return apiv1.ECDSAWithSHA384, 0, nil
	case fips.RSA3072:
		return apiv1.SHA256WithRSA, 3072, nil
	case fips.RSA4096:
		return apiv1.SHA256WithRSA, 4096, nil
	}
	return 0, 0, fmt.Errorf("kms: no CA has keys of type %q", t)
}
