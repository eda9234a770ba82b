package postgres

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kedge-ca/kedge/ca/store/postgres/postgrestest"
)

func TestURLIsRefused(t *testing.T) {
	for name, row := range map[string]struct{ url, want string }{
		"no URL":                        {"", "does not begin with postgres://"},
		"another scheme":                {"mysql://u@localhost/db", "does not begin with postgres://"},
		"keywords and values":           {"host=localhost user=u", "does not begin with postgres://"},
		"no user":                       {"postgres://localhost/db", "needs a user and a database"},
		"no database":                   {"postgres://u@localhost", "needs a user and a database"},
		"no host":                       {"postgres://u@/db", "needs a host"},
		"an unknown parameter":          {"postgres://u@localhost/db?options=-cfsync%3Doff", "parameter options of the URL is unknown"},
		"a parameter twice":             {"postgres://u@localhost/db?sslmode=disable&sslmode=disable", "sslmode of the URL is unknown or stands twice"},
		"a password that breaks it":     {"postgres://u:se%cret@localhost/db", "the URL cannot be read"},
		"another machine, no TLS":       {"postgres://u@db.example/db", "host db.example is not this machine"},
		"another machine, disabled":     {"postgres://u@10.0.0.1/db?sslmode=disable", "host 10.0.0.1 is not this machine"},
		"one of several":                {"postgres://u@localhost,db.example:5433/db", "host db.example is not this machine"},
		"TLS without verification":      {"postgres://u@db.example/db?sslmode=require", `sslmode "require" is neither verify-full`},
		"TLS without the name":          {"postgres://u@db.example/db?sslmode=verify-ca&sslrootcert=/ca.pem", "needs sslmode=verify-full"},
		"TLS if it happens, here":       {"postgres://u@localhost/db?sslmode=prefer", `sslmode "prefer" is neither`},
		"the system's anchors":          {"postgres://u@db.example/db?sslmode=verify-full", "needs sslrootcert"},
		"a file relative to somewhere":  {"postgres://u@db.example/db?sslmode=verify-full&sslrootcert=ca.pem", "sslrootcert is not an absolute path"},
		"a certificate without its key": {"postgres://u@db.example/db?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=/c.pem", "belong together"},
		"a socket and a host":           {"postgres://u@localhost/db?host=/run", "stands alone"},
		"a port of a socket alone":      {"postgres://u@localhost/db?port=5433", "write host:port"},
		"a socket that is a name":       {"postgres://u@/db?host=db.example", "absolute directory of a socket"},
	} {
		err := CheckURL(row.url)
		require.ErrorContains(t, err, row.want, name)
		require.NotContains(t, err.Error(), "cret", name)
		_, err = Open(t.Context(), Config{URL: row.url, Replica: "a"})
		require.ErrorContains(t, err, row.want, name)
	}
	for _, accepted := range []string{
		"postgres://u@localhost/db", "postgresql://u:p@127.0.0.1:5433/db", "postgres://u@[::1]/db?sslmode=disable", "postgres://u@/db?host=/run/postgresql",
		"postgres://u@/db?host=/run/postgresql&port=5433", "postgres://u@a.example:5433,b.example/db?sslmode=verify-full&sslrootcert=/ca.pem",
	} {
		require.NoError(t, CheckURL(accepted), accepted)
	}
}

func TestMessagesDoNotRepeatThePassword(t *testing.T) {
	require.Equal(t, "postgres://u@a:5432,b:5433/db", Redact("postgres://u:secret@a,b:5433/db?sslmode=verify-full&sslrootcert=/ca.pem"))
	require.Equal(t, "postgres://…", Redact("postgres://u:secret"))
	_, err := Open(t.Context(), Config{URL: "postgres://u:secret@127.0.0.1:1/db", Replica: "a"})
	require.ErrorContains(t, err, "postgres://u@127.0.0.1:1/db")
	require.NotContains(t, err.Error(), "secret")
}

func TestOpenRefusesANamelessReplica(t *testing.T) {
	for _, name := range []string{"", "a\nb", strings.Repeat("a", 600)} {
		_, err := Open(t.Context(), Config{URL: "postgres://u@localhost/db", Replica: name})
		require.ErrorContains(t, err, "its name has 1 to")
	}
}

// What the environment says to libpq says nothing here.
func TestEnvironmentCannotWeakenTheConnection(t *testing.T) {
	for name, value := range map[string]string{
		"PGSSLMODE": "disable", "PGHOST": "elsewhere", "PGPASSWORD": "of the environment", "PGOPTIONS": "-c synchronous_commit=off",
		"PGREQUIREAUTH": "md5", "PGTARGETSESSIONATTRS": "any", "PGSSLNEGOTIATION": "direct", "PGSSLCERTMODE": "disable",
	} {
		t.Setenv(name, value)
	}
	cc, err := Config{URL: "postgres://u@localhost/db", Replica: "a"}.connConfig()
	require.NoError(t, err)
	require.Equal(t, "localhost", cc.Host)
	require.Empty(t, cc.Password)
	require.Equal(t, "scram-sha-256,none", cc.RequireAuth)
	require.Equal(t, "postgres", cc.SSLNegotiation)
	require.Equal(t, "allow", cc.SSLCertMode)
	require.NotContains(t, cc.RuntimeParams, "options")
	require.NotNil(t, cc.ValidateConnect)
}

