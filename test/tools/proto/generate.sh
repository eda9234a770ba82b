#!/usr/bin/env bash
# Generates the Go code of the protocol buffers with pinned tools, built into the
# cache folder given (default: the user's cache).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/kedge}/proto
sum=$(cat "$here/go.mod" "$here/go.sum" <(go env GOVERSION) | sha256sum | cut -c1-16)
if [[ ! -d $cache/$sum ]]; then
	mkdir -p "$cache/$sum.new"
	(
		cd "$here"
		unset GOEXPERIMENT GOFIPS140
		export GOTOOLCHAIN=local GOFLAGS=-mod=readonly CGO_ENABLED=0
		for tool in github.com/bufbuild/buf/cmd/buf google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc; do
			go build -trimpath -o "$cache/$sum.new/" "$tool"
		done
	)
	mv "$cache/$sum.new" "$cache/$sum"
fi
cd "$here/../../../api"
export PATH="$cache/$sum:$PATH"
buf lint
buf generate
