package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedge-ca/kedge/rotation/journal"
)

// primaryZone is the zone of the primary's own processes, unless it is named.
const primaryZone = "primary"

// zoneConfig names this process among those of its trust domain.
type zoneConfig struct {
	Name    string `yaml:"name" json:"name,omitempty"`       // in a zone "" takes what the token says
	Replica string `yaml:"replica" json:"replica,omitempty"` // "" is made of the host's name at the first start
}

// primaryConfig is where a zone finds its primary. With it there is no root.
type primaryConfig struct {
	Address    string `yaml:"address" json:"address"`
	ServerName string `yaml:"serverName" json:"serverName,omitempty"`
	TokenFile  string `yaml:"tokenFile" json:"tokenFile,omitempty"` // needed until the replica has joined
	TokenEnv   string `yaml:"tokenEnv" json:"tokenEnv,omitempty"`   // instead of a file
}

// zonesConfig is how the primary serves zones.
type zonesConfig struct {
	Listen string `yaml:"listen" json:"listen"` // "" serves none
}

// isZone tells whether this is a zone's replica, which has no root.
func (c *config) isZone() bool { return c.Primary != primaryConfig{} }

func (c *config) zoneProblems(add addProblem) {
	for path, name := range map[string]string{"zone.name": c.Zone.Name, "zone.replica": c.Zone.Replica} {
		if name == "" {
			continue
		}
		if err := journal.CheckName(name); err != nil {
			add(path, "%q: 1 to 63 lower-case letters, digits and hyphens, no hyphen first or last", name)
		}
	}
	if c.Zones.Listen != "" {
		if _, _, err := net.SplitHostPort(c.Zones.Listen); err != nil {
			add("zones.listen", "%v", err)
		}
	}
	if !c.isZone() {
		return
	}
	if host, _, err := net.SplitHostPort(c.Primary.Address); err != nil || host == "" {
		add("primary.address", "%q is not host:port of the primary's zones.listen", c.Primary.Address)
	}
	if c.Primary.TokenFile != "" && !filepath.IsAbs(c.Primary.TokenFile) {
		add("primary.tokenFile", "%q is not an absolute path", c.Primary.TokenFile)
	}
	if c.Primary.TokenFile != "" && c.Primary.TokenEnv != "" {
		add("primary", "name one of tokenFile and tokenEnv")
	}
	for section, isSet := range map[string]bool{
		"root": c.Root != rootConfig{}, "nextRoot": c.NextRoot != rootConfig{}, "zones": c.Zones != zonesConfig{},
	} {
		if isSet {
			add(section, "a zone has its intermediates from its primary: leave the section out, or the section primary")
		}
	}
}

// hostReplica is a replica's name by that of the host, "replica" where that has none.
func hostReplica() string {
	host, err := os.Hostname()
	if err != nil {
		return "replica"
	}
	label, _, _ := strings.Cut(strings.ToLower(host), ".")
	if journal.CheckName(label) != nil {
		return "replica"
	}
	return label
}
