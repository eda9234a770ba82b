package vault

import (
	"fmt"
	"strings"
)

// Rule is one line of a Vault policy: what Kedge does with a path.
type Rule struct {
	Path         string
	Capabilities []string
	Why          string
}

// HCL is the rule in Vault's policy language.
func (r Rule) HCL() string {
	quoted := make([]string, len(r.Capabilities))
	for i, c := range r.Capabilities {
		quoted[i] = fmt.Sprintf("%q", c)
	}
	return fmt.Sprintf("path %q { capabilities = [%s] }", r.Path, strings.Join(quoted, ", "))
}

// HCL is a policy of rules, each with its reason.
func HCL(rules []Rule) string {
	var b strings.Builder
	for i, r := range rules {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "# %s\n%s\n", r.Why, r.HCL())
	}
	return b.String()
}

// TokenRules are what every login needs.
func TokenRules() []Rule {
	return []Rule{
		{"auth/token/lookup-self", []string{"read"}, "See how long the token lives."},
		{"auth/token/renew-self", []string{"update"}, "Keep the token alive."},
	}
}
