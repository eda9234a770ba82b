package postgres

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kedge-ca/kedge/ca"
	"github.com/kedge-ca/kedge/ca/keystore/secretfile"
	"github.com/kedge-ca/kedge/fips"
)

// Config says which database it is and who this is.
type Config struct {
	// URL is postgres://user[:password]@host[:port][,host[:port]…]/database with
	// the parameters sslmode, sslrootcert, sslcert, sslkey, and host and port for the
	// directory of a Unix socket and what its name ends in. Of several hosts the one that can write is used.
	// It may hold a password, so no message repeats it.
	URL string
	// Replica is the name of this server among the replicas; each has a state of
	// its own. Two servers of one name take each other's intermediates away.
	Replica string
	// ReadOnly writes and migrates nothing.
	ReadOnly bool
	// Queue is how many writes may wait; 0 means 4 096. One more is refused.
	Queue int
}

// dialTimeout bounds one attempt to connect to one host.
const dialTimeout = 5 * time.Second

// maxFile bounds a file of certificates.
const maxFile = 1 << 20

// address is a parsed URL.
type address struct {
	user, password, database string
	hosts                    []host
	params                   url.Values
}

// host is a name or an address and a port, or the directory of a socket.
type host struct{ name, port string }

func (h host) isSocket() bool { return strings.HasPrefix(h.name, "/") }

// isLocal is true when what is sent there cannot leave the machine.
func (h host) isLocal() bool {
	addr, err := netip.ParseAddr(h.name)
	return h.isSocket() || h.name == "localhost" || err == nil && addr.IsLoopback()
}

// CheckURL refuses what Open would refuse of a URL, without reading a file.
func CheckURL(raw string) error {
	_, err := parseURL(raw)
	return err
}

// Redact is the URL without its password and its parameters, for messages.
func Redact(raw string) string {
	a, err := parseURL(raw)
	if err != nil {
		return "postgres://…"
	}
	names := make([]string, 0, len(a.hosts))
	for _, h := range a.hosts {
		names = append(names, h.name+":"+h.port)
	}
	return "postgres://" + a.user + "@" + strings.Join(names, ",") + "/" + a.database
}

// hostList cuts the hosts out of a URL: net/url knows no list of them.
func hostList(raw string) (hosts, rest string) {
	scheme, after, _ := strings.Cut(raw, "://")
	authority, path := after, ""
	if i := strings.IndexAny(after, "/?#"); i >= 0 {
		authority, path = after[:i], after[i:]
	}
	user := ""
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		user, authority = authority[:i+1], authority[i+1:]
	}
	return authority, scheme + "://" + user + path
}

// HasPassword tells whether the URL holds a password.
func HasPassword(raw string) bool {
	a, err := parseURL(raw)
	return err == nil && a.password != ""
}

func parseURL(raw string) (address, error) {
	if !strings.HasPrefix(raw, "postgres://") && !strings.HasPrefix(raw, "postgresql://") {
		return address{}, errors.New("the URL does not begin with postgres://")
	}
	hosts, rest := hostList(raw)
	u, err := url.Parse(rest)
	if err != nil {
		return address{}, errors.New("the URL cannot be read") // the cause repeats the URL, with its password
	}
	if u.Fragment != "" {
		return address{}, errors.New("the URL has a fragment; write %23 for # in a password")
	}
	a := address{user: u.User.Username(), database: strings.TrimPrefix(u.Path, "/")}
	a.password, _ = u.User.Password()
	if a.params, err = url.ParseQuery(u.RawQuery); err != nil {
		return address{}, errors.New("the parameters of the URL cannot be read")
	}
	for name, values := range a.params {
		if !slices.Contains([]string{"sslmode", "sslrootcert", "sslcert", "sslkey", "host", "port"}, name) || len(values) != 1 {
			return address{}, fmt.Errorf("the parameter %s of the URL is unknown or stands twice", name)
		}
	}
	if a.user == "" || a.database == "" || strings.Contains(a.database, "/") {
		return address{}, errors.New("the URL needs a user and a database")
	}
	if err := a.parseHosts(hosts); err != nil {
		return address{}, err
	}
	return a, a.checkTLS()
}

func (a *address) parseHosts(list string) error {
	if socket := a.params.Get("host"); socket != "" {
		if list != "" || !filepath.IsAbs(socket) {
			return errors.New("the parameter host of the URL is the absolute directory of a socket, and stands alone")
		}
		a.hosts = []host{{name: socket, port: cmp.Or(a.params.Get("port"), "5432")}}
		return nil
	}
	if a.params.Has("port") {
		return errors.New("the parameter port of the URL is that of a socket; write host:port")
	}
	for part := range strings.SplitSeq(list, ",") {
		one := url.URL{Host: part}
		h := host{name: one.Hostname(), port: cmp.Or(one.Port(), "5432")}
		if h.name == "" {
			return errors.New("the URL needs a host")
		}
		a.hosts = append(a.hosts, h)
	}
	return nil
}

