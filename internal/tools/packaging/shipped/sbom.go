package main

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdxlib"
	"github.com/spdx/tools-golang/utils"
)

// sbom writes what roots of make install have as programs, and of what these are linked.
// A root's folder is named as its architecture: ARCH/root.
func sbom(out io.Writer, version, commit string, roots []string) error {
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH has to be the time of the release: %w", err)
	}
	b := &bom{seen: map[module]common.ElementID{}, doc: &spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT",
		DocumentName:      "net-porter-" + version,
		DocumentNamespace: "https://" + ourModule + "/spdx/" + version + "/" + commit,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Organization", Creator: "The net-porter authors"}, {CreatorType: "Tool", Creator: "net-porter-shipped"}},
			Created:  time.Unix(epoch, 0).UTC().Format(time.RFC3339),
		},
	}}
	whole := b.pack(&spdx.Package{
		PackageName: "net-porter", PackageVersion: version, PackageSupplier: &common.Supplier{SupplierType: "Organization", Supplier: "The net-porter authors"},
		PackageDownloadLocation: "git+https://" + ourModule + "@" + commit, PackageHomePage: "https://" + ourModule,
		PackageLicenseDeclared: "MIT", PrimaryPackagePurpose: "APPLICATION",
	}, "net-porter")
	b.relate("DOCUMENT", "DESCRIBES", whole)
	for _, root := range roots {
		if err := b.addRoot(whole, root); err != nil {
			return err
		}
	}
	code, err := utils.GetVerificationCode(b.doc.Files, "")
	if err != nil {
		return fmt.Errorf("cannot sum up the programs: %w", err)
	}
	b.doc.Packages[0].FilesAnalyzed, b.doc.Packages[0].PackageVerificationCode = true, &code
	if err := spdxlib.ValidateDocument(b.doc); err != nil {
		return fmt.Errorf("the SBOM is not valid: %w", err)
	}
	return json.Write(b.doc, out, json.Indent(" "))
}

// bom is an SBOM in the making.
type bom struct {
	doc  *spdx.Document
	seen map[module]common.ElementID
}

func (b *bom) addRoot(whole common.ElementID, root string) error {
	found, err := programs(root)
	if err != nil {
		return err
	}
	have, err := terms(found)
	if err != nil {
		return err
	}
	arch := filepath.Base(filepath.Dir(filepath.Clean(root)))
	for _, p := range found {
		file, err := b.file(arch, p, have)
		if err != nil {
			return err
		}
		b.relate(whole, "CONTAINS", file)
		for _, m := range append(p.modules, p.main) {
			if m.path != ourModule {
				b.relate(file, "STATIC_LINK", b.module(m, have[m]))
			}
		}
	}
	return nil
}

func (b *bom) file(arch string, p program, have map[module][]licence) (common.ElementID, error) {
	data, err := os.ReadFile(p.file)
	if err != nil {
		return "", err
	}
	licence := "MIT"
	if p.main.path != ourModule {
		licence = expression(have[p.main])
	}
	one, two := sha1.Sum(data), sha256.Sum256(data) // the first one is what SPDX 2.3 wants, 8.4
	id := elementID("File", arch+p.path)
	b.doc.Files = append(b.doc.Files, &spdx.File{
		FileName: "./" + arch + p.path, FileSPDXIdentifier: id, FileTypes: []string{"BINARY"},
		Checksums: []common.Checksum{
			{Algorithm: common.SHA1, Value: hex.EncodeToString(one[:])},
			{Algorithm: common.SHA256, Value: hex.EncodeToString(two[:])},
		},
		LicenseConcluded: licence, LicenseInfoInFiles: []string{"NOASSERTION"}, FileCopyrightText: "NOASSERTION",
	})
	return id, nil
}

// module is a Go module's package, made if it is not there yet.
func (b *bom) module(m module, licences []licence) common.ElementID {
	if id, ok := b.seen[m]; ok {
		return id
	}
	location := "https://proxy.golang.org/" + escaped.ReplaceAllStringFunc(m.path, lower) + "/@v/" + m.version + ".zip"
	if m.path == goModule {
		location = "https://go.dev/dl/go" + m.version + ".src.tar.gz"
	}
	id := b.pack(&spdx.Package{
		PackageName: m.path, PackageVersion: m.version, PackageDownloadLocation: location,
		PackageLicenseDeclared: expression(licences), PrimaryPackagePurpose: "LIBRARY",
		PackageExternalReferences: []*spdx.PackageExternalReference{{
			Category: "PACKAGE-MANAGER", RefType: "purl", Locator: "pkg:golang/" + m.path + "@" + m.version,
		}},
	}, m.path+"-"+m.version)
	b.seen[m] = id
	return id
}

// escaped matches what a module proxy spells "!a" instead of "A".
var escaped = regexp.MustCompile(`[A-Z]`)

func lower(s string) string { return "!" + string(s[0]+'a'-'A') }

func (b *bom) pack(p *spdx.Package, name string) common.ElementID {
	p.PackageSPDXIdentifier = elementID("Package", name)
	p.IsFilesAnalyzedTagPresent = true // false, but for the whole's (7.8)
	p.PackageLicenseConcluded, p.PackageCopyrightText = "NOASSERTION", "NOASSERTION"
	b.doc.Packages = append(b.doc.Packages, p)
	return p.PackageSPDXIdentifier
}

func (b *bom) relate(from common.ElementID, how string, to common.ElementID) {
	b.doc.Relationships = append(b.doc.Relationships, &spdx.Relationship{
		RefA: common.MakeDocElementID("", string(from)), Relationship: how, RefB: common.MakeDocElementID("", string(to)),
	})
}

var unfit = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// elementID spells a name with what SPDX 2.3 (3.2) lets identifiers have.
func elementID(kind, name string) common.ElementID {
	return common.ElementID(kind + "-" + unfit.ReplaceAllString(name, "-"))
}

// verify reads an SBOM as anybody would, and says what it names.
func verify(out io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	doc, err := json.Read(f)
	if err != nil {
		return fmt.Errorf("%s is not SPDX: %w", path, err)
	}
	if err := spdxlib.ValidateDocument(doc); err != nil {
		return fmt.Errorf("%s is not valid: %w", path, err)
	}
	if doc.SPDXVersion != spdx.Version || len(doc.Files) == 0 || len(doc.Packages) == 0 {
		return errors.New(path + " is of another version of SPDX, or empty")
	}
	for _, p := range doc.Packages {
		fmt.Fprintf(out, "%s %s %s\n", p.PackageName, p.PackageVersion, p.PackageLicenseDeclared)
	}
	for _, f := range doc.Files {
		fmt.Fprintf(out, "%s %s\n", f.FileName, f.Checksums[len(f.Checksums)-1].Value)
	}
	return nil
}
