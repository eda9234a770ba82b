package kms

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.step.sm/crypto/kms/tpmkms"
	"go.step.sm/crypto/kms/uri"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
)

// machineTPM is the device that the driver opens where none is named.
const machineTPM = "/dev/tpmrm0"

// checkTPM refuses what the driver would take for something else, and makes the
// directory of keys: a TPM seals them and keeps none, so that a lost directory is lost
// keys. By default the driver has it below the working directory.
func checkTPM(raw string) error {
	u, err := uri.ParseWithScheme(tpmkms.Scheme, raw)
	if err != nil {
		return fmt.Errorf("kms: %w", err)
	}
	directory := u.Get("storage-directory")
	if !filepath.IsAbs(directory) {
		return errors.New("kms: a TPM needs storage-directory=/directory, where the keys that it has sealed are kept")
	}
	if err := checkDevice(u.Get("device")); err != nil {
		return err
	}
	if err := secretfile.MakeDir(directory); err != nil {
		return fmt.Errorf("kms: %w", err)
	}
	return nil
}

// checkDevice: the driver makes keys in the device that is named, and signs with the
// machine's own, whatever is named; it keeps to a socket only, if that is there when
// it is first used.
func checkDevice(device string) error {
	if device == "" || device == machineTPM {
		return nil
	}
	info, err := os.Stat(device)
	if err != nil {
		return fmt.Errorf("kms: device: %w", err)
	}
	if info.Mode()&os.ModeSocket == 0 {
		return fmt.Errorf("kms: device %s is neither %s nor a socket", device, machineTPM)
	}
	return nil
}
