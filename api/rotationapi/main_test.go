package rotationapi_test

import (
	"testing"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

// TestMain proves that the tests run on the backend that they were asked to run on.
func TestMain(m *testing.M) { fipstest.Main(m) }
