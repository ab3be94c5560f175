// Package version owns what this build calls itself.
package version

import "runtime/debug"

// Set by the linker: -X github.com/net-porter/net-porter/internal/version.version=v1.2.3
var (
	version string
	commit  string
)

// String returns the version that the build was stamped with, else the module's
// version as the Go toolchain recorded it, else "devel".
func String() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

// Commit returns the git commit that was built, "unknown" where nobody recorded it.
func Commit() string {
	if commit != "" {
		return commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
