module github.com/kedge-ca/kedge/test/tools/spiffe

go 1.26.0

require (
	github.com/spiffe/go-spiffe/v2 v2.9.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/go-jose/go-jose/v4 v4.1.5 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
)
