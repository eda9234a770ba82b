package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheAgentLinksNoStoreAndNoCAKey: what runs beside workloads is small, and has no
// code that opens a key of the authority.
func TestTheAgentLinksNoStoreAndNoCAKey(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "github.com/kedge-ca/kedge/agent\n")
	for _, forbidden := range []string{
		"github.com/kedge-ca/kedge/ca/keystore", "github.com/kedge-ca/kedge/ca/root", "github.com/kedge-ca/kedge/ca/store",
		"k8s.io/", "github.com/smallstep", "go.step.sm", "github.com/hashicorp/vault", "modernc.org", "github.com/jackc", "github.com/prometheus",
		"github.com/stretchr/testify", "golang.org/x/crypto/ssh", "golang.org/x/crypto/nacl", "github.com/go-jose",
	} {
		for dep := range strings.Lines(string(out)) {
			require.False(t, strings.HasPrefix(dep, forbidden), dep)
		}
	}
}
