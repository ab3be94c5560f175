package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	t.Parallel()
	const bsd2 = "Redistribution and use in source and binary\nforms, with or without modification, are permitted"
	for text, want := range map[string]string{
		"Permission is hereby granted, free of charge, to any\n  person obtaining a copy": "MIT",
		"    Apache License\n    Version 2.0, January 2004":                               "Apache-2.0",
		bsd2: "BSD-2-Clause",
		bsd2 + "\nmay be used to endorse or promote products derived from this":                                     "BSD-3-Clause",
		"Apache License, Version 2.0. Permission is hereby granted, free of charge, to any person obtaining a copy": "Apache-2.0 AND MIT",
		"All rights reserved.": "",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q is %q, not %q", text, got, want)
		}
	}
}

// A licence that nobody has looked at must not go out with a release.
func TestUnknownTermsAreAnError(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "COPYING.txt"), []byte("You may do nothing with it."), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := licencesIn(dir); err == nil || !strings.Contains(err.Error(), "COPYING.txt") {
		t.Errorf("terms that nobody knows are taken: %v", err)
	}
}

// Code of others inside a module has its own licence beside it.
func TestLicencesBetweenPackageAndModule(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for path, text := range map[string]string{
		"LICENSE": "Apache License Version 2.0", "NOTICE": "A product of A.",
		"third/LICENCE.md": "Permission is hereby granted, free of charge, to any person obtaining a copy", "other/LICENSE": "unknown",
	} {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(root, "third/party"), 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := upwards(nil, filepath.Join(root, "third/party"), root)
	if err != nil {
		t.Fatal(err)
	}
	if got := expression(found); got != "Apache-2.0 AND MIT" || len(found) != 3 {
		t.Errorf("the licences are %s in %d files", got, len(found))
	}
}

func TestHolders(t *testing.T) {
	t.Parallel()
	got := holders([]licence{{"MIT", "Copyright (c) 2020 A. Author\n\nThe above copyright notice shall\nCopyright [yyyy] [name of copyright owner]\ncopyright license to reproduce\n"}})
	if len(got) != 1 || got[0] != "Copyright (c) 2020 A. Author" {
		t.Errorf("the holders are %q", got)
	}
}
