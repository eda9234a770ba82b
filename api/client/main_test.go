package client_test

import (
	"os"
	"testing"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

// TestMain sets a proxy that nobody may use: net/http reads the environment once
// in a process. It proves that the tests run on the backend that they were asked
// to run on.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			panic(err)
		}
	}
	fipstest.Main(m)
}
