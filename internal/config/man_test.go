package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const manPage = "../../contrib/man/net-porter.json.5"

var (
	manItem    = regexp.MustCompile(`(?m)^\.It Cm ([a-z0-9_.\[\]]+)$`)
	manDisplay = regexp.MustCompile(`(?s)\.Bd -literal -offset indent\n(\{\n.*?)\.Ed`)
)

// The manual page has every key of the schema, and no other; those that are accepted in
// the place of others are named there.
func TestManualHasTheKeysOfTheSchema(t *testing.T) {
	page := readManual(t)
	var described []string
	for _, m := range manItem.FindAllStringSubmatch(page, -1) {
		described = append(described, m[1])
	}
	keys := &leaves{schemaTree: readSchemas(t)}
	keys.of(mainSchema, keys.files[mainSchema], "")
	keys.of(dropInSchema, keys.files[dropInSchema]["$defs"].(map[string]any)["namedGrant"].(map[string]any), "grants[].")
	for _, key := range keys.paths {
		// What a grant of config.d has in common with one of a resource is there already.
		if !slices.Contains(described, key) && !slices.Contains(described, "resources[]."+key) {
			t.Errorf("%s does not have %s", manPage, key)
		}
	}
	for _, key := range described {
		if !slices.Contains(keys.paths, key) {
			t.Errorf("%s has %s, which is no key", manPage, key)
		}
	}
	for _, spelling := range keys.spellings {
		if !regexp.MustCompile(`\.Cm ` + spelling + `[ \n]`).MatchString(page) {
			t.Errorf("%s does not say that %s is accepted", manPage, spelling)
		}
	}
}

// What the manual page has as an example is right.
func TestManualExamples(t *testing.T) {
	examples := manDisplay.FindAllStringSubmatch(readManual(t), -1)
	if len(examples) != 3 {
		t.Fatalf("there are %d examples: say what the others are", len(examples))
	}
	main, dropIn := source{"config.json", []byte(examples[0][1])}, source{"alice.json", []byte(examples[1][1])}
	if _, err := parseAll(main, []source{dropIn}); err != nil {
		t.Error(err)
	}
	for name, example := range map[string]string{mainSchema: examples[0][1], dropInSchema: examples[1][1]} {
		if err := schemaFault(t, name, example); err != nil {
			t.Error(err)
		}
	}
}

func readManual(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile(manPage)
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// leaves are the keys of a schema that are no objects with keys of their own.
type leaves struct {
	*schemaTree
	paths, spellings []string
}

func (l *leaves) of(file string, schema map[string]any, before string) {
	file, schema = l.flat(file, schema)
	properties, _ := schema["properties"].(map[string]any)
	for name, value := range properties {
		property := value.(map[string]any)
		if strings.HasPrefix(fmt.Sprint(property["description"]), "Accepted in place of") {
			l.spellings = append(l.spellings, name)
			continue
		}
		at, inner := l.flat(file, property)
		switch {
		case inner["type"] == "object":
			l.of(at, inner, before+name+".")
			continue
		case inner["type"] == "array":
			where, items := l.flat(at, inner["items"].(map[string]any))
			if items["type"] == "object" {
				l.of(where, items, before+name+"[].")
				if name != "grants" {
					continue
				}
			}
		}
		l.paths = append(l.paths, before+name)
	}
}
