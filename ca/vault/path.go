package vault

import (
	"fmt"
	"strings"
)

// CheckMount refuses what cannot be the path of a mount, so that a name from a
// configuration never reaches another part of Vault's API.
func CheckMount(mount string) error {
	for _, part := range strings.Split(mount, "/") {
		if err := CheckName(part); err != nil {
			return fmt.Errorf("mount %q: %w", mount, err)
		}
	}
	return nil
}

// CheckName refuses what cannot be one element of a path in Vault.
func CheckName(name string) error {
	if name == "" || len(name) > 128 || name == "." || name == ".." {
		return fmt.Errorf("name %q is empty, too long or a relative path", name)
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", rune(c)) {
			return fmt.Errorf("name %q has a character outside [a-zA-Z0-9._-]", name)
		}
	}
	return nil
}
