package fips

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"
)

// exeDigest hashes the running executable once, when first asked: hashing tens
// of megabytes does not belong into the time to the first certificate.
type exeDigest struct {
	once sync.Once
	sum  string
}

// sha256 returns the hex hash of the file the process runs, also when it was
// since replaced or removed, or "" when it cannot be read.
func (d *exeDigest) sha256() string {
	d.once.Do(func() {
		f, err := os.Open("/proc/self/exe")
		if err != nil {
			return
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.Copy(h, f); err == nil {
			d.sum = hex.EncodeToString(h.Sum(nil))
		}
	})
	return d.sum
}

func (m *Module) buildReport() BuildReport {
	f := m.facts
	r := BuildReport{
		Go: f.goVersion, GOEXPERIMENT: f.build["GOEXPERIMENT"], CGO: f.build["CGO_ENABLED"] == "1",
		GOFIPS140: f.build["GOFIPS140"], Tags: []string{}, GOOS: f.goos, GOARCH: f.goarch,
		VCS: f.build["vcs.revision"], Modified: f.build["vcs.modified"] == "true",
		ExeSHA256: m.files.sha256(), DepsSHA256: depsSHA256(f.buildInfo), Insecure: f.insecure,
	}
	if t := f.build["-tags"]; t != "" {
		r.Tags = strings.Split(t, ",")
	}
	if f.buildInfo != nil {
		r.Module, r.Version = f.buildInfo.Main.Path, f.buildInfo.Main.Version
	}
	return r
}

// depsSHA256 hashes the module dependencies that were linked, replaced ones as
// what replaced them.
func depsSHA256(info *debug.BuildInfo) string {
	if info == nil {
		return ""
	}
	h := sha256.New()
	for _, d := range info.Deps {
		for d.Replace != nil {
			d = d.Replace
		}
		fmt.Fprintf(h, "%s %s %s\n", d.Path, d.Version, d.Sum)
	}
	return hex.EncodeToString(h.Sum(nil))
}

func oeReport(affirmed bool) OEReport {
	r := OEReport{Kernel: kernelName(), CPU: cpuName(), Tested: "unknown"}
	if affirmed {
		r.Tested = "affirmed-by-operator"
	}
	return r
}

// cpuName returns the processor's name as Linux prints it, "" if it does not.
func cpuName() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer f.Close()
	return cpuNameFrom(f)
}

// cpuNameFrom reads the model name (x86) or the implementer and part (Arm).
func cpuNameFrom(r io.Reader) string {
	arm := map[string]string{}
	s := bufio.NewScanner(r)
	for s.Scan() {
		key, value, _ := strings.Cut(s.Text(), ":")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		switch key {
		case "model name":
			return value
		case "CPU implementer", "CPU part":
			arm[key] = value
		}
	}
	if len(arm) == 0 {
		return ""
	}
	return "arm implementer " + arm["CPU implementer"] + " part " + arm["CPU part"]
}
