package replica_test

import (
	"testing"

	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }
