package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// config is the whole configuration file of ca serve. Every field has a default
// that works; unknown keys, durations without a unit and bytes after the document
// are errors with line and column. docs/configuration.md describes each field.
type config struct {
	TrustDomain  string             `yaml:"trustDomain" json:"trustDomain"`
	DataDir      string             `yaml:"dataDir" json:"dataDir"`
	Listen       string             `yaml:"listen" json:"listen"`
	ServerNames  []string           `yaml:"serverNames" json:"serverNames"`
	MinTLS       string             `yaml:"minTLS" json:"minTLS"`
	AdminSocket  string             `yaml:"adminSocket" json:"adminSocket"`
	Ops          opsConfig          `yaml:"ops" json:"ops"`
	FIPS         fipsConfig         `yaml:"fips" json:"fips"`
	Root         rootConfig         `yaml:"root" json:"root,omitzero"`
	NextRoot     rootConfig         `yaml:"nextRoot" json:"nextRoot,omitzero"`
	Zone         zoneConfig         `yaml:"zone" json:"zone"`
	Primary      primaryConfig      `yaml:"primary" json:"primary,omitzero"`
	Zones        zonesConfig        `yaml:"zones" json:"zones,omitzero"`
	Keys         keysConfig         `yaml:"keys" json:"keys"`
	Store        storeConfig        `yaml:"store" json:"store"`
	Vault        vaultConfig        `yaml:"vault" json:"vault,omitzero"`
	Upstream     upstreamConfig     `yaml:"upstream" json:"upstream"`
	Intermediate intermediateConfig `yaml:"intermediate" json:"intermediate"`
	Profiles     []profileConfig    `yaml:"profiles" json:"profiles"`
	Policy       policyConfig       `yaml:"policy" json:"policy"`
	Rotation     rotationConfig     `yaml:"rotation" json:"rotation"`
	Authn        authnConfig        `yaml:"authn" json:"authn"`
	Linkerd      linkerdConfig      `yaml:"linkerd" json:"linkerd,omitzero"`
	Limits       limitsConfig       `yaml:"limits" json:"limits"`
	Log          logConfig          `yaml:"log" json:"log"`

	BundleEndpoint bundleEndpointConfig `yaml:"bundleEndpoint" json:"bundleEndpoint,omitzero"`

	devKeys []byte // JWKS of the embedded issuer of ca dev; no file can set it
}

type opsConfig struct {
	Listen string `yaml:"listen" json:"listen"` // loopback, or behind TLS with tls: true
	TLS    bool   `yaml:"tls" json:"tls"`
}

type fipsConfig struct {
	Profile string `yaml:"profile" json:"profile"` // fips, fips-2031 or cnsa1
	Sunset  string `yaml:"sunset" json:"sunset"`   // warn or refuse
	// RequireExternal refuses a Vault whose version names no FIPS build.
	RequireExternal bool `yaml:"requireExternal" json:"requireExternal"`
}

// passphraseConfig names exactly one source of a passphrase.
type passphraseConfig struct {
	File       string `yaml:"file" json:"file,omitempty"`
	Env        string `yaml:"env" json:"env,omitempty"`
	Credential string `yaml:"credential" json:"credential,omitempty"` // systemd LoadCredential name
}

type intermediateConfig struct {
	Lifetime duration `yaml:"lifetime" json:"lifetime"`
}

type profileConfig struct {
	Name       string   `yaml:"name" json:"name"`
	DefaultTTL duration `yaml:"defaultTTL" json:"defaultTTL"`
	MinTTL     duration `yaml:"minTTL" json:"minTTL"`
	MaxTTL     duration `yaml:"maxTTL" json:"maxTTL"`
	Backdate   duration `yaml:"backdate" json:"backdate"`
	Verifiers  string   `yaml:"verifiers" json:"verifiers,omitempty"` // renewal or restart
}

type policyConfig struct {
	Rules       []ruleConfig `yaml:"rules" json:"rules"`
	BlockedKeys []string     `yaml:"blockedKeys" json:"blockedKeys"` // hex SHA-256 of SubjectPublicKeyInfo
}

type ruleConfig struct {
	Name       string   `yaml:"name" json:"name"`
	Identities []string `yaml:"identities" json:"identities,omitempty"`
	Methods    []string `yaml:"methods" json:"methods,omitempty"`
	Clusters   []string `yaml:"clusters" json:"clusters,omitempty"`
	Profile    string   `yaml:"profile" json:"profile,omitempty"`
	MaxTTL     duration `yaml:"maxTTL" json:"maxTTL,omitzero"`
	Deny       bool     `yaml:"deny" json:"deny,omitempty"`
}

