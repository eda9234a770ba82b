package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/kedge-ca/kedge/api"
	"github.com/kedge-ca/kedge/api/linkerd"
	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/fips"
)

// linkerdProfile is the profile of the certificates of Linkerd's proxies. A file may
// define it, to change lifetimes; names and key type are always those of Linkerd.
const linkerdProfile = "linkerd"

// linkerdConfig is the door for Linkerd's proxies; without listen there is none.
type linkerdConfig struct {
	Listen                string `yaml:"listen" json:"listen,omitempty"`
	Plaintext             bool   `yaml:"plaintext" json:"plaintext"`                         // behind a meshed pod, on loopback
	ControlPlaneNamespace string `yaml:"controlPlaneNamespace" json:"controlPlaneNamespace"` // part of every identity
	TrustDomain           string `yaml:"trustDomain" json:"trustDomain"`                     // Linkerd's identityTrustDomain
	DefaultAudience       bool   `yaml:"defaultAudience" json:"defaultAudience"`             // also tokens for the API server itself
}

func (l linkerdConfig) on() bool { return l.Listen != "" }

func (l linkerdConfig) mesh() (linkerd.Mesh, error) {
	return linkerd.NewMesh(l.ControlPlaneNamespace, l.TrustDomain)
}

// fillLinkerd fills in what follows from other values. Where the file has no rules,
// there is one more beside that for every workload: whoever wrote rules of its own
// is asked for one (linkerdProblems), since nothing is granted that nobody named.
func (c *config) fillLinkerd() {
	l := &c.Linkerd
	if !l.on() {
		return
	}
	if l.ControlPlaneNamespace == "" {
		l.ControlPlaneNamespace = "linkerd"
	}
	if l.TrustDomain == "" {
		l.TrustDomain = c.TrustDomain
	}
	if !slices.ContainsFunc(c.Profiles, func(p profileConfig) bool { return p.Name == linkerdProfile }) {
		c.Profiles = append(c.Profiles, profileConfig{Name: linkerdProfile})
	}
	if reflect.DeepEqual(c.Policy.Rules, defaultConfig().Policy.Rules) {
		c.Policy.Rules = append(c.Policy.Rules, ruleConfig{
			Name: "every Linkerd proxy", Methods: []string{string(ca.MethodKubernetes)}, Profile: linkerdProfile,
		})
	}
}

func (c *config) linkerdProblems(add addProblem) {
	l := c.Linkerd
	if !l.on() {
		if l != (linkerdConfig{}) {
			add("linkerd.listen", "an address is needed for Linkerd's proxies")
		}
		return
	}
	host, _, err := net.SplitHostPort(l.Listen)
	addr, addrErr := netip.ParseAddr(host)
	switch {
	case err != nil:
		add("linkerd.listen", "%v", err)
	case l.Listen == c.Listen:
		add("linkerd.listen", "%s is the address of the other APIs", l.Listen)
	case l.Plaintext && (addrErr != nil || !addr.IsLoopback()):
		add("linkerd.listen", "%q is no loopback address, and without TLS there is no other", host)
	}
	if _, err := linkerd.NewMesh(l.ControlPlaneNamespace, "x"); err != nil {
		add("linkerd.controlPlaneNamespace", "%v", err)
	} else if _, err := l.mesh(); err != nil {
		add("linkerd.trustDomain", "%v", err)
	}
	if p, err := fips.PolicyByName(c.FIPS.Profile); err == nil && p.DefaultKeyType() != fips.ECDSAP256 {
		add("linkerd", "Linkerd's proxies use P-256 keys alone, which the profile %s refuses", c.FIPS.Profile)
	}
	if len(c.Authn.Kubernetes) == 0 {
		add("linkerd", "no cluster is named in authn.kubernetes: no proxy could say whose it is")
	}
	if !slices.ContainsFunc(c.Policy.Rules, func(r ruleConfig) bool { return r.Profile == linkerdProfile && !r.Deny }) {
		add("policy.rules", "no rule grants the profile %s: no Linkerd proxy would get a certificate", linkerdProfile)
	}
}

// buildProfile makes a profile of the file.
func (c *config) buildProfile(p profileConfig) (*ca.Profile, error) {
	pc := p.build()
	if c.Linkerd.on() && p.Name == linkerdProfile {
		mesh, err := c.Linkerd.mesh()
		if err != nil {
			return nil, err
		}
		pc.AccountDomain, pc.KeyTypes = mesh.AccountDomain(), []fips.KeyType{fips.ECDSAP256}
	}
	return ca.NewProfile(pc)
}

// linkerdServerNames is what proxies verify in the server's certificate; nothing
// where another proxy ends the TLS before us.
func (c *config) linkerdServerNames() ([]string, error) {
	if !c.Linkerd.on() || c.Linkerd.Plaintext {
		return nil, nil
	}
	mesh, err := c.Linkerd.mesh()
	if err != nil {
		return nil, err
	}
	return []string{mesh.ServerName()}, nil
}

// linkerdDoor is the server and the listener for Linkerd's proxies, nil if none is
// configured.
type linkerdDoor struct {
	server   *api.Server
	listener net.Listener
}

// makeLinkerd makes the server for Linkerd's proxies over the same front.
func (s *server) makeLinkerd(front *api.Front, metrics *api.Metrics) error {
	l, limits := s.config.Linkerd, s.config.Limits
	if !l.on() {
		return nil
	}
	c := api.ServerConfig{
		NoALPN: true, Plaintext: l.Plaintext, Metrics: metrics, Log: s.log, Now: s.app.now, Handshakes: limits.Handshakes,
		RequestTimeout: time.Duration(limits.RequestTimeout),
		ConnectionAge:  time.Duration(limits.ConnectionAge), ConnectionIdle: time.Duration(limits.ConnectionIdle),
	}
	if !l.Plaintext {
		// A proxy offers its certificate, if asked, also when it has expired, and would
		// not get in with it. Its token says who it is.
		var err error
		c.TLS, err = fips.ServerTLS(fips.ServerTLSConfig{
			Certificate: s.serving.Certificate, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS13,
		})
		if err != nil {
			return err
		}
	}
	server, err := api.NewServer(c)
	if err != nil {
		return err
	}
	s.linkerd.server = server
	return linkerd.Register(server.Registrar(), linkerd.Config{
		Front: front, Profile: linkerdProfile, Audiences: []string{linkerd.Audience}, OwnAudience: l.DefaultAudience,
	})
}

// listen takes the address.
func (d *linkerdDoor) listen(address string) (err error) {
	if d.server == nil {
		return nil
	}
	if d.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("linkerd.listen: %w", err)
	}
	return nil
}
