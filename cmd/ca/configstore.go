package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/ca/store/postgres"
)

// Where records and state are.
const (
	storeSQLite   = "sqlite"
	storePostgres = "postgres"
)

// storeConfig says where records, state, documents and join tokens are.
type storeConfig struct {
	Type    string `yaml:"type" json:"type"`
	URL     string `yaml:"url" json:"url,omitempty"`         // postgres, without a password
	URLFile string `yaml:"urlFile" json:"urlFile,omitempty"` // postgres, where the URL has one
	Replica string `yaml:"replica" json:"replica,omitempty"` // postgres; "" is the host's name
}

func (c storeConfig) problems(add addProblem) {
	switch c.Type {
	case storeSQLite:
		refuseSet(add, "store", "a store of type sqlite", map[string]string{"url": c.URL, "urlFile": c.URLFile, "replica": c.Replica})
		return
	case storePostgres:
	default:
		add("store.type", "%q is neither %s nor %s", c.Type, storeSQLite, storePostgres)
		return
	}
	switch {
	case (c.URL == "") == (c.URLFile == ""):
		add("store", "name exactly one of url and urlFile")
	case c.URLFile != "" && !filepath.IsAbs(c.URLFile):
		add("store.urlFile", "%q is not an absolute path", c.URLFile)
	case c.URL != "":
		if err := postgres.CheckURL(c.URL); err != nil {
			add("store.url", "%v", err)
		} else if postgres.HasPassword(c.URL) {
			add("store.url", "it has a password, and this file may be read by others: put the URL in a file of mode 0600 and name it as urlFile")
		}
	}
}

// maxURL bounds a file with a URL.
const maxURL = 8 << 10

// postgres is what the store is opened with.
func (c storeConfig) postgres() (postgres.Config, error) {
	url := c.URL
	if c.URLFile != "" {
		raw, err := secretfile.ReadMounted(c.URLFile, maxURL)
		if err != nil {
			return postgres.Config{}, fmt.Errorf("store.urlFile: %w", err)
		}
		url = strings.TrimSpace(string(raw))
	}
	host, err := os.Hostname()
	if err != nil && c.Replica == "" {
		return postgres.Config{}, fmt.Errorf("store.replica is not set, and the host has no name: %w", err)
	}
	return postgres.Config{URL: url, Replica: cmp.Or(c.Replica, host)}, nil
}

func (c storeConfig) section() section {
	if c.Type != storePostgres {
		return nil
	}
	s := section{}
	s.add("type", c.Type)
	s.add("url", c.URL)
	s.add("urlFile", c.URLFile)
	s.add("replica", c.Replica)
	return s
}