type authnConfig struct {
	Leeway     duration           `yaml:"leeway" json:"leeway"`
	Kubernetes []kubernetesConfig `yaml:"kubernetes" json:"kubernetes"`
	OIDC       []oidcConfig       `yaml:"oidc" json:"oidc"`
	JoinTokens bool               `yaml:"joinTokens" json:"joinTokens"`
}

type keySourceConfig struct {
	File      string   `yaml:"file" json:"file,omitempty"`
	URL       string   `yaml:"url" json:"url,omitempty"`
	CAFile    string   `yaml:"caFile" json:"caFile,omitempty"`
	TokenFile string   `yaml:"tokenFile" json:"tokenFile,omitempty"`
	Refresh   duration `yaml:"refresh" json:"refresh,omitzero"`
}

type kubernetesConfig struct {
	Cluster      string          `yaml:"cluster" json:"cluster"`
	Issuer       string          `yaml:"issuer" json:"issuer"`
	Audiences    []string        `yaml:"audiences" json:"audiences"`
	JWKS         keySourceConfig `yaml:"jwks" json:"jwks"`
	MaxLifetime  duration        `yaml:"maxLifetime" json:"maxLifetime,omitzero"`
	RequireBound string          `yaml:"requireBound" json:"requireBound"` // pod or none
	Namespaces   []string        `yaml:"namespaces" json:"namespaces,omitempty"`
	Default      bool            `yaml:"default" json:"default"`
}

type oidcConfig struct {
	Name          string            `yaml:"name" json:"name"`
	Issuer        string            `yaml:"issuer" json:"issuer"`
	Audiences     []string          `yaml:"audiences" json:"audiences"`
	JWKS          keySourceConfig   `yaml:"jwks" json:"jwks"`
	MaxLifetime   duration          `yaml:"maxLifetime" json:"maxLifetime,omitzero"`
	PathPrefix    string            `yaml:"pathPrefix" json:"pathPrefix"`
	Claim         string            `yaml:"claim" json:"claim"`
	RequireClaims map[string]string `yaml:"requireClaims" json:"requireClaims,omitempty"`
}

type limitsConfig struct {
	RequestTimeout  duration `yaml:"requestTimeout" json:"requestTimeout"`
	Handshakes      int      `yaml:"handshakes" json:"handshakes"`           // concurrent TLS handshakes
	Queue           int      `yaml:"queue" json:"queue"`                     // requests that may wait for a signature
	IdentityRate    float64  `yaml:"identityRate" json:"identityRate"`       // certificates a second for one identity
	IdentityBurst   int      `yaml:"identityBurst" json:"identityBurst"`     // certificates at once for one identity
	ReissueRate     float64  `yaml:"reissueRate" json:"reissueRate"`         // renewals a second that a rotation asks of the watchers of the bundle
	Watchers        int      `yaml:"watchers" json:"watchers"`               // open bundle streams
	WatchersPerPeer int      `yaml:"watchersPerPeer" json:"watchersPerPeer"` // of one address
	DrainTimeout    duration `yaml:"drainTimeout" json:"drainTimeout"`       // for requests in flight at a stop
	ConnectionAge   duration `yaml:"connectionAge" json:"connectionAge"`     // a connection is asked to reconnect after about so long
	ConnectionIdle  duration `yaml:"connectionIdle" json:"connectionIdle"`   // an idle connection is closed after so long
}

type logConfig struct {
	Level string `yaml:"level" json:"level"`
}

// defaultConfig is what a file that says nothing means.
func defaultConfig() config {
	return config{
		DataDir: "/var/lib/kedge", Listen: "0.0.0.0:8443", MinTLS: "1.2",
		Ops:          opsConfig{Listen: "127.0.0.1:9443"},
		FIPS:         fipsConfig{Profile: "fips", Sunset: "warn"},
		Root:         rootConfig{Type: rootLocal},
		Keys:         keysConfig{Store: keysFile},
		Store:        storeConfig{Type: storeSQLite},
		Upstream:     noUpstream,
		Intermediate: intermediateConfig{Lifetime: duration(7 * 24 * time.Hour)},
		Profiles:     []profileConfig{{Name: "workload"}},
		Policy:       policyConfig{Rules: []ruleConfig{{Name: "every workload", Profile: "workload"}}},
		Rotation:     defaultRotation(),
		Authn:        authnConfig{Leeway: duration(30 * time.Second)},
		Limits: limitsConfig{
			RequestTimeout: duration(10 * time.Second), Handshakes: 64, Queue: 1024,
			// A workload needs a few certificates an hour; what comes at once is a restart of
			// all replicas of one service account. In a day that is below 100 000 keys.
			IdentityRate: 1, IdentityBurst: 5000, ReissueRate: 100, Watchers: 20_000, WatchersPerPeer: 1000,
			DrainTimeout: duration(20 * time.Second), ConnectionAge: duration(12 * time.Hour), ConnectionIdle: duration(15 * time.Minute),
		},
		Log: logConfig{Level: "info"},
	}
}

