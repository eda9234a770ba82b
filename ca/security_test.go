package ca_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocumentsNameTestsThatExist holds the threat model and the certificate
// specification to the tests that they name.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	exists := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)")
	for _, file := range []string{"../SECURITY.md", "../docs/certificate-spec.md", "../docs/issuance.md"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		found := named.FindAllSubmatch(text, -1)
		require.NotEmpty(t, found, file)
		for _, m := range found {
			require.True(t, exists[string(m[1])], "%s names %s, which does not exist", file, m[1])
		}
	}
}
