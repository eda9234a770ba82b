package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	kedgev1 "github.com/kedge-ca/kedge/api/kedge/v1"
)

func newAuditCommand(a *app) *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Read the records of what was issued, and of what was done",
		Long: `Reads the durable records of the running server over its local socket: every
certificate with who asked and what proved it, and every act of operators.`,
		Example: "  ca audit tail -f\n  ca audit search --identity spiffe://example.org/ns/default/\n  ca audit verify",
	}
	cmd.PersistentFlags().StringVar(&socket, "admin-socket", "", adminUsage())
	cmd.AddCommand(newAuditTailCommand(a, &socket), newAuditSearchCommand(a, &socket), newAuditEventsCommand(a, &socket), newAuditVerifyCommand(a, &socket))
	return cmd
}

func newAuditTailCommand(a *app, socket *string) *cobra.Command {
	var last uint32
	var follow bool
	cmd := &cobra.Command{
		Use: "tail", Short: "Show the newest records, and go on with -f", Args: cobra.NoArgs,
		Example: "  ca audit tail -n 50\n  ca audit tail -f -o json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				stream, err := c.TailRecords(ctx, &kedgev1.TailRecordsRequest{Last: last, Follow: follow})
				if err != nil {
					return err
				}
				return ignoreEnd(ctx, a.printRecords(stream))
			})
		},
	}
	cmd.Flags().Uint32VarP(&last, "last", "n", 20, "how many to begin with")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with each new record until interrupted")
	return cmd
}

func newAuditSearchCommand(a *app, socket *string) *cobra.Command {
	q := &kedgev1.SearchRecordsRequest{}
	var since, until string
	cmd := &cobra.Command{
		Use: "search", Short: "Find records", Args: cobra.NoArgs,
		Example: "  ca audit search --serial 65184b9b82daf3b0c678b54e61d8fdeedf61f82f\n  ca audit search --identity spiffe://example.org/ns/default/ --since 24h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			q.Serial = normalSerial(q.Serial)
			if q.Since, err = a.when(since); err != nil {
				return fmt.Errorf("--since: %w", err)
			}
			if q.Until, err = a.when(until); err != nil {
				return fmt.Errorf("--until: %w", err)
			}
			return a.withAdmin(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				stream, err := c.SearchRecords(ctx, q)
				if err != nil {
					return err
				}
				return a.printRecords(stream)
			})
		},
	}
	cmd.Flags().StringVar(&q.Serial, "serial", "", "serial number in hex; colons, case and leading zeros do not matter")
	cmd.Flags().StringVar(&q.Identity, "identity", "", "SPIFFE ID, or a prefix that ends in /")
	cmd.Flags().StringVar(&q.Method, "method", "", "kubernetes, oidc, certificate, join_token or local")
	cmd.Flags().StringVar(&q.Cluster, "cluster", "", "name of the cluster")
	cmd.Flags().StringVar(&since, "since", "", "issued at or after: a time like 2026-11-24T00:00:00Z, or how long ago, like 24h or 7d")
	cmd.Flags().StringVar(&until, "until", "", "issued before")
	cmd.Flags().BoolVar(&q.NewestFirst, "newest", false, "newest first")
	cmd.Flags().Uint32Var(&q.Limit, "limit", 100, "at most so many")
	return cmd
}

// normalSerial writes a serial as the records have it, whatever tool it comes from:
// OpenSSL prints upper case, browsers put colons in between.
func normalSerial(s string) string {
	s = strings.ReplaceAll(strings.ToLower(s), ":", "")
	if len(s)%2 == 1 {
		s = "0" + s
	}
	for strings.HasPrefix(s, "00") {
		s = s[2:]
	}
	return s
}

// when reads a time, or how long before now.
func (a *app) when(s string) (*timestamppb.Timestamp, error) {
	if s == "" {
		return nil, nil
	}
	if d, err := parseDays(s); err == nil {
		return timestamppb.New(a.now().Add(-d)), nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return nil, fmt.Errorf("%q is neither a time like 2026-11-24T00:00:00Z nor how long ago, like 24h or 7d", s)
	}
	return timestamppb.New(t), nil
}

// recordInfo is a record as it is printed.
type recordInfo struct {
	Seq          uint64       `json:"seq"`
	Serial       string       `json:"serial"`
	Identity     string       `json:"identity"`
	HostNames    []string     `json:"hostNames,omitempty"`
	Profile      string       `json:"profile"`
	Evidence     evidenceInfo `json:"evidence"`
	KeyHash      string       `json:"keySHA256"`
	TBSHash      string       `json:"tbsSHA256"`
	Issuer       string       `json:"issuer"`
	Anchor       string       `json:"anchor"`
	BundleSeq    uint64       `json:"bundleSequence"`
	IssuedAt     time.Time    `json:"issuedAt"`
	NotBefore    time.Time    `json:"notBefore"`
	NotAfter     time.Time    `json:"notAfter"`
	RequestID    string       `json:"requestId"`
	VoidedReason string       `json:"voidedReason,omitempty"`
}

