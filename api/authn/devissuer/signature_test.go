package devissuer

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRawSignatureHasFullLength takes the values of r and s that one signature
// in 128 has: shorter than the field, or with the top bit set.
func TestRawSignatureHasFullLength(t *testing.T) {
	long := bytes.Repeat([]byte{0xff}, 32)
	der, err := asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(0x0102), new(big.Int).SetBytes(long)})
	require.NoError(t, err)
	raw, err := rawSignature(der)
	require.NoError(t, err)
	require.Equal(t, append(append(make([]byte, 30), 1, 2), long...), raw)

	der, err = asn1.Marshal(struct{ R, S *big.Int }{big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), 256)})
	require.NoError(t, err)
	for name, bad := range map[string][]byte{"s of 33 bytes": der, "bytes after it": append(bytes.Clone(der), 0), "nothing": nil} {
		_, err := rawSignature(bad)
		require.Error(t, err, name)
	}
}
