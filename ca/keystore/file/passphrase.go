package file

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// Bounds of a passphrase, in bytes. 16 bytes of `openssl rand -base64 24` are
// beyond guessing even at a billion PBKDF2 iterations a second.
const (
	MinPassphrase = 16
	MaxPassphrase = 4 << 10
)

// PassphraseSource says where a passphrase is; exactly one field is set.
type PassphraseSource struct {
	File       string // path of a file of mode 0600 or stricter, or in a mounted Secret: secretfile.ReadMounted
	Env        string // name of an environment variable
	Credential string // name of a systemd credential (LoadCredential=, systemd.exec(5))
}

// credentialsDirectory is where systemd says that it put the credentials.
const credentialsDirectory = "CREDENTIALS_DIRECTORY"

// Passphrase reads the passphrase that s names. One trailing newline, as echo and
// editors leave it, does not belong to it. getenv is os.Getenv in a program.
func Passphrase(s PassphraseSource, getenv func(string) string) ([]byte, error) {
	passphrase, err := s.read(getenv)
	if err != nil {
		return nil, fmt.Errorf("reading passphrase: %w", err)
	}
	passphrase = bytes.TrimSuffix(bytes.TrimSuffix(passphrase, []byte("\n")), []byte("\r"))
	switch {
	case len(passphrase) < MinPassphrase:
		return nil, fmt.Errorf("reading passphrase: %w", tooShort(len(passphrase)))
	case len(passphrase) > MaxPassphrase:
		return nil, fmt.Errorf("reading passphrase: it has %d bytes, at most %d are allowed", len(passphrase), MaxPassphrase)
	case bytes.ContainsAny(passphrase, "\n\x00"):
		return nil, fmt.Errorf("reading passphrase: it has more than one line or a NUL byte; the source holds the passphrase alone")
	}
	return passphrase, nil
}

func (s PassphraseSource) read(getenv func(string) string) ([]byte, error) {
	set := 0
	for _, field := range []string{s.File, s.Env, s.Credential} {
		if field != "" {
			set++
		}
	}
	if set != 1 {
		return nil, fmt.Errorf("%d sources are given; name exactly one of file, env and credential", set)
	}
	switch {
	case s.File != "":
		return secretfile.ReadMounted(s.File, MaxPassphrase+2)
	case s.Env != "":
		value := getenv(s.Env)
		if value == "" {
			return nil, fmt.Errorf("environment variable %s is not set", s.Env)
		}
		return []byte(value), nil
	}
	return s.readCredential(getenv)
}

// readCredential holds the name to one path element, as systemd does
// (CREDENTIALS_DIRECTORY, systemd.exec(5)).
func (s PassphraseSource) readCredential(getenv func(string) string) ([]byte, error) {
	dir := getenv(credentialsDirectory)
	if dir == "" {
		return nil, fmt.Errorf("there is no %s; add LoadCredential=%s:PATH to the systemd unit", credentialsDirectory, s.Credential)
	}
	if strings.ContainsRune(s.Credential, '/') || s.Credential == "." || s.Credential == ".." {
		return nil, fmt.Errorf("credential %q is a path; give the name that stands in LoadCredential", s.Credential)
	}
	return secretfile.ReadCredential(filepath.Join(dir, s.Credential), MaxPassphrase+2)
}

func tooShort(n int) error {
	return fmt.Errorf("it has %d bytes, at least %d are needed; make one: openssl rand -base64 24", n, MinPassphrase)
}
