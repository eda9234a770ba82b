package authn

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/kedge-ca/kedge/fips"
)

// staticLoader has a set that never changes.
type staticLoader []byte

func (l staticLoader) load(context.Context) ([]byte, error) { return l, nil }
func (l staticLoader) accept()                              {}

// fileLoader reads a JWKS from a file again when its time, size or inode
// changed. A symbolic link is followed: that is how Kubernetes swaps the files
// of a ConfigMap. What was read and did not parse is read again, changed or not,
// because its writer may have been in the middle of it.
type fileLoader struct {
	path       string
	read, good os.FileInfo
}

func (l *fileLoader) load(context.Context) ([]byte, error) {
	text, info, err := readFile(l.path, maxKeySetSize, l.good)
	if err != nil {
		return nil, fmt.Errorf("reading JWKS file: %w", err)
	}
	l.read = info
	return text, nil
}

func (l *fileLoader) accept() { l.good = l.read }

// readFile reads a regular file of at most limit bytes; nil when it is as it was
// at last. Without O_NONBLOCK, opening a FIFO would hang for ever.
func readFile(path string, limit int64, last os.FileInfo) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", path)
	}
	if last != nil && os.SameFile(last, info) && last.Size() == info.Size() && last.ModTime().Equal(info.ModTime()) {
		return nil, info, nil
	}
	text, err := readAtMost(f, limit)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, info, nil
}

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return text, nil
}

// urlLoader fetches a JWKS. It goes to the configured URL and nowhere else: no
// redirects (an open redirect at the issuer would choose our keys), no proxy of
// the environment, no discovery.
type urlLoader struct {
	source KeySource
	client *http.Client // nil: one of its own for each load
}

func (l *urlLoader) accept() {}

func (l *urlLoader) load(ctx context.Context) ([]byte, error) {
	text, err := l.fetch(ctx)
	if err != nil {
		return nil, fmt.Errorf("fetching JWKS: %w", err)
	}
	return text, nil
}

func (l *urlLoader) fetch(ctx context.Context) ([]byte, error) {
	client := l.client
	if client == nil {
		var err error
		if client, err = newClient(l.source.CAFile); err != nil {
			return nil, err
		}
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.source.URL, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if l.source.TokenFile != "" {
		token, _, err := readFile(l.source.TokenFile, maxTokenSize, nil)
		if err != nil {
			return nil, fmt.Errorf("reading token for it: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+string(bytes.TrimSpace(token)))
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d", l.source.URL, response.StatusCode)
	}
	return readAtMost(response.Body, maxKeySetSize)
}

// newClient makes a client for one request. The anchors are read each time,
// since a cluster's CA changes too; a fetch every few minutes needs no
// connection kept.
func newClient(anchorFile string) (*http.Client, error) {
	text, _, err := readFile(anchorFile, maxKeySetSize, nil)
	if err != nil {
		return nil, fmt.Errorf("reading anchors: %w", err)
	}
	anchors := x509.NewCertPool()
	if !anchors.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", anchorFile)
	}
	config, err := fips.ClientTLS(fips.ClientTLSConfig{Roots: anchors})
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig: config, DisableKeepAlives: true, TLSHandshakeTimeout: loadTimeout,
			ResponseHeaderTimeout: loadTimeout, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       loadTimeout,
	}, nil
}

// newKeySource makes the source of one issuer's keys. A file is read before it
// returns, because a wrong path is a mistake of the operator; a URL is not
// waited for, because an issuer that is down must not keep us down.
func newKeySource(name string, k KeySource, c *Config, policy fips.Policy) (*keySource, error) {
	s := &keySource{
		name: name, policy: policy, now: c.Now, refresh: k.Refresh, maxAge: k.MaxAge,
		from: k.File + "\x00" + k.URL + "\x00" + k.CAFile, stop: make(chan struct{}),
	}
	switch {
	case k.Static != nil:
		s.refresh = 0
		s.loader = staticLoader(bytes.Clone(k.Static))
	case k.File != "":
		s.refresh = orDefault(s.refresh, defaultFileRefresh)
		s.loader = &fileLoader{path: k.File}
	default:
		s.refresh = orDefault(s.refresh, defaultURLRefresh)
		s.loader = &urlLoader{source: k, client: c.HTTPClient}
	}
	s.gap = min(demandGap, s.refresh)
	if k.URL != "" {
		return s, nil
	}
	done, _ := s.begin(0)
	<-done
	if err := s.lastError(); err != nil {
		return nil, err
	}
	return s, nil
}

func orDefault(d, fallback time.Duration) time.Duration {
	if d == 0 {
		return fallback
	}
	return d
}

// check finds what cannot work in a key source.
func (k KeySource) check() error {
	named := 0
	for _, is := range []bool{k.Static != nil, k.File != "", k.URL != ""} {
		if is {
			named++
		}
	}
	switch {
	case named != 1:
		return errors.New("name exactly one of file and URL")
	case k.URL == "" && (k.CAFile != "" || k.TokenFile != ""):
		return errors.New("a CA file and a token file are for a URL only")
	case k.Refresh != 0 && k.Refresh < time.Second:
		return errors.New("refresh is below 1s")
	case k.MaxAge != 0 && k.MaxAge < time.Hour:
		// Shorter than the outages that it shall bridge.
		return errors.New("maximum age is below 1h")
	}
	return nil
}
