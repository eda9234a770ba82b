package authn

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/kedge-ca/kedge/ca"
)

const serviceAccountPrefix = "system:serviceaccount:"

// cluster is a Kubernetes cluster.
type cluster struct {
	issuer
	needsPod   bool
	namespaces []string // none: all
	isDefault  bool
}

func newCluster(i issuer, k KubernetesConfig) *cluster {
	return &cluster{issuer: i, needsPod: k.RequireBound != BoundNone, namespaces: slices.Clone(k.Namespaces), isDefault: k.Default}
}

// clusterOf chooses the cluster whose keys shall verify a token. Clusters often
// share one issuer (https://kubernetes.default.svc.cluster.local), so a
// clusterid decides if there is one; without it the default does, then an issuer
// that only one cluster has.
func (a *Authenticator) clusterOf(id, issuerURL string) (*cluster, error) {
	var named, only *cluster
	sharing := 0
	for _, k := range a.clusters {
		if id != "" && k.name == id || id == "" && k.isDefault {
			named = k
		}
		if k.url == issuerURL {
			only = k
			sharing++
		}
	}
	switch {
	case id != "" && named == nil:
		return nil, ca.Refuse(ca.ReasonClusterUnknown, "no cluster %q", clip([]byte(id)))
	case named != nil && named.url == issuerURL:
		return named, nil
	case id == "" && sharing == 1:
		return only, nil
	case id == "" && sharing > 1:
		return nil, ca.Refuse(ca.ReasonClusterUnknown, "%d clusters have this issuer; the request names none", sharing)
	}
	return nil, ca.Refuse(ca.ReasonTokenIssuer, "issuer %q", clip([]byte(issuerURL)))
}

func (a *Authenticator) authenticateKubernetes(ctx context.Context, c Credentials, k *cluster, t *token) (ca.Caller, error) {
	if err := a.verify(ctx, &k.issuer, t, c.Door); err != nil {
		return ca.Caller{}, err
	}
	namespace, account, err := k.serviceAccount(&t.claims)
	if err != nil {
		return ca.Caller{}, err
	}
	identity, err := a.domain.ServiceAccount(namespace, account)
	if err != nil {
		return ca.Caller{}, ca.Refuse(ca.ReasonTokenSubject, "service account %s/%s: %w", namespace, account, err)
	}
	return a.newCaller(identity, ca.Evidence{
		Method: ca.MethodKubernetes, Issuer: t.claims.issuer, Subject: t.claims.subject, Cluster: k.name,
		Pod: t.claims.bound.pod.String(), Node: t.claims.bound.node.String(),
	}, c)
}

// serviceAccount is the service account of a verified token. The subject and the
// bound objects must tell the same story.
func (k *cluster) serviceAccount(c *claims) (namespace, account string, err error) {
	namespace, account, err = parseServiceAccount(c.subject)
	if err != nil {
		return "", "", ca.Refuse(ca.ReasonTokenSubject, "subject: %w", err)
	}
	if k.namespaces != nil && !slices.Contains(k.namespaces, namespace) {
		return "", "", ca.Refuse(ca.ReasonTokenSubject, "namespace %s is not one of cluster %s that may call", namespace, k.name)
	}
	b := &c.bound
	switch {
	case !b.present:
		// Tokens of Secrets have other claims and no end (KEP-1205).
		return "", "", ca.Refuse(ca.ReasonTokenUnbound, "token has no bound objects")
	case b.namespace != namespace || b.serviceAccount.name != account:
		return "", "", ca.Refuse(ca.ReasonTokenSubject, "subject and bound service account differ")
	case k.needsPod && (b.pod.name == "" || b.pod.uid == ""):
		return "", "", ca.Refuse(ca.ReasonTokenUnbound, "token is not bound to a pod")
	}
	for _, r := range []objectRef{b.serviceAccount, b.pod, b.node} {
		if r.name != "" && !isSubdomain(r.name) || !isUID(r.uid) {
			return "", "", ca.Refuse(ca.ReasonTokenMalformed, "bound object has an impossible name or uid")
		}
	}
	return namespace, account, nil
}

// parseServiceAccount reads a subject of exactly four segments. An issuer also
// names nodes and users (system:node:…), which are no workloads.
func parseServiceAccount(subject string) (namespace, account string, err error) {
	rest, ok := strings.CutPrefix(subject, serviceAccountPrefix)
	if !ok {
		return "", "", fmt.Errorf("%q is not a service account", clip([]byte(subject)))
	}
	namespace, account, ok = strings.Cut(rest, ":")
	if !ok || !isLabel(namespace) || !isSubdomain(account) {
		return "", "", fmt.Errorf("%q does not name a namespace and a service account", clip([]byte(rest)))
	}
	return namespace, account, nil
}

// isLabel tells whether s is a label of RFC 1123, as names of namespaces are.
func isLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// isSubdomain tells whether s is a subdomain in Kubernetes' sense of RFC 1123,
// as names of service accounts, pods and nodes are: its labels have no limit of
// their own.
func isSubdomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for i := range len(label) {
			if c := label[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return true
}

// isUID tells whether s can go into a record as a uid: Kubernetes promises no
// form, in fact all are UUIDs, and static pods have a hash.
func isUID(s string) bool {
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return len(s) <= 64
}
