package zones

import (
	"context"
	"crypto"
	"crypto/tls"
	"fmt"
	"time"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// KeyName is the name of a replica's own key in its key store.
const KeyName = "replica"

// OpenKey opens the key by which the primary knows a replica, and makes it when there
// is none yet. It is apart from those of the intermediates, and stays.
func OpenKey(ctx context.Context, keys ca.KeyStore) (ca.Key, error) {
	key, err := keys.Open(ctx, KeyName)
	if ca.ReasonOf(err) == ca.ReasonNotFound {
		key, err = keys.Create(ctx, KeyName)
	}
	if err != nil {
		return nil, fmt.Errorf("the replica's own key: %w", err)
	}
	return key, nil
}

// certificateOf is what a replica presents.
func certificateOf(key crypto.Signer, policy fips.Policy, now time.Time) (*tls.Certificate, error) {
	cert, err := ca.NewReplicaCertificate(key, policy, now)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}, nil
}
