// Command shipped tells what the programs that are shipped are made of: the licences of
// everything that is linked into them, and an SBOM. It asks the programs themselves (their
// build information) and the module cache that they were built from, so that neither can
// name something else than what is in them.
//
//	shipped copyright BIN...            a Debian copyright file (DEP-5) on stdout
//	shipped sbom VERSION COMMIT ROOT... SPDX 2.3 in JSON on stdout
//	shipped verify FILE                 whether a file is valid SPDX, and says what is in it
//
// BIN is a folder as make build and make cni fill it, ROOT one that make install made. The
// working directory is the repository's.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "shipped: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	switch {
	case len(args) >= 2 && args[0] == "copyright":
		return copyright(out, args[1:])
	case len(args) >= 4 && args[0] == "sbom":
		return sbom(out, args[1], args[2], args[3:])
	case len(args) == 2 && args[0] == "verify":
		return verify(out, args[1])
	}
	return errors.New("usage: shipped copyright BIN... | sbom VERSION COMMIT ROOT... | verify FILE")
}
