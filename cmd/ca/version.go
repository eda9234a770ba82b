package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/kedge-ca/kedge/fips"
)

// version is the release that this tree becomes; CHANGELOG.md has its notes.
const version = "0.1.0-dev"

type versionInfo struct {
	Version  string `json:"version"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
	Backend  string `json:"backend"`
	Module   string `json:"module"` // the validated module, or why it does not work
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified"`
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print version, build and cryptographic backend",
		Example: "  ca version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionInfo{
				Version: version + fips.VersionSuffix(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
				Backend: string(fips.ActiveBackend()), Module: a.moduleInUse(),
			}
			if build, ok := debug.ReadBuildInfo(); ok {
				for _, s := range build.Settings {
					switch s.Key {
					case "vcs.revision":
						v.Revision = s.Value
					case "vcs.modified":
						v.Modified = s.Value == "true"
					}
				}
			}
			return a.print("Version", v, func(w *tabwriter.Writer) {
				revision := firstOf(v.Revision, "unknown")
				if v.Modified {
					revision += ", modified"
				}
				fmt.Fprintf(w, "ca\t%s\nmodule\t%s\nbackend\t%s\ngo\t%s\nplatform\t%s\nrevision\t%s\n",
					v.Version, v.Module, v.Backend, v.Go, v.Platform, revision)
			})
		},
	}
}

// moduleInUse names the module; a binary without one still tells its version.
func (a *app) moduleInUse() string {
	module, err := a.startModule(defaultConfig())
	if err != nil {
		return "none: " + err.Error()
	}
	m := module.Report(fips.ReportInput{Now: a.now()}).Module
	if m == nil {
		return "none"
	}
	return fmt.Sprintf("%s %s, CMVP #%s", m.Name, m.Version, m.CMVP)
}
