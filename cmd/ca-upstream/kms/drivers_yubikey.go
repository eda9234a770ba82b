//go:build yubikey

package kms

import _ "go.step.sm/crypto/kms/yubikey" // links libpcsclite
