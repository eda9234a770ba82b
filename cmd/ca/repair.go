package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/root/local"
	vaultroot "github.com/kedge-ca/kedge/ca/root/vault"
	"github.com/kedge-ca/kedge/fips"
)

// Repair implements admin.Operations. It looks from the anchor down and mends what
// has expired; what lives is left alone.
func (s *server) Repair(ctx context.Context, dryRun bool) (*kedgev1.RepairResponse, error) {
	s.repairing.Lock()
	defer s.repairing.Unlock()
	out := &kedgev1.RepairResponse{}
	now := s.app.now()
	bundle := s.authority.Bundle()
	if bundle == nil {
		return nil, ca.Refuse(ca.ReasonNotReady, "there is no bundle; see the server's log")
	}
	end := bundle.Active().NotAfter
	if now.Before(end) {
		out.Steps = append(out.Steps, fmt.Sprintf("active anchor lives until %s: nothing to do", end.UTC().Format(time.RFC3339)))
	} else if s.config.isZone() {
		return nil, ca.Refuse(ca.ReasonNoPrimary, "active anchor expired at %s: repair the primary, and this zone follows it", end.UTC().Format(time.RFC3339))
	} else {
		step, err := s.repairRoot(ctx, now, bundle.Active(), dryRun)
		if err != nil {
			return nil, err
		}
		out.Changed, out.BundleChanged = true, true
		out.Steps = append(out.Steps, fmt.Sprintf("active anchor expired at %s: %s", end.UTC().Format(time.RFC3339), step))
	}
	if i := s.authority.Intermediate(); !out.BundleChanged && isUsable(i, now) {
		out.Steps = append(out.Steps, fmt.Sprintf("intermediate lives until %s: nothing to do", i.NotAfter().UTC().Format(time.RFC3339)))
		return out, nil
	}
	out.Changed = true
	out.Steps = append(out.Steps, "there is no intermediate that lives: a new one is signed, and a new server certificate")
	if dryRun {
		return out, nil
	}
	if !isUsable(s.authority.Intermediate(), now) { // taking a new root's bundle has made one
		if err := s.upkeep.tick(ctx, true); err != nil {
			return nil, err
		}
	}
	return out, s.serving.renew(ctx)
}

// isUsable tells whether leaves can be issued under i. One that begins in the
// future was made while the clock was ahead.
func isUsable(i *ca.Intermediate, now time.Time) bool {
	return i != nil && !now.Before(i.Certificate().NotBefore) && i.NotAfter().Sub(now) > ca.MinLeafTTL
}

// repairRoot publishes a new root in the place of the expired one and says which, or
// says which that would be.
func (s *server) repairRoot(ctx context.Context, now time.Time, expired *x509.Certificate, dryRun bool) (step string, err error) {
	if dryRun {
		return s.foreseeRoot(ctx, now)
	}
	anchor, err := s.replaceRoot(ctx, now, expired)
	if err != nil {
		return "", err
	}
	return "published " + describeAnchor(anchor), nil
}

// foreseeRoot says what a repair would publish, and makes nothing. A root that is
// there already, in Vault or from a repair that was cut off, is taken as it is: the
// operator compares its fingerprint with what was made.
func (s *server) foreseeRoot(ctx context.Context, now time.Time) (string, error) {
	root, err := s.app.openRoot(s.config.Root, s.module.Policy(), s.outside)
	if err != nil {
		return "", err
	}
	there, err := root.Anchor(ctx)
	switch {
	case err != nil:
		return "", err
	case now.Before(there.NotAfter):
		return "would publish the root that is there, " + describeAnchor(there), nil
	case s.config.Root.Type == rootLocal:
		return "a new root is made and published; its fingerprint is known then", nil
	}
	if _, ok := root.(*vaultroot.Transit); !ok {
		return "", s.noSuccessor()
	}
	return "a new root is made for the same key, and published; its fingerprint is known then", nil
}

// describeAnchor names an anchor by what an operator compares.
func describeAnchor(anchor *x509.Certificate) string {
	return fmt.Sprintf("%s, SHA-256 %s, until %s", anchor.Subject, ca.AnchorIDOf(anchor), anchor.NotAfter.UTC().Format(time.RFC3339))
}

// noSuccessor refuses where only somebody else can make a root.
func (s *server) noSuccessor() error {
	return ca.Refuse(ca.ReasonRootMismatch, "%s is the root that expired: make its successor there first (docs/roots.md), then repair again", s.config.describeRoot())
}

