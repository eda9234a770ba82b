package ledger

import (
	"encoding/hex"
	"fmt"

	"github.com/kedge-ca/kedge/fips"
)

// NewName is the random name of a new store.
func NewName() (string, error) {
	var b [16]byte
	if err := fips.Random(b[:]); err != nil {
		return "", fmt.Errorf("naming the store: %w", err)
	}
	return hex.EncodeToString(b[:]), nil
}

// ErrMoved is the refusal to write to a store whose content was moved.
func ErrMoved(to string) error {
	return fmt.Errorf("its content was moved to %s; a second server on it would write another history. Set the section store of the configuration, or move it back with ca store migrate", to)
}
