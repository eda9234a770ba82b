package fips

import (
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"time"
)

// selfTest is one named check. A failure latches the module unless advisory.
type selfTest struct {
	name string
	run  func() error
	// advisory tells failures of the world outside apart from failures of the
	// module; nil means that every failure is the module's.
	advisory func(error) bool
}

// SelfTest runs every self-test and returns the results: known answers, a
// pairwise consistency test on each signer, the behavioural TLS probe and the
// policy's refusals. They come in addition to the module's own. A failure
// latches the module. Pass the keys that sign in this process; a signer behind
// a network may fail to answer without latching, but not sign wrongly.
//
// It costs a few milliseconds of CPU and reads the clock only for durations.
func (m *Module) SelfTest(now time.Time, signers ...NamedSigner) []TestResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	tests := slices.Concat(knownAnswerTests(), pairwiseTests(signers), policyTests(m.policy), m.tlsTests())
	results := make([]TestResult, 0, len(tests))
	for _, t := range tests {
		begin := time.Now()
		err := t.protected()
		r := TestResult{Name: t.name, OK: err == nil, NS: time.Since(begin).Nanoseconds(), At: now.UTC()}
		if err != nil {
			r.Detail = err.Error()
			if t.advisory == nil || !t.advisory(err) {
				m.Fail("selftest_"+t.name, err)
			}
		}
		results = append(results, r)
	}
	m.results = results
	return slices.Clone(results)
}

// protected turns a panic of the code under test into a failure: BoringCrypto
// panics where it would leave the module.
func (t *selfTest) protected() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return t.run()
}

// lastResults returns the results of the latest run.
func (m *Module) lastResults() []TestResult {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.results)
}

// pairwiseTests sign with each key and verify with its public half (FIPS 140-3
// IG 10.3.A). The first one is on a key made for the occasion, so that key
// generation is covered when no key exists yet.
func pairwiseTests(signers []NamedSigner) []selfTest {
	tests := []selfTest{{name: "pct_generated_ecdsa-p256", run: func() error {
		s, err := GenerateKey(ECDSAP256)
		if err != nil {
			return err
		}
		return pairwise(NamedSigner{Name: "generated", Signer: s})
	}}}
	for _, s := range signers {
		t := selfTest{name: "pct_" + s.Name, run: func() error { return pairwise(s) }}
		switch s.Signer.(type) {
		case *ecdsa.PrivateKey, *rsa.PrivateKey:
		default:
			t.advisory = func(err error) bool { return !errors.Is(err, ErrSignatureFault) }
		}
		tests = append(tests, t)
	}
	return tests
}

func pairwise(s NamedSigner) error {
	if s.Signer == nil {
		return errors.New("no signer")
	}
	scheme, err := SchemeFor(s.Signer.Public())
	if err != nil {
		return err
	}
	message := []byte("kedge pairwise consistency test")
	sig, err := Sign(s.Signer, scheme, message)
	if err != nil {
		return err
	}
	// A verifier that says yes to everything would pass the test above.
	if Verify(s.Signer.Public(), scheme, append(message, '.'), sig) == nil {
		return fmt.Errorf("%w: another message verifies too", ErrSignatureFault)
	}
	return nil
}

// policyTests prove that the policy in force refuses what it must, on requests
// as a client would send them.
func policyTests(p Policy) []selfTest {
	tests := make([]selfTest, 0, len(negativeRequests()))
	for _, v := range negativeRequests() {
		tests = append(tests, selfTest{name: "policy_" + v.name, run: func() error { return v.refusedBy(p) }})
	}
	return tests
}
