package main

import (
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/kedge-ca/kedge/fips"
)

// Sizes of a run. Keys are made beforehand; a request's key is its own until the
// lane has used all of them and begins again.
const (
	serverCPU             = 0
	loadCPU               = 1
	connections           = 4
	workers               = 64
	requestsPerConnection = 4000
	tokenCount            = 10_000
	sampleEvery           = 97
	idleConnections       = 1000
)

func main() {
	child := flag.String("child", "", "internal: play a floor (bare, inprocess, echo)")
	seconds := flag.Int("seconds", 5, "length of each measurement")
	rounds := flag.Int("rounds", 3, "rounds; each figure is the median of its rounds")
	roots := flag.Bool("roots", false, "measure with the root in Vault, whose program KEDGE_VAULT_BIN names, instead")
	flag.Parse()
	if err := run(*child, *roots, *seconds, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(child string, roots bool, seconds, rounds int) error {
	switch child {
	case "bare":
		return bareChild(seconds)
	case "inprocess":
		return inProcessChild(seconds)
	case "echo":
		return echoChild()
	case "":
	default:
		return fmt.Errorf("unknown child %q", child)
	}
	bin := os.Getenv("KEDGE_BIN")
	if bin == "" {
		return fmt.Errorf("KEDGE_BIN is not set; run make bench")
	}
	b := &bench{bin: bin, seconds: seconds, rounds: rounds}
	measure := b.all
	if roots {
		measure = b.roots
	}
	if err := measure(context.Background()); err != nil {
		return err
	}
	b.print(os.Stdout)
	return nil
}

// bench collects the figures.
type bench struct {
	bin     string
	seconds int
	rounds  int
	rows    []row
}

// row is a line of the table: what, measured, wanted, and whether that is met.
type row struct {
	what, measured, goal string
	met                  bool
}

func (b *bench) add(what, measured, goal string, met bool) {
	b.rows = append(b.rows, row{what, measured, goal, met})
	fmt.Fprintf(os.Stderr, "%s: %s (goal %s)\n", what, measured, goal)
}

// goalLimit is the limit of a gRPC CA on the machine that the goals were set on. On
// another machine a goal is its share of the limit of the run.
const goalLimit = 7550

// addShare adds a throughput, held to the goal itself and to its share of the limit.
func (b *bench) addShare(what string, measured, limit, goal float64) {
	b.add(what, fmt.Sprintf("%.0f (%.0f %% of the limit)", measured, 100*measured/limit), fmt.Sprintf("≥ %.0f", goal), measured >= goal)
	share := goal / goalLimit
	b.add("the same as a share of the limit, which no machine's speed changes", fmt.Sprintf("%.0f %%", 100*measured/limit),
		fmt.Sprintf("≥ %.0f %%", 100*share), measured >= share*limit)
}

// all measures everything, floors and lanes in turn so that a noisy moment hits both.
func (b *bench) all(ctx context.Context) error {
	var bare, inProcess []float64
	for range b.rounds {
		x, err := b.childFigure(ctx, "bare")
		if err != nil {
			return err
		}
		y, err := b.childFigure(ctx, "inprocess")
		if err != nil {
			return err
		}
		bare, inProcess = append(bare, x), append(inProcess, y)
	}
	floor, ours := median(bare), median(inProcess)
	b.add("floor: bare standard-library loop, certificates per CPU-second", fmt.Sprintf("%.0f", floor), "-", true)
	b.add("in process, policy and durable record included, certificates per CPU-second", fmt.Sprintf("%.0f (%.0f %% of the floor)", ours, 100*ours/floor), "≥ 90 % of the floor", ours >= .9*floor)
	d, err := newDeployment(ctx, b.bin)
	if err != nil {
		return err
	}
	defer d.remove()
	if err := b.learnRoots(ctx, d); err != nil {
		return err
	}
	if err := b.startAndSize(ctx, d); err != nil {
		return err
	}
	return b.lanes(ctx, d, floor)
}

// learnRoots starts the server once for its bundle.
func (b *bench) learnRoots(ctx context.Context, d *deployment) error {
	if _, err := d.start(ctx, serverCPU); err != nil {
		return err
	}
	defer d.stop()
	return d.fetchRoots(ctx)
}

// childFigure runs a floor of this program on the server's core.
func (b *bench) childFigure(ctx context.Context, name string) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	p, err := startPinned(ctx, serverCPU, self, "-child", name, "-seconds", strconv.Itoa(b.seconds))
	if err != nil {
		return 0, err
	}
	line, err := p.waitFor(name+" ", time.Minute)
	if err != nil {
		return 0, err
	}
	p.stop()
	return strconv.ParseFloat(strings.Fields(line)[1], 64)
}

// startAndSize measures the binary, and how long a start takes until it issues.
func (b *bench) startAndSize(ctx context.Context, d *deployment) error {
	info, err := os.Stat(b.bin)
	if err != nil {
		return err
	}
	mb := float64(info.Size()) / 1e6
	b.add("stripped ca, MB", fmt.Sprintf("%.1f", mb), "≤ 40", mb <= 40)
	var starts []float64
	for range b.rounds {
		if _, err := d.start(ctx, serverCPU); err != nil {
			return err
		}
		begin := d.began
		if _, err := d.first(ctx, 0); err != nil {
			return err
		}
		starts = append(starts, float64(time.Since(begin).Milliseconds()))
		d.stop()
	}
	ms := median(starts)
	b.add("start of the process to the first certificate, ms", fmt.Sprintf("%.0f", ms), "≤ 300", ms <= 300)
	return nil
}

// lanes measures the running server.
func (b *bench) lanes(ctx context.Context, d *deployment, floor float64) error {
	if _, err := d.start(ctx, serverCPU); err != nil {
		return err
	}
	defer d.stop()
	if err := b.memory(ctx, d); err != nil {
		return err
	}
	renew, done, err := d.renewLane(ctx)
	if err != nil {
		return err
	}
	defer done()
	istio, doneIstio, err := d.istioLane()
	if err != nil {
		return err
	}
	defer doneIstio()
	var echoes, renewals, tokens, wall []float64
	for range b.rounds {
		e, err := b.echoFigure(ctx)
		if err != nil {
			return err
		}
		perCPU, perSecond, err := b.lane(ctx, d, renew)
		if err != nil {
			return fmt.Errorf("renewal lane: %w", err)
		}
		t, _, err := b.lane(ctx, d, istio)
		if err != nil {
			return fmt.Errorf("token lane: %w", err)
		}
		echoes, renewals, tokens, wall = append(echoes, e), append(renewals, perCPU), append(tokens, t), append(wall, perSecond)
	}
	echo := median(echoes)
	limit := 1 / (1/floor + 1/echo)
	b.add("floor: gRPC echo over warm TLS, calls per server CPU-second", fmt.Sprintf("%.0f (limit of a gRPC CA: %.0f)", echo, limit), "-", true)
	r, t := median(renewals), median(tokens)
	b.addShare("kedge.v1 Renew over warm mutual TLS, certificates per server CPU-second", r, limit, 6000)
	b.addShare("Istio CreateCertificate by RS256 token, certificates per server CPU-second", t, limit, 5200)
	return b.latency(ctx, renew, median(wall)/2)
}

// lane drives one lane and returns calls per CPU-second of the server and per second.
func (b *bench) lane(ctx context.Context, d *deployment, do call) (perCPU, perSecond float64, err error) {
	return measure(ctx, d.proc, b.seconds, do)
}

func measure(ctx context.Context, p *process, seconds int, do call) (perCPU, perSecond float64, err error) {
	before, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	n, err := closedLoop(ctx, workers, time.Duration(seconds)*time.Second, do)
	if err != nil {
		return 0, 0, err
	}
	took := time.Since(begin)
	after, err := p.cpu()
	if err != nil {
		return 0, 0, err
	}
	return float64(n) / (after - before).Seconds(), float64(n) / took.Seconds(), nil
}

// echoFigure is the floor of any gRPC service.
func (b *bench) echoFigure(ctx context.Context) (float64, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	p, err := startPinned(ctx, serverCPU, self, "-child", "echo")
	if err != nil {
		return 0, err
	}
	defer p.stop()
	line, err := p.waitFor("ready ", time.Minute)
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(line)
	raw, err := os.ReadFile(fields[2])
	if err != nil {
		return 0, err
	}
	defer os.Remove(fields[2])
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(raw)
	conn, err := dialTLS(fields[1], roots, nil)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	request := wrapperspb.Bytes(make([]byte, 480))
	perCPU, _, err := measure(ctx, p, b.seconds, func(ctx context.Context, _, _ int) error {
		return conn.Invoke(ctx, echoMethod, request, new(wrapperspb.BytesValue))
	})
	return perCPU, err
}

// memory measures what idle connections cost.
func (b *bench) memory(ctx context.Context, d *deployment) error {
	before, err := d.proc.rss()
	if err != nil {
		return err
	}
	shut, err := d.idle(ctx, idleConnections)
	if err != nil {
		return err
	}
	defer shut()
	time.Sleep(8 * time.Second) // an idle server collects its garbage after some quiet seconds
	after, err := d.proc.rss()
	if err != nil {
		return err
	}
	each := float64(after-before) / idleConnections
	b.add("memory of an idle mutual-TLS connection, KB", fmt.Sprintf("%.1f", each), "≤ 40", each <= 40)
	total := float64(after) / 1024
	b.add("resident memory with 1000 connected proxies, MB", fmt.Sprintf("%.1f", total), "≤ 64", total <= 64)
	return nil
}

// latency measures at half of the throughput that the closed loop reached, and the
// disk that every answer waits for right before.
func (b *bench) latency(ctx context.Context, do call, rate float64) error {
	flushes, err := diskFlushes(time.Duration(b.seconds) * time.Second)
	if err != nil {
		return err
	}
	b.add("floor: flush of one 16 KiB block to the same disk, nothing else running, p50 / p99 / p99.9, ms",
		fmt.Sprintf("%s / %s / %s", milliseconds(percentile(flushes, 50)), milliseconds(percentile(flushes, 99)), milliseconds(percentile(flushes, 99.9))), "-", true)
	latencies, err := openLoop(ctx, rate, time.Duration(2*b.seconds)*time.Second, do)
	if err != nil {
		return err
	}
	for _, g := range []struct {
		p    float64
		goal time.Duration
		text string
	}{{50, 5500 * time.Microsecond, "≤ 0.5 ms + group commit (≤ 5 ms)"}, {99, 5 * time.Millisecond, "≤ 5 ms"}, {99.9, 20 * time.Millisecond, "≤ 20 ms"}} {
		v := percentile(latencies, g.p)
		b.add(fmt.Sprintf("latency at half load (%.0f/s), p%g, ms", rate, g.p), milliseconds(v), g.text, v <= g.goal)
	}
	return nil
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }

// print writes the table as it stands in docs/benchmarks.md.
func (b *bench) print(w *os.File) {
	fmt.Fprintf(w, "%s, %s/%s, %d CPUs (%s), %s, backend %s, %d rounds of %d s\n\n",
		time.Now().UTC().Format("2006-01-02"), runtime.GOOS, runtime.GOARCH, cpuCount(), cpuModel(), runtime.Version(), fips.ActiveBackend(), b.rounds, b.seconds)
	fmt.Fprintln(w, "| what | measured | goal | |\n| --- | --- | --- | --- |")
	for _, r := range b.rows {
		mark := "met"
		switch {
		case r.goal == "-":
			mark = ""
		case !r.met:
			mark = "**missed**"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", r.what, r.measured, r.goal, mark)
	}
}

// cpuCount is the machine's; this process itself is pinned to one.
func cpuCount() int {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return 0
	}
	return strings.Count(string(raw), "processor\t:")
}

func cpuModel() string {
	raw, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(raw)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
