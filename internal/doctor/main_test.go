package doctor

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/net-porter/net-porter/internal/testlab"
)

// probeEnv has this binary probe a link, for longer than a test takes, in place of tests.
const probeEnv = "NET_PORTER_DOCTOR_TEST_PROBE"

func TestMain(m *testing.M) {
	if link := os.Getenv(probeEnv); link != "" {
		_, _ = survey(context.Background(), link, time.Hour) // it is killed
		os.Exit(1)
	}
	testlab.Main(m)
}
