package stress

import "os"

// longEnv, if not empty, is for the lengths of `make stress`. Without it each test does the
// same things in the same way, fewer times: a leak of one thing in a hundred still shows,
// and each moment of the crash matrix still comes.
const longEnv = "NET_PORTER_TEST_LONG"

func length(usual, long int) int {
	if os.Getenv(longEnv) != "" {
		return long
	}
	return usual
}
