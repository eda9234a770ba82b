package main

import (
	"crypto/x509"
	"fmt"
	"net/url"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// makeCSRs makes n requests, each for a key of its own. With a name they ask for
// the service account name-<i>; without, they ask for nothing.
func makeCSRs(n int, identity func(i int) string) ([][]byte, error) {
	csrs := make([][]byte, n)
	for i := range csrs {
		key, err := fips.GenerateKey(fips.ECDSAP256)
		if err != nil {
			return nil, err
		}
		template := &x509.CertificateRequest{}
		if identity != nil {
			uri, err := url.Parse(identity(i))
			if err != nil {
				return nil, err
			}
			template.URIs = []*url.URL{uri}
		}
		if csrs[i], err = fips.CreateRequest(template, key); err != nil {
			return nil, err
		}
	}
	return csrs, nil
}

// measureSelf calls work for seconds and prints how many calls a second of this
// process's own CPU time did.
func measureSelf(name string, seconds int, work func(n int) error) error {
	before, err := selfCPU()
	if err != nil {
		return err
	}
	n := 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); n++ {
		if err := work(n); err != nil {
			return fmt.Errorf("call %d: %w", n, err)
		}
	}
	after, err := selfCPU()
	if err != nil {
		return err
	}
	fmt.Printf("%s %.0f\n", name, float64(n)/(after-before).Seconds())
	return nil
}

// selfCPU is the user and system time of this process.
func selfCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}