// replaceRoot publishes a new root in the place of the expired one: a local root is
// made here, one in Vault was made there before. When an earlier call was cut off
// in between, it goes on from there. It is published on the chain, where every zone
// finds it; an authority without a chain stores it alone.
func (s *server) replaceRoot(ctx context.Context, now time.Time, expired *x509.Certificate) (*x509.Certificate, error) {
	anchor, err := s.successor(ctx, now, expired)
	if err != nil {
		return nil, err
	}
	held, err := s.custodian.Held(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := s.following.leading.get(); err != nil {
		if len(held.Signed) > 0 {
			return nil, err
		}
		return anchor, s.upkeep.alone(func() error {
			_, err := s.custodian.ReplaceExpired(ctx, now, anchor)
			return err
		})
	}
	return anchor, s.publishRepaired(ctx, anchor)
}

// repairPatience is longer than a primary that has started waits for its replicas.
const repairPatience = 20 * time.Second

// publishRepaired publishes the new root and takes it in this process.
func (s *server) publishRepaired(ctx context.Context, anchor *x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, repairPatience)
	defer cancel()
	f, err := s.openFollower()
	if err != nil {
		return err
	}
	for {
		// A primary that has just started waits for reports; its own may be the one.
		err := errors.Join(f.Report(ctx), s.following.leading.replaceExpired(ctx, anchor))
		if err == nil {
			break
		}
		if ca.ReasonOf(err) != ca.ReasonNotReady || ctx.Err() != nil {
			return err
		}
		wait(ctx, time.Second)
	}
	have, err := f.Have(ctx)
	if err != nil {
		return err
	}
	d, err := s.following.leading.Follow(ctx, have)
	if err != nil {
		return err
	}
	return f.Take(ctx, d)
}

// wait waits for d, or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (s *server) successor(ctx context.Context, now time.Time, expired *x509.Certificate) (*x509.Certificate, error) {
	domain, err := s.config.domain()
	if err != nil {
		return nil, err
	}
	if s.config.Root.Type != rootLocal {
		return s.successorElsewhere(ctx, now, domain)
	}
	sealer, err := s.app.sealer(s.config.Root.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("root.passphrase: %w", err)
	}
	return local.Renew(ctx, local.InitConfig{
		Dir: s.config.Root.Dir, Sealer: sealer, TrustDomain: domain,
		KeyType: fips.KeyType(s.config.Keys.Type), Policy: s.module.Policy(), Now: now,
	}, expired)
}

// successorElsewhere is the root that is there now. A key in transit gets another
// certificate, which nobody else can make.
func (s *server) successorElsewhere(ctx context.Context, now time.Time, domain ca.TrustDomain) (*x509.Certificate, error) {
	root, err := s.app.openRoot(s.config.Root, s.module.Policy(), s.outside)
	if err != nil {
		return nil, err
	}
	anchor, err := root.Anchor(ctx)
	if err != nil || now.Before(anchor.NotAfter) {
		return anchor, err
	}
	transit, ok := root.(*vaultroot.Transit)
	if !ok {
		return nil, s.noSuccessor()
	}
	fresh, err := transit.Renew(ctx, domain, now)
	if err != nil {
		return nil, err
	}
	return fresh, local.ReplaceCertificate(s.config.Root.Dir, anchor, fresh)
}

func newRepairCommand(a *app) *cobra.Command {
	var dryRun, yes bool
	var socket string
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Mend an authority whose certificates have expired",
		Long: `Asks the running server, over its local socket, to mend what has expired: the
intermediate, and as a last resort the root. What lives is left alone. A new root
means a new bundle: every proxy must be given it (ca bundle export), because nothing
under the old root verifies any more. A root that is there already is taken as it is;
--dry-run prints its fingerprint, to be compared with what was made.`,
		Example: "  ca repair --dry-run\n  ca repair --yes",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				plan, err := c.Repair(ctx, &kedgev1.RepairRequest{DryRun: true})
				if err != nil {
					return err
				}
				if dryRun || !plan.GetChanged() {
					return a.printRepair(plan, dryRun)
				}
				if plan.GetBundleChanged() && !yes {
					if err := a.printRepair(plan, true); err != nil {
						return err
					}
					return &exitError{exitFail, fmt.Errorf("this makes a new root; run it again with --yes")}
				}
				done, err := c.Repair(ctx, &kedgev1.RepairRequest{})
				if err != nil {
					return err
				}
				return a.printRepair(done, false)
			})
		},
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().BoolVar(&yes, "yes", false, "make a new root without asking again")
	a.adminFlag(cmd, &socket)
	return cmd
}

func (a *app) printRepair(r *kedgev1.RepairResponse, dryRun bool) error {
	out := struct {
		DryRun        bool     `json:"dryRun"`
		Steps         []string `json:"steps"`
		Changed       bool     `json:"changed"`
		BundleChanged bool     `json:"bundleChanged"`
	}{dryRun, r.GetSteps(), r.GetChanged(), r.GetBundleChanged()}
	return a.print("Repair", out, func(w *tabwriter.Writer) {
		for _, step := range out.Steps {
			fmt.Fprintln(w, step)
		}
		switch {
		case dryRun:
			fmt.Fprintln(w, "nothing was changed (dry run)")
		case out.BundleChanged:
			fmt.Fprintln(w, "Next: give every proxy the new bundle.")
		}
	})
}
