package main

import (
	_ "github.com/kedge-ca/kedge/fips/enforced"
)

func main() {}
