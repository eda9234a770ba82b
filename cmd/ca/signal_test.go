package main

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHangupReloadsAServer(t *testing.T) {
	bin := filepath.Join(buildCA(t), "ca")
	s := makeSite(t, at(time.Now()))
	server := serveSite(t, bin, s)
	require.NoError(t, server.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		out, _ := s.exec(bin, "audit", "events").CombinedOutput()
		return strings.Contains(string(out), "config.reload")
	}, 20*time.Second, 50*time.Millisecond)
}

// A development server whose terminal is closed would keep its port for ever.
func TestHangupEndsADevelopmentServer(t *testing.T) {
	dir := t.TempDir()
	addr, err := freeAddr()
	require.NoError(t, err)
	dev := exec.Command(filepath.Join(buildCA(t), "ca"), "dev", "--dir", dir, "--listen", addr)
	require.NoError(t, dev.Start())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		return err == nil && conn.Close() == nil
	}, 20*time.Second, 20*time.Millisecond)
	require.NoError(t, dev.Process.Signal(syscall.SIGHUP))
	ended := make(chan struct{})
	go func() { _ = dev.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		require.NoError(t, dev.Process.Kill())
		require.Fail(t, "it goes on")
	}
}

// The metrics port must not turn a drain that used its time into a failure.
func TestStopWithAnOpenScrapeIsNoFailure(t *testing.T) {
	bin := filepath.Join(buildCA(t), "ca")
	s := makeSite(t, at(time.Now()))
	ops, err := freeAddr()
	require.NoError(t, err)
	s.edit(t, "127.0.0.1:0", ops)
	server := serveSite(t, bin, s)
	conn, err := net.Dial("tcp", ops)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte("GET /metrics HTTP/1.1\r\n")) // and no more
	require.NoError(t, err)
	begun := time.Now()
	require.NoError(t, server.Process.Signal(syscall.SIGTERM))
	<-server.ended
	require.Equal(t, 0, server.ProcessState.ExitCode())
	require.Less(t, time.Since(begun), 5*time.Second)
}
