package bench

import (
	"fmt"
	"io"
	"slices"
	"testing"
	"text/tabwriter"
	"time"
)

// table is what was measured, with a bar where there is one.
type table struct {
	rows   [][4]string
	missed int
}

// fact is a figure that has no bar.
func (t *table) fact(what, figure string) { t.rows = append(t.rows, [4]string{what, figure, "", ""}) }

// barred is a figure, and whether it is within its bar.
func (t *table) barred(what, figure, bar string, ok bool) {
	verdict := "ok"
	if !ok {
		verdict = "MISSED"
		t.missed++
	}
	t.rows = append(t.rows, [4]string{what, figure, bar, verdict})
}

func (t *table) print(w io.Writer) {
	tab := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	fmt.Fprintf(tab, "\nFIGURE\tMEASURED\tBAR\t\n")
	for _, r := range t.rows {
		fmt.Fprintf(tab, "%s\t%s\t%s\t%s\n", r[0], r[1], r[2], r[3])
	}
	tab.Flush()
	fmt.Fprintln(w)
}

func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}

// more is how much more than another a duration is, with its sign.
func more(d, than time.Duration) string {
	return fmt.Sprintf("%+.1f ms", float64(d-than)/float64(time.Millisecond))
}

func median(of []time.Duration) time.Duration {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2]
}

// medians runs the functions in turn, rounds times, so that what else the machine
// does meets all of them alike, and gives the median of each.
func medians(b *testing.B, rounds int, run ...func()) []time.Duration {
	b.Helper()
	took := make([][]time.Duration, len(run))
	for range rounds {
		for i, fn := range run {
			took[i] = append(took[i], elapsed(fn))
		}
	}
	all := make([]time.Duration, len(run))
	for i := range took {
		all[i] = median(took[i])
	}
	return all
}

func elapsed(fn func()) time.Duration {
	start := time.Now()
	fn()
	return time.Since(start)
}
