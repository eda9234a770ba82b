// Package artefact proves on the built binary, not on the tree, that Kedge is
// in FIPS mode. Its tests are the only code in it.
//
// They promise that the binary was built by this toolchain with the expected
// module, that the module's code is in it and starts, that one flipped byte of
// the module stops it, and that every way to build it without a module fails to
// compile or refuses to start.
//
// The environment drives them: EXPECT_FIPS (boring or native) says what must be
// proved, KEDGE_BIN names the stripped binary and KEDGE_BIN_UNSTRIPPED its twin
// with symbols, KEDGE_PKG the program's package (./cmd/ca). Without KEDGE_BIN
// they build both themselves; without EXPECT_FIPS there is nothing to prove and
// they say that they were skipped. `make artefact` and CI call them with
// -count=1: go test's cache does not see the sources of a binary it only runs.
package artefact
