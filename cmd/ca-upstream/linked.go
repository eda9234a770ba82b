package main

// cryptoModules are the modules whose presence in the binary matters to who reads
// its report. A path that ends in / stands for all below it. linked_test.go holds
// the list to what is linked.
var cryptoModules = []struct{ path, brings string }{
	{"filippo.io/edwards25519", "Ed25519 arithmetic"},
	{"filippo.io/bigmod", "modular arithmetic"},
	{"github.com/slackhq/nebula", "certificates and X25519 of an overlay network; step-ca's provisioner, not reached from here"},
	{"github.com/Masterminds/sprig/v3", "template functions, key generation and AES-CBC among them; step-ca's templates, not reached from here"},
	{"github.com/golang-jwt/jwt/v5", "JWT signatures over the module's primitives; Azure login"},
	{"github.com/coreos/go-oidc/v3", "verification of identity tokens"},
	{"github.com/google/certificate-transparency-go", "structures of TLS and certificate logs"},
	{"github.com/google/go-tspi", "TPM 1.2 verification, with SHA-1"},
	{"github.com/ThalesIgnite/crypto11", "PKCS#11 signers; the token computes"},
	{"github.com/ThalesGroup/crypto11", "PKCS#11 signers; the token computes"},
	{"github.com/miekg/pkcs11", "PKCS#11 binding; the token computes"},
	{"github.com/cloudflare/", "post-quantum and other primitives"},
	{"github.com/go-jose/", "JOSE: signatures and key wrapping over the module's primitives"},
	{"github.com/smallstep/", "certificate authority client, tokens, PKCS#7, attestation"},
	{"go.step.sm/crypto", "key formats, JOSE, SSH, TPM and KMS clients"},
	{"golang.org/x/crypto", "SSH, NaCl, scrypt, ChaCha20-Poly1305 and other primitives outside the module"},
	{"github.com/google/go-tpm", "TPM 2.0 protocol; the TPM computes"},
	{"github.com/google/go-tpm-tools", "TPM 2.0 attestation"},
	{"github.com/aws/aws-sdk-go-v2/", "AWS request signatures (SigV4); the service computes"},
	{"github.com/aws/aws-sdk-go-v2", "AWS request signatures (SigV4); the service computes"},
	{"github.com/Azure/azure-sdk-for-go/", "Azure Key Vault client; the service computes"},
	{"github.com/AzureAD/", "Azure login"},
	{"cloud.google.com/go/", "Google KMS and CA Service clients; the service computes"},
	{"github.com/googleapis/", "Google login"},
	{"github.com/google/s2a-go", "Google's TLS offload, with AES-GCM and ChaCha20-Poly1305 of its own"},
	{"github.com/googleapis/enterprise-certificate-proxy", "Google client certificates"},
}
