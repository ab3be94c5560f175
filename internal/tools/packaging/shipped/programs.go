package main

import (
	"cmp"
	"debug/buildinfo"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
)

// ourModule is what this repository is to Go.
const ourModule = "github.com/net-porter/net-porter"

// goModule stands for the Go runtime and standard library, as in the names that
// vulnerability databases have for them.
const goModule = "stdlib"

// program is an executable file and the modules that are linked into it.
type program struct {
	path    string // in its folder, with a slash before it
	file    string
	main    module
	modules []module // without main; with goModule
}

// module is a Go module in one version, such as v1.2.3.
type module struct{ path, version string }

func (m module) String() string { return m.path + "@" + m.version }

func compareModules(a, b module) int {
	return cmp.Or(strings.Compare(a.path, b.path), strings.Compare(a.version, b.version))
}

// programs finds the executable files below a folder. All of them have to be Go's: of
// another nobody could say what is in it.
func programs(root string) ([]program, error) {
	var found []program
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err != nil || info.Mode()&0o111 == 0 {
			return err
		}
		build, err := buildinfo.ReadFile(path)
		if err != nil {
			return fmt.Errorf("%s is executable and has no build information: %w", path, err)
		}
		found = append(found, program{
			path: strings.TrimPrefix(path, filepath.Clean(root)), file: path,
			main: module{build.Main.Path, build.Main.Version}, modules: linked(build),
		})
		return nil
	})
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("there are no programs in %s: make build cni", root)
	}
	return found, err
}

// linked are the modules of a program but its main one.
func linked(build *debug.BuildInfo) []module {
	modules := []module{{goModule, strings.TrimPrefix(build.GoVersion, "go")}}
	for _, m := range build.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		modules = append(modules, module{m.Path, m.Version})
	}
	slices.SortFunc(modules, compareModules)
	return modules
}
