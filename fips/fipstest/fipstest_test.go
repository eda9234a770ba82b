package fipstest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/fips"
	"github.com/kedge-ca/kedge/fips/fipstest"
)

func TestMain(m *testing.M) { fipstest.Main(m) }

func TestRequireBackend(t *testing.T) {
	rows := []struct {
		expect string
		active fips.Backend
		ok     bool
	}{
		{"", fips.None, true}, {"", fips.Native, true},
		{"boring", fips.BoringCrypto, true}, {"boring", fips.Native, false}, {"boring", fips.None, false},
		{"native", fips.Native, true}, {"native", fips.BoringCrypto, false}, {"native", fips.None, false},
		{"boringcrypto", fips.BoringCrypto, false}, {"none", fips.None, false}, {"yes", fips.Native, false},
	}
	for _, r := range rows {
		var said strings.Builder
		require.Equal(t, r.ok, fipstest.RequireBackend(r.expect, r.active, &said), "%+v", r)
		require.Equal(t, r.ok, said.Len() == 0, "a refusal says why, and only a refusal")
	}
}

// Main must end a run on the wrong backend with an error, before any test: this
// binary runs itself with an expectation that no backend meets.
func TestMainEndsARunOnTheWrongBackend(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=TestRequireBackend")
	cmd.Env = append(os.Environ(), fipstest.ExpectVar+"=impossible")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "want boring or native")
	require.NotContains(t, string(out), "PASS")
}

func TestStartGivesAWorkingModule(t *testing.T) {
	m := fipstest.Start(t, "cnsa1")
	require.NoError(t, m.Err())
	require.Equal(t, "cnsa1", m.Policy().Name())
	require.Equal(t, fips.ActiveBackend(), m.Backend())
}
