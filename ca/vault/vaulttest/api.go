package vaulttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strconv"
)

// StatusError is an answer that is not a success.
type StatusError struct {
	// Code is the HTTP status.
	Code int
	// Errors are the sentences of Vault.
	Errors []string
}

// Error returns the status and Vault's sentences.
func (e *StatusError) Error() string { return fmt.Sprintf("status %d: %q", e.Code, e.Errors) }

// Request calls the API with the root token and returns the whole answer, in which
// most of what is asked for lies under "data"; nil for an answer without a body. The
// path has no /v1. An error is *StatusError when the server answered.
func (s *Server) Request(method, path string, body any) (map[string]any, error) {
	return s.RequestAs(s.RootToken, method, path, body)
}

// RequestAs is Request with another token; an empty one sends none.
func (s *Server) RequestAs(token, method, path string, body any) (map[string]any, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	request, err := http.NewRequest(method, s.Address+"/v1/"+path, content)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	if token != "" {
		request.Header.Set("X-Vault-Token", token)
	}
	answer, err := s.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking Vault for %s %s: %w", method, path, err)
	}
	defer answer.Body.Close()
	return decode(answer)
}

func decode(answer *http.Response) (map[string]any, error) {
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("reading answer: %w", err)
	}
	if answer.StatusCode >= http.StatusMultipleChoices {
		var said struct{ Errors []string }
		if json.Unmarshal(b, &said) != nil {
			said.Errors = []string{string(b)}
		}
		return nil, &StatusError{Code: answer.StatusCode, Errors: said.Errors}
	}
	if len(b) == 0 {
		return nil, nil
	}
	var content map[string]any
	if err := json.Unmarshal(b, &content); err != nil {
		return nil, fmt.Errorf("decoding answer: %w", err)
	}
	return content, nil
}

// mustRequest is Request where a refusal fails the test.
func (s *Server) mustRequest(method, path string, body any) map[string]any {
	s.t.Helper()
	answer, err := s.Request(method, path, body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer
}

// field returns a string of an answer, such as field(a, "auth", "client_token").
func (s *Server) field(answer map[string]any, keys ...string) string {
	s.t.Helper()
	var value any = answer
	for _, key := range keys {
		object, _ := value.(map[string]any)
		value = object[key]
	}
	text, ok := value.(string)
	if !ok || text == "" {
		s.t.Fatalf("Vault's answer has no %v", keys)
	}
	return text
}

// initialise makes the one key share and the root token.
func (s *Server) initialise() {
	s.t.Helper()
	answer := s.mustRequest(http.MethodPut, "sys/init", map[string]int{"secret_shares": 1, "secret_threshold": 1})
	keys, _ := answer["keys"].([]any)
	if len(keys) != 1 {
		s.t.Fatalf("Vault made %d key shares", len(keys))
	}
	s.UnsealKey, _ = keys[0].(string)
	s.RootToken = s.field(answer, "root_token")
}

// Seal seals the server, which then answers everything with status 503.
func (s *Server) Seal() {
	s.t.Helper()
	s.mustRequest(http.MethodPut, "sys/seal", nil)
	s.waitHealth(func(code int) bool { return code == http.StatusServiceUnavailable }, "seal itself")
}

// Unseal unseals the server and waits until it is active.
func (s *Server) Unseal() {
	s.t.Helper()
	s.mustRequest(http.MethodPut, "sys/unseal", map[string]string{"key": s.UnsealKey})
	s.waitHealth(func(code int) bool { return code == http.StatusOK }, "become active")
}

// EnableEngine mounts a secrets engine, such as "pki" or "transit", with leases of
// up to ten years, as a root needs.
func (s *Server) EnableEngine(kind, path string) {
	s.t.Helper()
	s.mustRequest(http.MethodPost, "sys/mounts/"+path, map[string]any{
		"type": kind, "config": map[string]string{"max_lease_ttl": "87600h"},
	})
}

// EnableAuth mounts a login method: "approle", "cert" or "jwt".
func (s *Server) EnableAuth(kind, path string) {
	s.t.Helper()
	s.mustRequest(http.MethodPost, "sys/auth/"+path, map[string]any{"type": kind})
}

// PolicyToken returns a token with exactly this policy (HCL), without Vault's
// default one. Settings are fields of auth/token/create, such as "ttl",
// "explicit_max_ttl" or "period"; Vault's defaults hold for the rest.
func (s *Server) PolicyToken(hcl string, settings ...map[string]any) string {
	s.t.Helper()
	body := map[string]any{"policies": []string{s.addPolicy(hcl)}, "no_default_policy": true}
	for _, more := range settings {
		maps.Copy(body, more)
	}
	return s.field(s.mustRequest(http.MethodPost, "auth/token/create", body), "auth", "client_token")
}

// NewAppRole makes an AppRole whose tokens have exactly this policy (HCL), and mounts
// approle the first time. Settings are fields of the role, such as "token_max_ttl".
func (s *Server) NewAppRole(hcl string, settings ...map[string]any) (roleID, secretID string) {
	s.t.Helper()
	var refusal *StatusError
	if _, err := s.Request(http.MethodGet, "sys/auth/approle", nil); errors.As(err, &refusal) {
		s.EnableAuth("approle", "approle")
	}
	body := map[string]any{"token_policies": []string{s.addPolicy(hcl)}, "token_no_default_policy": true}
	for _, more := range settings {
		maps.Copy(body, more)
	}
	path := "auth/approle/role/" + s.name()
	s.mustRequest(http.MethodPost, path, body)
	roleID = s.field(s.mustRequest(http.MethodGet, path+"/role-id", nil), "data", "role_id")
	secretID = s.field(s.mustRequest(http.MethodPost, path+"/secret-id", nil), "data", "secret_id")
	return roleID, secretID
}

// Revoke makes a token invalid at once.
func (s *Server) Revoke(token string) {
	s.t.Helper()
	s.mustRequest(http.MethodPost, "auth/token/revoke", map[string]string{"token": token})
}

// addPolicy stores a policy and returns its name.
func (s *Server) addPolicy(hcl string) string {
	s.t.Helper()
	name := s.name()
	s.mustRequest(http.MethodPut, "sys/policies/acl/"+name, map[string]string{"policy": hcl})
	return name
}

// name returns one that was not used yet on this server.
func (s *Server) name() string {
	s.names++
	return "test-" + strconv.Itoa(s.names)
}

// ClientCertificate issues a certificate that the authority of CAFile vouches for,
// to log in by login method cert, and returns the paths of its PEM files.
func (s *Server) ClientCertificate(name string) (certFile, keyFile string) {
	s.t.Helper()
	return writePair(s.t, s.dir, "client-"+name, s.ca.issue(s.t, name))
}
