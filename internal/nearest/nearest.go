// Package nearest owns the guess at what a mistyped name was meant to be.
package nearest

import "strings"

// Name returns the name that was probably meant by a mistyped one, or "" when
// none is near.
func Name(typed string, names []string) string {
	if len(typed) > 64 {
		return ""
	}
	fold := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, least := "", 1+max(1, len(typed)/3)
	for _, name := range names {
		if d := distance(fold(typed), fold(name)); d < least {
			best, least = name, d
		}
	}
	for _, name := range names {
		// A part of the other, such as "users" for "allow_users", or "warning" for "warn".
		if best == "" && min(len(typed), len(name)) >= 4 &&
			(strings.Contains(fold(name), fold(typed)) || strings.Contains(fold(typed), fold(name))) {
			best = name
		}
	}
	return best
}

// distance counts the insertions, deletions, substitutions and swaps of neighbours
// that turn a into b (the optimal string alignment distance), in bytes.
func distance(a, b string) int {
	var before []int
	previous := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current := make([]int, len(b)+1)
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous = previous, current
	}
	return previous[len(b)]
}
