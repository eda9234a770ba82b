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
				Backend: string(fips.ActiveBackend()),
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
				fmt.Fprintf(w, "ca %s\t%s\t%s\t%s\t%s\n", v.Version, v.Backend, v.Go, v.Platform, v.Revision)
			})
		},
	}
}