// evidenceInfo is what proved the caller.
type evidenceInfo struct {
	Method    string `json:"method"`
	Issuer    string `json:"issuer,omitempty"`
	Subject   string `json:"subject,omitempty"`
	Cluster   string `json:"cluster,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Node      string `json:"node,omitempty"`
	TokenHash string `json:"tokenSHA256,omitempty"`
	Peer      string `json:"peer,omitempty"`
}

func recordInfoOf(r *kedgev1.Record) recordInfo {
	e := r.GetEvidence()
	return recordInfo{
		Seq: r.GetSeq(), Serial: r.GetSerial(), Identity: r.GetIdentity(), HostNames: r.GetHostNames(), Profile: r.GetProfile(),
		Evidence: evidenceInfo{
			Method: e.GetMethod(), Issuer: e.GetIssuer(), Subject: e.GetSubject(), Cluster: e.GetCluster(),
			Pod: e.GetPod(), Node: e.GetNode(), TokenHash: e.GetTokenHash(), Peer: e.GetPeer(),
		},
		KeyHash: hex.EncodeToString(r.GetKeyHash()), TBSHash: hex.EncodeToString(r.GetTbsHash()),
		Issuer: r.GetIssuer(), Anchor: hex.EncodeToString(r.GetAnchor()), BundleSeq: r.GetBundleSequence(),
		IssuedAt: r.GetIssuedAt().AsTime(), NotBefore: r.GetNotBefore().AsTime(), NotAfter: r.GetNotAfter().AsTime(),
		RequestID: r.GetRequestId(), VoidedReason: r.GetVoidedReason(),
	}
}

// printRecords prints a line for each record as it comes: with -o json one object
// a line, with -o yaml one document each, so that a stream can be piped.
func (a *app) printRecords(stream grpc.ServerStreamingClient[kedgev1.Record]) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.output != "table" {
			err = a.print("Record", recordInfoOf(r), nil)
		} else {
			e := r.GetEvidence()
			_, err = fmt.Fprintf(a.stdout, "%d  %s  %-40s  %s  %s %s%s\n", r.GetSeq(), r.GetIssuedAt().AsTime().Format(time.RFC3339), r.GetIdentity(),
				r.GetSerial(), e.GetMethod(), printable(firstOf(e.GetSubject(), e.GetIssuer(), "-")), voided(r))
		}
		if err != nil {
			return err
		}
	}
}

func voided(r *kedgev1.Record) string {
	if r.GetVoidedReason() == "" {
		return ""
	}
	return "  VOID: " + printable(r.GetVoidedReason())
}

// ignoreEnd makes an interrupt the normal end of a stream.
func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = nil
	}
	return err
}

func newAuditEventsCommand(a *app, socket *string) *cobra.Command {
	q := &kedgev1.ListEventsRequest{NewestFirst: true}
	cmd := &cobra.Command{
		Use: "events", Short: "Show what the server and its operators did, newest first", Args: cobra.NoArgs,
		Example: "  ca audit events --limit 50",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				stream, err := c.ListEvents(ctx, q)
				if err != nil {
					return err
				}
				return a.printEvents(stream)
			})
		},
	}
	cmd.Flags().Uint32Var(&q.Limit, "limit", 100, "at most so many")
	return cmd
}

type eventInfo struct {
	Seq    uint64            `json:"seq"`
	At     time.Time         `json:"at"`
	Actor  string            `json:"actor"`
	Action string            `json:"action"`
	Detail map[string]string `json:"detail,omitempty"`
}

func (a *app) printEvents(stream grpc.ServerStreamingClient[kedgev1.Event]) error {
	for {
		e, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		v := eventInfo{e.GetSeq(), e.GetAt().AsTime(), e.GetActor(), e.GetAction(), e.GetDetail()}
		if a.output != "table" {
			err = a.print("Event", v, nil)
		} else {
			var detail []byte
			if detail, err = json.Marshal(v.Detail); err == nil {
				_, err = fmt.Fprintf(a.stdout, "%d  %s  %s  %s  %s\n", v.Seq, v.At.Format(time.RFC3339), v.Actor, v.Action, detail)
			}
		}
		if err != nil {
			return err
		}
	}
}

func newAuditVerifyCommand(a *app, socket *string) *cobra.Command {
	return &cobra.Command{
		Use: "verify", Short: "Check the hash chain over all records", Args: cobra.NoArgs,
		Example: "  ca audit verify",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withAdmin(cmd.Context(), *socket, func(ctx context.Context, c kedgev1.AdminClient) error {
				answer, err := c.VerifyRecords(ctx, &kedgev1.VerifyRecordsRequest{})
				if err != nil {
					return err
				}
				return a.print("AuditVerification", struct {
					Records uint64 `json:"records"`
				}{answer.GetRecords()}, func(w *tabwriter.Writer) {
					fmt.Fprintf(w, "%s, none changed and none missing in between\n", count(int(answer.GetRecords()), "record"))
				})
			})
		},
	}
}
