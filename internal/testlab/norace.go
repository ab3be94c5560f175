//go:build !race

package testlab

// Race says that the tests were built with -race, and the daemon with them: it is
// several times as slow and as large as users have it.
const Race = false
