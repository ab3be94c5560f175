// Package bench measures what net-porter costs beside the tools that it stands on,
// and says whether that is within the project's bars. It has a benchmark and no code
// to import: run `make bench`.
package bench
