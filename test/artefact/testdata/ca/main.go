// Command ca is the smallest program that keeps Kedge's promises about FIPS: it
// starts the module and prints the report. The assertions can be tried on it
// without the whole of Kedge.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/kedge-ca/kedge/fips"
	_ "github.com/kedge-ca/kedge/fips/enforced"
)

func main() {
	err := run()
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	var start *fips.StartError
	if errors.As(err, &start) {
		os.Exit(fips.ExitCode)
	}
	os.Exit(1)
}

func run() error {
	policy, err := fips.PolicyByName("fips")
	if err != nil {
		return err
	}
	now := time.Now()
	m, err := fips.Start(fips.StartOptions{Now: now, Policy: policy})
	if err != nil {
		return err
	}
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(m.Report(fips.ReportInput{Now: now}))
}
