package vault

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"

	"github.com/kedge-ca/kedge/fips"
)

// checkImport looks at a root and its key before Vault is given them: what it has,
// nobody takes back.
func checkImport(bundle []byte, n NewRoot) error {
	var root *x509.Certificate
	var key crypto.Signer
	for rest := bundle; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			if root != nil {
				return fmt.Errorf("there is more than one certificate in the file")
			}
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return err
			}
			root = cert
			continue
		}
		if key != nil {
			return fmt.Errorf("there is more than one key in the file")
		}
		parsed, err := parseKey(block)
		if err != nil {
			return err
		}
		key = parsed
	}
	switch {
	case root == nil:
		return fmt.Errorf("there is no certificate in the file")
	case key == nil:
		return fmt.Errorf("there is no key in the file")
	case !fips.PublicKeyEqual(key.Public(), root.PublicKey):
		return fmt.Errorf("the key is not that of the certificate")
	}
	return checkRoot(root, n)
}

// parseKey reads a key in the forms that Vault imports.
func parseKey(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block is a %.40q; give a certificate and its key, not encrypted", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", key)
	}
	return signer, nil
}