func (a *address) checkTLS() error {
	mode := a.params.Get("sslmode")
	if a.params.Has("sslcert") != a.params.Has("sslkey") {
		return errors.New("sslcert and sslkey belong together")
	}
	for _, name := range []string{"sslrootcert", "sslcert", "sslkey"} {
		if a.params.Has(name) && !filepath.IsAbs(a.params.Get(name)) {
			return fmt.Errorf("%s is not an absolute path", name)
		}
		if a.params.Has(name) && mode != "verify-full" {
			return fmt.Errorf("%s needs sslmode=verify-full", name)
		}
	}
	switch mode {
	case "verify-full":
		if !a.params.Has("sslrootcert") {
			return errors.New("sslmode=verify-full needs sslrootcert; the system's anchors are not used")
		}
		return nil
	case "", "disable":
		for _, h := range a.hosts {
			if !h.isLocal() {
				return fmt.Errorf("host %s is not this machine; set sslmode=verify-full and sslrootcert", h.name)
			}
		}
		return nil
	}
	return fmt.Errorf("sslmode %q is neither verify-full nor, on this machine, disable", mode)
}

// connConfig makes what pgx connects with. Everything that the environment could
// say is said here.
func (c Config) connConfig() (*pgx.ConnConfig, error) {
	a, err := parseURL(c.URL)
	if err != nil {
		return nil, err
	}
	if err := ca.CheckDocumentName("replica", c.Replica); err != nil {
		return nil, fmt.Errorf("replica %q: its name has 1 to %d printable characters", c.Replica, ca.MaxDocumentName)
	}
	var names, ports []string
	for _, h := range a.hosts {
		names, ports = append(names, h.name), append(ports, h.port)
	}
	var text strings.Builder
	for _, s := range [][2]string{
		{"host", strings.Join(names, ",")}, {"port", strings.Join(ports, ",")}, {"user", a.user}, {"password", a.password},
		{"database", a.database}, {"passfile", "/dev/null"}, {"sslmode", "disable"}, {"sslcert", ""}, {"sslkey", ""}, {"sslrootcert", ""},
		{"sslcertmode", "allow"}, {"sslnegotiation", "postgres"}, {"target_session_attrs", "read-write"}, {"channel_binding", "prefer"},
		{"min_protocol_version", "3.0"}, {"max_protocol_version", "3.0"}, {"require_auth", "scram-sha-256,none"},
		{"connect_timeout", fmt.Sprint(int(dialTimeout.Seconds()))},
	} {
		fmt.Fprintf(&text, "%s='%s' ", s[0], strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s[1]))
	}
	cc, err := pgx.ParseConfig(text.String())
	if err != nil {
		return nil, errors.New("the URL is not one that can be connected to; is the variable PGSERVICE set?") // the cause repeats the URL
	}
	if c.ReadOnly {
		cc.ValidateConnect = nil
	}
	cc.AfterConnect = checkSession
	cc.RuntimeParams = sessionParams(c)
	return cc, a.addTLS(cc)
}

// sessionParams fixes what the server's configuration could say otherwise. A commit
// waits for the disk, and for the standbys that the server says are synchronous. A
// replica that hangs holds nobody up for longer than the timeouts.
func sessionParams(c Config) map[string]string {
	return map[string]string{
		"application_name":                    applicationPrefix + c.Replica,
		"client_encoding":                     "UTF8",
		"default_transaction_isolation":       "read committed",
		"idle_in_transaction_session_timeout": "5s",
		"lock_timeout":                        "4s",
		"tcp_user_timeout":                    "10s",
	}
}

// applicationPrefix begins the name under which a replica is seen in
// pg_stat_activity.
const applicationPrefix = "kedge/"

// addTLS gives every host its TLS configuration.
func (a *address) addTLS(cc *pgx.ConnConfig) error {
	if a.params.Get("sslmode") != "verify-full" {
		return nil
	}
	pem, err := secretfile.ReadPublic(a.params.Get("sslrootcert"), maxFile)
	if err != nil {
		return fmt.Errorf("reading sslrootcert: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return errors.New("sslrootcert has no certificate")
	}
	if _, err := a.clientCertificate(nil); err != nil {
		return err
	}
	build := func(name string) (*tls.Config, error) {
		return fips.ClientTLS(fips.ClientTLSConfig{Roots: roots, ServerName: name, Certificate: a.clientCertificate})
	}
	if cc.TLSConfig, err = build(cc.Host); err != nil {
		return err
	}
	for _, other := range cc.Fallbacks {
		if other.TLSConfig, err = build(other.Host); err != nil {
			return err
		}
	}
	return nil
}

// clientCertificate reads the client's certificate anew at every handshake: it may
// have been renewed.
func (a *address) clientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	if !a.params.Has("sslcert") {
		return &tls.Certificate{}, nil
	}
	cert, err := secretfile.ReadPublic(a.params.Get("sslcert"), maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading sslcert: %w", err)
	}
	key, err := secretfile.ReadMounted(a.params.Get("sslkey"), maxFile)
	if err != nil {
		return nil, fmt.Errorf("reading sslkey: %w", err)
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("reading sslcert and sslkey: %w", err)
	}
	return &pair, nil
}

var _ pgconn.AfterConnectFunc = checkSession