// duration is a time.Duration that YAML writes with a unit; a bare number is an
// error, because nobody knows whether it means seconds or hours.
type duration time.Duration

// UnmarshalYAML implements the decoder's interface.
func (d *duration) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(s)
	if err != nil || parsed < 0 {
		return fmt.Errorf("%q is not a duration such as 30s, 15m or 24h", s)
	}
	*d = duration(parsed)
	return nil
}

// MarshalText writes the duration with its unit, in YAML and JSON alike.
func (d duration) MarshalText() ([]byte, error) { //nolint:unparam // encoding.TextMarshaler wants the error
	return []byte(time.Duration(d).String()), nil
}

// maxConfigSize bounds what is read as a configuration.
const maxConfigSize = 1 << 20

// loadConfig reads and checks a file. Its errors begin with file:line:column.
func loadConfig(path string) (config, error) {
	f, err := os.Open(path)
	if err != nil {
		return config{}, fmt.Errorf("opening configuration: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfigSize+1))
	if err != nil {
		return config{}, fmt.Errorf("reading configuration: %w", err)
	}
	return parseConfig(path, raw)
}

// parseConfig decodes strictly, fills defaults and checks what the fields mean.
func parseConfig(name string, raw []byte) (config, error) {
	if len(raw) > maxConfigSize {
		return config{}, fmt.Errorf("%s: larger than %d bytes", name, maxConfigSize)
	}
	cfg := defaultConfig()
	decoder := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict())
	if err := decoder.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return config{}, yamlError(name, err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return config{}, fmt.Errorf("%s: more than one document", name)
	}
	if err := refuseEmpty(name, raw); err != nil {
		return config{}, err
	}
	cfg.fillPaths()
	cfg.fillLinkerd()
	if problems := cfg.problems(); len(problems) > 0 {
		return config{}, positioned(name, raw, problems)
	}
	return cfg, nil
}

// refuseEmpty refuses keys without a value. The decoder leaves their defaults, so
// that rules which are all comments, or a file that was cut off, would grant what
// the default grants.
func refuseEmpty(name string, raw []byte) error {
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return yamlError(name, err)
	}
	var found []error
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		for _, node := range ast.Filter(ast.NullType, doc.Body) {
			at, path := node.GetToken().Position, strings.TrimPrefix(node.GetPath(), "$.")
			found = append(found, fmt.Errorf("%s:%d:%d: %s: there is no value; leave the key out for its default, or write []", name, at.Line, at.Column, path))
		}
	}
	return errors.Join(found...)
}

// fillPaths derives what depends on the data directory.
func (c *config) fillPaths() {
	if c.AdminSocket == "" {
		c.AdminSocket = c.DataDir + "/admin.sock"
	}
	if c.isZone() && c.Root == (rootConfig{Type: rootLocal}) {
		c.Root = rootConfig{} // nobody has written it
	}
	if c.Root.Dir == "" && c.Root.keepsFiles() {
		c.Root.Dir = c.DataDir + "/root"
	}
	if c.NextRoot.Dir == "" && c.NextRoot.keepsFiles() {
		c.NextRoot.Dir = c.DataDir + "/next-root"
	}
}

func yamlError(name string, err error) error {
	var located yaml.Error
	if errors.As(err, &located) && located.GetToken() != nil {
		at := located.GetToken().Position
		return fmt.Errorf("%s:%d:%d: %s", name, at.Line, at.Column, located.GetMessage())
	}
	return fmt.Errorf("%s: %w", name, err)
}

// problem is one thing that is wrong with a value; path is its YAML path.
type problem struct {
	path string
	text string
}

// positioned turns problems into one error whose lines begin with file:line:column
// of the value, or of the nearest section that the file has.
func positioned(name string, raw []byte, problems []problem) error {
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var lines []error
	for _, p := range problems {
		line, column := 1, 1
		for path := "$." + p.path; path != "$"; path = parentPath(path) {
			query, err := yaml.PathString(path)
			if err != nil {
				continue
			}
			if node, err := query.FilterFile(file); err == nil && node.GetToken() != nil {
				line, column = node.GetToken().Position.Line, node.GetToken().Position.Column
				break
			}
		}
		lines = append(lines, fmt.Errorf("%s:%d:%d: %s: %s", name, line, column, p.path, p.text))
	}
	return errors.Join(lines...)
}

func parentPath(path string) string {
	cut := strings.LastIndexAny(path, ".[")
	if cut < 0 {
		return "$"
	}
	return path[:cut]
}