// authority issues certificates for the server and its clients.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

func newAuthority(t *testing.T) *authority {
	a := &authority{}
	a.cert, a.key = a.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "CA"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) issue(t *testing.T, template *x509.Certificate) (*x509.Certificate, crypto.Signer) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return cert, key
}

func certPEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// file writes a file of the client, closed to others.
func file(t *testing.T, content []byte) string {
	path := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// TestConnectionIsVerifiedAndAuthenticated goes through every way in, at a real
// server.
func TestConnectionIsVerifiedAndAuthenticated(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	server := postgrestest.Start(t)
	cert, key := ours.issue(t, &x509.Certificate{DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 2)}})
	server.WriteFile(t, "server.crt", certPEM(cert))
	server.WriteFile(t, "server.key", keyPEM(t, key))
	server.WriteFile(t, "ca.crt", certPEM(ours.cert))
	server.SQL(t, "postgres", "ALTER SYSTEM SET ssl_ca_file = 'ca.crt'")
	server.SQL(t, "postgres", "ALTER SYSTEM SET ssl = on")
	server.SQL(t, "postgres", `CREATE ROLE scram LOGIN PASSWORD 'it is''s \ secret'; CREATE ROLE plain LOGIN PASSWORD 'p'; CREATE ROLE byname LOGIN;
		SET password_encryption = md5; CREATE ROLE old LOGIN PASSWORD 'p'`)
	server.Access(t, "hostssl all scram 127.0.0.1/32 scram-sha-256", "hostssl all plain 127.0.0.1/32 password", "hostssl all old 127.0.0.1/32 md5",
		"hostssl all byname 127.0.0.1/32 cert", "host all kedge 127.0.0.1/32 trust")
	server.Restart(t)
	server.Database(t, "kedge")
	server.SQL(t, "kedge", "CREATE SCHEMA kedge; GRANT ALL ON SCHEMA kedge TO PUBLIC; ALTER DATABASE kedge SET search_path = kedge")
	openAs(t, server.URL("kedge"), "owner")
	server.SQL(t, "kedge", "GRANT ALL ON ALL TABLES IN SCHEMA kedge TO PUBLIC")

	name, nameKey := ours.issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "byname"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	at := func(user, host string, params ...string) string {
		_, port, _ := strings.Cut(strings.TrimSuffix(server.URL(""), "/"), "127.0.0.1:")
		return "postgres://" + user + "@" + host + ":" + port + "/kedge?sslmode=verify-full&" + strings.Join(params, "&")
	}
	roots := "sslrootcert=" + file(t, certPEM(ours.cert))
	scram := "scram:" + url.PathEscape(`it is's \ secret`)
	for what, row := range map[string]struct{ url, want string }{
		"by password":           {at(scram, "localhost", roots), ""},
		"by certificate":        {at("byname", "localhost", roots, "sslcert="+file(t, certPEM(name)), "sslkey="+file(t, keyPEM(t, nameKey))), ""},
		"a wrong password":      {at("scram:no", "localhost", roots), "password authentication failed"},
		"no certificate":        {at("byname", "localhost", roots), "connection requires a valid client certificate"},
		"a key of another":      {at("byname", "localhost", roots, "sslcert="+file(t, certPEM(name)), "sslkey="+file(t, keyPEM(t, key))), "private key does not match"},
		"another authority":     {at(scram, "localhost", "sslrootcert="+file(t, certPEM(theirs.cert))), "certificate signed by unknown authority"},
		"another name":          {at(scram, "127.0.0.1", roots), "certificate is valid for 127.0.0.2, not 127.0.0.1"},
		"a password in clear":   {at("plain:p", "localhost", roots), "server requested password authentication"},
		"a password as MD5":     {at("old:p", "localhost", roots), "server requested md5 authentication"},
		"no anchors":            {at(scram, "localhost", "sslrootcert=/nowhere"), "reading sslrootcert"},
		"a file with no anchor": {at(scram, "localhost", "sslrootcert="+file(t, []byte("x"))), "has no certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			s, err := Open(t.Context(), Config{URL: row.url, Replica: "a"})
			if row.want != "" {
				require.ErrorContains(t, err, row.want)
				require.NotContains(t, err.Error(), "secret")
				return
			}
			require.NoError(t, err)
			defer func() { require.NoError(t, s.Close()) }()
			_, err = s.PutDocument(t.Context(), "plan", what, 0, []byte("x"))
			require.NoError(t, err)
			var isTLS bool
			require.NoError(t, s.db.QueryRowContext(t.Context(), "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").Scan(&isTLS))
			require.True(t, isTLS)
		})
	}
	t.Run("a socket", func(t *testing.T) {
		url := fmt.Sprintf("postgres://kedge@/kedge?host=%s&port=%d", server.Dir, server.Port)
		require.NoError(t, openAs(t, url, "a").Intend(t.Context(), record(1)))
	})
}
