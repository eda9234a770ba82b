package main

import (
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
)

func newConfigCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "config",
		Short:   "Check or show a configuration file",
		Example: "  ca config validate /etc/kedge/ca.yaml\n  ca config show /etc/kedge/ca.yaml",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "validate FILE",
		Short: "Check a file; errors begin with file:line:column",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if _, err := loadConfig(args[0]); err != nil {
				return err
			}
			_, err := fmt.Fprintf(a.stdout, "%s is valid\n", args[0])
			return err
		},
	}, &cobra.Command{
		Use:   "show FILE",
		Short: "Print the whole configuration, defaults included",
		Args:  cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			cfg, err := loadConfig(args[0])
			if err != nil {
				return err
			}
			if a.output == "json" {
				return a.print("Config", cfg, nil)
			}
			body, err := yaml.Marshal(cfg)
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(body)
			return err
		},
	})
	return cmd
}
