package vault

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/vault"
	"github.com/kedge-ca/kedge/fips"
)

// transitTypes are Vault's names of our kinds of keys.
var transitTypes = map[fips.KeyType]string{
	fips.ECDSAP256: "ecdsa-p256", fips.ECDSAP384: "ecdsa-p384", fips.RSA3072: "rsa-3072", fips.RSA4096: "rsa-4096",
}

// hashNames are Vault's names of the hashes that sign certificates.
var hashNames = map[crypto.Hash]string{crypto.SHA256: "sha2-256", crypto.SHA384: "sha2-384"}

// KeyConfig names a key in a transit engine.
type KeyConfig struct {
	Client  *vault.Client
	Mount   string // of the engine
	Name    string
	Version int              // pinned; 0 takes the newest when the key is opened, and pins that
	Public  crypto.PublicKey // pinned; nil takes what Vault says when the key is opened
}

func (c *KeyConfig) check() error {
	if c.Client == nil {
		return fmt.Errorf("there is no connection")
	}
	if err := vault.CheckMount(c.Mount); err != nil {
		return err
	}
	if c.Version < 0 {
		return fmt.Errorf("key version %d is below 1", c.Version)
	}
	return vault.CheckName(c.Name)
}

func (c *KeyConfig) path() string { return c.Mount + "/keys/" + c.Name }

// Key signs inside Vault. It is safe for concurrent use.
type Key struct {
	c      KeyConfig
	name   string
	public crypto.PublicKey
}

var _ ca.Key = (*Key)(nil)

// CreateKey makes a key of one version that cannot leave Vault, and opens it. A
// key of that name that exists already is left as it is and opened.
func CreateKey(ctx context.Context, c KeyConfig, kind fips.KeyType) (*Key, error) {
	transit, ok := transitTypes[kind]
	if !ok {
		return nil, fmt.Errorf("vault's transit engine makes no %s", kind)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("transit key: %w", err)
	}
	_, err := c.Client.Do(ctx, vault.Request{Operation: "create_key", Method: http.MethodPost, Path: c.path(), Body: map[string]any{
		"type": transit, "exportable": false, "allow_plaintext_backup": false, "derived": false,
	}})
	if err != nil {
		return nil, fmt.Errorf("making transit key %s: %w", c.Name, err)
	}
	return OpenKey(ctx, c)
}

// OpenKey finds a key and holds it to what is pinned. A key that is not there is
// an *ca.Error with ReasonRootMissing, one that is not safe or not the pinned one
// an *ca.Error with ReasonRootKey.
func OpenKey(ctx context.Context, c KeyConfig) (*Key, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("transit key: %w", err)
	}
	data, err := c.Client.Do(ctx, vault.Request{Operation: "read_key", Method: http.MethodGet, Path: c.path()})
	if err != nil {
		return nil, fmt.Errorf("opening transit key %s: %w", c.Name, err)
	}
	if err := checkSafe(data); err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootKey, Err: fmt.Errorf("transit key %s: %w", c.Name, err)}
	}
	if c.Version == 0 {
		c.Version = data.Int("latest_version")
	}
	public, err := publicKey(data, c.Version)
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootKey, Err: fmt.Errorf("transit key %s: %w", c.Name, err)}
	}
	if c.Public != nil && !fips.PublicKeyEqual(public, c.Public) {
		return nil, ca.Refuse(ca.ReasonRootKey, "version %d of transit key %s is not the key of the certificate", c.Version, c.Name)
	}
	return &Key{c: c, name: c.Name, public: public}, nil
}

// checkSafe refuses a key whose private half could leave Vault, or that is many.
func checkSafe(data vault.Data) error {
	switch {
	case data.Bool("exportable"):
		return fmt.Errorf("it is exportable, and a key cannot be made otherwise again: make a new one")
	case data.Bool("allow_plaintext_backup"):
		return fmt.Errorf("it allows a backup in plaintext, and a key cannot be made otherwise again: make a new one")
	case data.Bool("derived"):
		return fmt.Errorf("it is a derived key; those do not sign certificates")
	}
	return nil
}

// publicKey reads one version of a key.
func publicKey(data vault.Data, version int) (crypto.PublicKey, error) {
	versions, _ := data["keys"].(map[string]any)
	entry, ok := versions[strconv.Itoa(version)].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("there is no version %d of it; the versions may have been trimmed", version)
	}
	if lowest := data.Int("min_encryption_version"); version < lowest {
		return nil, fmt.Errorf("version %d may no longer sign: min_encryption_version is %d", version, lowest)
	}
	block, rest := pem.Decode([]byte(vault.Data(entry).Text("public_key")))
	if block == nil || len(strings.TrimSpace(string(rest))) != 0 {
		return nil, fmt.Errorf("it has no public key; its type is %q, which does not sign", data.Text("type"))
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading its public key: %w", err)
	}
	if _, err := fips.KeyTypeOf(public); err != nil {
		return nil, err
	}
	return public, nil
}

// Name implements ca.Key.
func (k *Key) Name() string { return k.name }

// Version is the pinned version.
func (k *Key) Version() int { return k.c.Version }

// Public implements crypto.Signer.
func (k *Key) Public() crypto.PublicKey { return k.public }

// Sign implements crypto.Signer: it sends a digest and returns an ASN.1 or PKCS #1
// v1.5 signature. Randomness is Vault's own. The connection's timeout bounds it.
func (k *Key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	hash, ok := hashNames[opts.HashFunc()]
	if !ok || len(digest) != opts.HashFunc().Size() {
		return nil, fmt.Errorf("signing with transit key %s: hash %d of %d bytes does not sign certificates", k.c.Name, uint(opts.HashFunc()), len(digest))
	}
	data, err := k.c.Client.Do(context.Background(), vault.Request{
		Operation: "sign", Method: http.MethodPost, Path: k.c.Mount + "/sign/" + k.c.Name + "/" + hash,
		Body: map[string]any{
			"input": base64.StdEncoding.EncodeToString(digest), "prehashed": true, "key_version": k.c.Version,
			"marshaling_algorithm": "asn1", "signature_algorithm": "pkcs1v15", // the default for RSA is PSS, which proxies do not all verify
		},
	})
	if err != nil {
		return nil, fmt.Errorf("signing with transit key %s: %w", k.c.Name, err)
	}
	return parseSignature(data.Text("signature"), k.c.Version)
}

// parseSignature reads vault:v<version>:<base64>.
func parseSignature(text string, version int) ([]byte, error) {
	prefix := fmt.Sprintf("vault:v%d:", version)
	encoded, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return nil, ca.Refuse(ca.ReasonRootKey, "the signature does not begin with %s: another version of the key has signed", prefix)
	}
	signature, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, &ca.Error{Reason: ca.ReasonRootAnswer, Err: fmt.Errorf("decoding the signature: %w", err)}
	}
	return signature, nil
}
