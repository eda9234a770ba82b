package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// vaultAddr is where the benchmark's Vault listens, on loopback.
const vaultAddr = "127.0.0.1:28200"

// vaultServer is a real Vault in its development mode: unsealed, in memory, TLS on.
type vaultServer struct {
	bin  string
	proc *process
	dir  string
}

// startVault starts it on the load generator's core and makes what the benchmark
// uses: both engines.
func startVault(ctx context.Context, bin string) (*vaultServer, error) {
	dir, err := os.MkdirTemp("", "kedge-bench-vault-")
	if err != nil {
		return nil, err
	}
	v := &vaultServer{bin: bin, dir: dir}
	if err := os.WriteFile(v.token(), []byte("benchmark"), 0o600); err != nil {
		return nil, err
	}
	return v, v.start(ctx)
}

func (v *vaultServer) start(ctx context.Context) error {
	var err error
	v.proc, err = startPinned(ctx, loadCPU, v.bin, "server", "-dev", "-dev-tls", "-dev-tls-cert-dir="+v.dir, "-dev-tls-san=127.0.0.1",
		"-dev-root-token-id=benchmark", "-dev-listen-address="+vaultAddr, "-dev-no-store-token", "-log-level=error")
	if err != nil {
		return err
	}
	if _, err := v.proc.waitFor("Development mode", time.Minute); err != nil {
		return err
	}
	for _, args := range [][]string{{"secrets", "enable", "pki"}, {"secrets", "enable", "transit"}} {
		cmd := exec.CommandContext(ctx, v.bin, args...)
		cmd.Env = append(os.Environ(), "VAULT_ADDR=https://"+vaultAddr, "VAULT_CACERT="+v.caFile(), "VAULT_TOKEN=benchmark")
		if out, err := cmd.CombinedOutput(); err != nil {
			return errors.Join(fmt.Errorf("vault %v: %w: %s", args, err, out), v.stop())
		}
	}
	return nil
}

func (v *vaultServer) token() string  { return filepath.Join(v.dir, "token") }
func (v *vaultServer) caFile() string { return filepath.Join(v.dir, "vault-ca.pem") }

// flags are those of ca init.
func (v *vaultServer) flags(more ...string) []string {
	return append([]string{"--vault-address", "https://" + vaultAddr, "--vault-ca-file", v.caFile(), "--vault-token-file", v.token()}, more...)
}

func (v *vaultServer) freeze() error { return v.proc.cmd.Process.Signal(syscall.SIGSTOP) }
func (v *vaultServer) thaw() error   { return v.proc.cmd.Process.Signal(syscall.SIGCONT) }

func (v *vaultServer) stop() error {
	err := v.thaw()
	v.proc.stop()
	return errors.Join(err, os.RemoveAll(v.dir))
}

// roots measures renewals with the root in Vault while that is up, frozen and gone,
// and with the intermediate's own key there.
func (b *bench) roots(ctx context.Context) error {
	bin := os.Getenv("KEDGE_VAULT_BIN")
	if bin == "" {
		return errors.New("KEDGE_VAULT_BIN is not set; run make bench-roots")
	}
	v, err := startVault(ctx, bin)
	if err != nil {
		return err
	}
	remote, err := b.keyInVault(ctx, v)
	if err != nil {
		return errors.Join(err, v.stop())
	}
	if err := errors.Join(b.outages(ctx, v), v.stop()); err != nil {
		return err
	}
	b.add("intermediate's key in Vault's transit engine, on the same machine: certificates per second", fmt.Sprintf("%.0f", remote.perSecond), "-", true)
	b.add("the same, certificates per CPU-second of Kedge alone", fmt.Sprintf("%.0f", remote.perCPU), "-", true)
	return nil
}

// rate is one figure of a lane.
type rate struct{ perCPU, perSecond float64 }

// keyInVault measures an authority whose every signature is a request to Vault.
func (b *bench) keyInVault(ctx context.Context, v *vaultServer) (rate, error) {
	d, err := newDeployment(ctx, b.bin, v.flags("--root", "vault-transit", "--keys-store", "vault-transit", "--keys-mount", "transit", "--keys-prefix", "bench-")...)
	if err != nil {
		return rate{}, err
	}
	defer d.remove()
	do, done, err := b.serveRenewals(ctx, d)
	if err != nil {
		return rate{}, err
	}
	defer d.stop()
	defer done()
	perCPU, perSecond, err := b.lane(ctx, d, do)
	return rate{perCPU, perSecond}, err
}

// serveRenewals starts d and makes the lane of renewals.
func (b *bench) serveRenewals(ctx context.Context, d *deployment) (call, func(), error) {
	if _, err := d.start(ctx, serverCPU); err != nil {
		return nil, nil, err
	}
	if err := d.fetchRoots(ctx); err != nil {
		return nil, nil, err
	}
	return d.renewLane(ctx)
}

// outages measures in turn, so that a noisy moment hits all three.
func (b *bench) outages(ctx context.Context, v *vaultServer) error {
	d, err := newDeployment(ctx, b.bin, v.flags("--root", "vault-pki")...)
	if err != nil {
		return err
	}
	defer d.remove()
	do, done, err := b.serveRenewals(ctx, d)
	if err != nil {
		return err
	}
	defer d.stop()
	defer done()
	var up, frozen, gone []float64
	for round := range b.rounds {
		x, y, z, err := b.outage(ctx, v, round%2 == 1, func() (float64, error) {
			perCPU, _, err := b.lane(ctx, d, do)
			return perCPU, err
		})
		if err != nil {
			return err
		}
		up, frozen, gone = append(up, x), append(frozen, y), append(gone, z)
	}
	base := median(up)
	b.add("root in Vault: renewals per server CPU-second while Vault is up", fmt.Sprintf("%.0f", base), "-", true)
	for _, row := range []struct {
		what   string
		values []float64
	}{{"answers nothing", frozen}, {"is gone", gone}} {
		share := 100 * median(row.values) / base
		b.add("the same while Vault "+row.what, fmt.Sprintf("%.0f (%.1f %%)", median(row.values), share), "≥ 98 %", share >= 98)
	}
	return nil
}

// outage is one round: with Vault up, frozen and gone, or the other way round, so
// that what comes first or last is none of them always.
func (b *bench) outage(ctx context.Context, v *vaultServer, reversed bool, lane func() (float64, error)) (up, frozen, gone float64, err error) {
	steps := []func() error{
		func() error { up, err = lane(); return err },
		func() error {
			if err := v.freeze(); err != nil {
				return err
			}
			frozen, err = lane()
			return errors.Join(err, v.thaw())
		},
		func() error {
			v.proc.stop()
			gone, err = lane()
			return errors.Join(err, v.start(ctx))
		},
	}
	if reversed {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return 0, 0, 0, err
		}
	}
	return up, frozen, gone, nil
}
