package ca_test

import (
	"os"
	"strings"
	"testing"

	"github.com/kedge-ca/kedge/ca"
	"github.com/stretchr/testify/require"
)

// TestEveryReasonIsDocumented holds docs/errors.md to the list of reasons, both
// ways: code, sentence and a next step for each, and no section for what is gone.
func TestEveryReasonIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../docs/errors.md")
	require.NoError(t, err)
	sections := strings.Split(string(raw), "\n## ")[1:]
	require.Len(t, sections, len(ca.Reasons()))
	documented := make(map[string]string)
	for _, s := range sections {
		name, body, _ := strings.Cut(s, "\n")
		documented[name] = body
	}
	for _, r := range ca.Reasons() {
		require.Contains(t, documented[string(r)], r.Public(), r)
		require.Contains(t, documented[string(r)], "Next step: ", r)
	}
}
