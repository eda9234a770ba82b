package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/rotation"
	"github.com/kedge-ca/kedge/rotation/simulate"
)

// TestExampleScenariosComeToTheirEnd; the largest is only read, for the time it takes.
func TestExampleScenariosComeToTheirEnd(t *testing.T) {
	files, err := filepath.Glob("../../deploy/simulate/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		s, err := loadScenario(file)
		require.NoError(t, err)
		require.NotZero(t, s.Seed, "an example shows the same to everybody")
		if s.Zones > 100 {
			continue
		}
		r, err := simulate.Run(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, rotation.Done, r.Ended, file)
		require.Zero(t, r.Broken, file)
	}
}
