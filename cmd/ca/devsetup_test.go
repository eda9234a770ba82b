package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDevSetUpThatWasCutOffBeginsAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	a := at(time.Now())
	cutOff, cancel := context.WithCancel(t.Context())
	cancel()
	require.Error(t, a.makeDev(cutOff, dir, "127.0.0.1:0"))
	require.DirExists(t, filepath.Join(dir, "secrets"), "the try left something")
	require.NoError(t, a.makeDev(t.Context(), dir, "127.0.0.1:0"))
	require.NoFileExists(t, filepath.Join(dir, devMarker))

	root := filepath.Join(dir, "data", "root", "root.pem")
	before, err := os.ReadFile(root)
	require.NoError(t, err)
	require.NoError(t, a.makeDev(t.Context(), dir, "127.0.0.1:0"))
	after, err := os.ReadFile(root)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestDevRemovesNothingThatItDidNotMake(t *testing.T) {
	for _, name := range []string{"data", "secrets"} {
		dir := t.TempDir()
		mine := filepath.Join(dir, name, "mine")
		require.NoError(t, os.Mkdir(filepath.Dir(mine), 0o700))
		require.NoError(t, os.WriteFile(mine, nil, 0o600))
		_ = at(time.Now()).makeDev(t.Context(), dir, "127.0.0.1:0") // whatever it says
		require.FileExists(t, mine)
	}
}

func TestDevIsSetUpByOneAtATime(t *testing.T) {
	dir := t.TempDir()
	release, err := lockDev(filepath.Join(dir, devMarker))
	require.NoError(t, err)
	require.ErrorContains(t, at(time.Now()).makeDev(t.Context(), dir, "127.0.0.1:0"), "another ca dev")
	release()
	require.NoError(t, at(time.Now()).makeDev(t.Context(), dir, "127.0.0.1:0"))
}
