package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/kedge-ca/kedge/agent"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// config is the whole configuration file. Unknown keys, keys without a value,
// durations without a unit and bytes after the document are errors with line and
// column. docs/agent.md describes each field.
type config struct {
	TrustDomain string           `yaml:"trustDomain"`
	Server      string           `yaml:"server"`
	ServerName  string           `yaml:"serverName"`
	Bundle      string           `yaml:"bundle"`
	Socket      string           `yaml:"socket"`
	SocketMode  string           `yaml:"socketMode"`
	FIPS        fipsConfig       `yaml:"fips"`
	Log         logConfig        `yaml:"log"`
	Workloads   []workloadConfig `yaml:"workloads"`
}

type fipsConfig struct {
	Profile string `yaml:"profile"`
	Sunset  string `yaml:"sunset"`
}

type logConfig struct {
	Level string `yaml:"level"`
}

type workloadConfig struct {
	Identity         string             `yaml:"identity"`
	UID              *uint32            `yaml:"uid"`
	GID              *uint32            `yaml:"gid"`
	ExecutableSHA256 string             `yaml:"executableSHA256"`
	TokenFile        string             `yaml:"tokenFile"`
	Certificate      *certificateConfig `yaml:"certificate"`
	KeyType          string             `yaml:"keyType"`
	Profile          string             `yaml:"profile"`
	TTL              duration           `yaml:"ttl"`
}

type certificateConfig struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// defaultConfig is what a file that says nothing means. The mode lets every user
// connect: who gets what is decided by the workloads.
func defaultConfig() config {
	return config{
		Socket: "/run/kedge/agent.sock", SocketMode: "0666",
		FIPS: fipsConfig{Profile: "fips", Sunset: "warn"}, Log: logConfig{Level: "info"},
	}
}

// duration is a time.Duration that YAML writes with a unit.
type duration time.Duration

// UnmarshalYAML implements the decoder's interface.
func (d *duration) UnmarshalYAML(unmarshal func(any) error) error {
	var s string
	if err := unmarshal(&s); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(s)
	if err != nil || parsed <= 0 {
		return fmt.Errorf("%q is not a duration such as 15m or 24h", s)
	}
	*d = duration(parsed)
	return nil
}

// maxConfigSize bounds what is read as a configuration.
const maxConfigSize = 1 << 20

// loadConfig reads and checks a file. Its errors begin with file:line:column where
// there is such a place.
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
	file, err := parser.ParseBytes(raw, 0)
	if err != nil {
		return config{}, yamlError(name, err)
	}
	if err := refuseEmpty(name, file); err != nil {
		return config{}, err
	}
	return cfg, positioned(name, file, cfg.problems())
}

// refuseEmpty refuses keys without a value: a selector that was cut off would select
// more than was meant.
func refuseEmpty(name string, file *ast.File) error {
	var found []error
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		for _, node := range ast.Filter(ast.NullType, doc.Body) {
			at := node.GetToken().Position
			found = append(found, fmt.Errorf("%s:%d:%d: %s: there is no value", name, at.Line, at.Column, strings.TrimPrefix(node.GetPath(), "$.")))
		}
	}
	return errors.Join(found...)
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
type problem struct{ path, text string }

// positioned turns problems into one error, a line for each, with the place of the
// value or of the nearest section that the file has.
func positioned(name string, file *ast.File, problems []problem) error {
	var lines []error
	for _, p := range problems {
		line, column := 1, 1
		for path := "$." + p.path; path != "$"; path = path[:max(strings.LastIndexAny(path, ".["), 1)] {
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

// problems is all that is wrong with the values.
func (c *config) problems() []problem {
	var found []problem
	check := func(ok bool, path, format string, args ...any) {
		if !ok {
			found = append(found, problem{path, fmt.Sprintf(format, args...)})
		}
	}
	domain, err := ca.ParseTrustDomain(c.TrustDomain)
	check(err == nil, "trustDomain", "%v", err)
	_, _, err = net.SplitHostPort(c.Server)
	check(err == nil, "server", "%q is not host:port", c.Server)
	check(c.Bundle != "", "bundle", "give the file with the server's trust anchors")
	check(c.Socket != "", "socket", "give the path of the socket")
	_, err = c.mode()
	check(err == nil, "socketMode", "%q is not a mode such as 0666", c.SocketMode)
	_, err = fips.PolicyByName(c.FIPS.Profile)
	check(err == nil, "fips.profile", "%v", err)
	check(c.FIPS.Sunset == string(fips.SunsetWarn) || c.FIPS.Sunset == string(fips.SunsetRefuse), "fips.sunset", "%q is neither warn nor refuse", c.FIPS.Sunset)
	_, known := levels[c.Log.Level]
	check(known, "log.level", "%q is none of debug, info, warn, error", c.Log.Level)
	check(len(c.Workloads) > 0, "workloads", "there are none")
	seen := map[string]bool{}
	for i := range c.Workloads {
		w, at := &c.Workloads[i], fmt.Sprintf("workloads[%d]", i)
		check(!seen[w.Identity], at+".identity", "%s is there twice", w.Identity)
		seen[w.Identity] = true
		for _, p := range w.problems(domain) {
			found = append(found, problem{at + p.path, p.text})
		}
	}
	return found
}

// problems is what is wrong with a workload; the paths are beneath its own.
func (w *workloadConfig) problems(domain ca.TrustDomain) []problem {
	var found []problem
	check := func(ok bool, path, format string, args ...any) {
		if !ok {
			found = append(found, problem{path, fmt.Sprintf(format, args...)})
		}
	}
	id, err := ca.ParseIdentity(w.Identity)
	check(err == nil, ".identity", "%v", err)
	check(err != nil || domain.IsZero() || id.MemberOf(domain), ".identity", "%s is not of the trust domain %s", id, domain)
	selector, err := w.selector()
	check(err == nil, ".executableSHA256", "%q is not 64 hex digits", w.ExecutableSHA256)
	check(err != nil || selector != (agent.Selector{}), "", "nothing selects its processes: give uid, gid or executableSHA256")
	check((w.TokenFile == "") != (w.Certificate == nil), "", "give either tokenFile or certificate")
	check(w.Certificate == nil || w.Certificate.Cert != "" && w.Certificate.Key != "", ".certificate", "give cert and key")
	if w.KeyType != "" {
		_, err := fips.ParseKeyType(w.KeyType)
		check(err == nil, ".keyType", "%v", err)
	}
	return found
}

func (w *workloadConfig) selector() (agent.Selector, error) {
	s := agent.Selector{UID: w.UID, GID: w.GID}
	if w.ExecutableSHA256 == "" {
		return s, nil
	}
	raw, err := hex.DecodeString(w.ExecutableSHA256)
	if err != nil || len(raw) != len(agent.Digest{}) {
		return agent.Selector{}, fmt.Errorf("%q is not a SHA-256", w.ExecutableSHA256)
	}
	s.Executable = (*agent.Digest)(raw)
	return s, nil
}

// mode is the mode of the socket.
func (c *config) mode() (os.FileMode, error) {
	m, err := strconv.ParseUint(c.SocketMode, 8, 9)
	return os.FileMode(m), err
}
