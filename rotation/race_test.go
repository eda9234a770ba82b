//go:build race

package rotation

const underRace = true
