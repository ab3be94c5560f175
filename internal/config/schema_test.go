package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

const (
	schemaDir    = "../../contrib/schema/"
	mainSchema   = "net-porter.schema.json"
	dropInSchema = "net-porter.config.d.schema.json"
)

var compiled = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	schemas := map[string]*jsonschema.Schema{}
	for _, name := range []string{mainSchema, dropInSchema} {
		c := jsonschema.NewCompiler()
		s, err := c.Compile(schemaDir + name)
		if err != nil {
			return nil, err
		}
		schemas[name] = s
	}
	return schemas, nil
})

// schemaFault is what a schema has against a document, which is JSON.
func schemaFault(t *testing.T, schema, document string) error {
	t.Helper()
	schemas, err := compiled()
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	return schemas[schema].Validate(value)
}

// SchemaFault is what the schema of config.json has against a document, which is JSON.
func SchemaFault(t *testing.T, document string) error {
	t.Helper()
	return schemaFault(t, mainSchema, document)
}

// schemaTree is a schema's file with its references.
type schemaTree struct {
	t     *testing.T
	files map[string]map[string]any
}

func readSchemas(t *testing.T) *schemaTree {
	s := &schemaTree{t, map[string]map[string]any{}}
	for _, name := range []string{mainSchema, dropInSchema} {
		data, err := os.ReadFile(schemaDir + name)
		if err != nil {
			t.Fatal(err)
		}
		var tree map[string]any
		if err := json.Unmarshal(data, &tree); err != nil {
			t.Fatal(err)
		}
		s.files[name] = tree
	}
	return s
}

// flat is a schema with what it refers to put into it; what it says itself goes first,
// and properties, required and allOf add up.
func (s *schemaTree) flat(file string, schema map[string]any) (string, map[string]any) {
	s.t.Helper()
	target, refers := schema["$ref"].(string)
	if !refers {
		return file, schema
	}
	other, pointer, _ := strings.Cut(target, "#/")
	if other == "" {
		other = file
	}
	at := s.files[other]
	for step := range strings.SplitSeq(pointer, "/") {
		at, _ = at[step].(map[string]any)
	}
	if at == nil {
		s.t.Fatalf("%s: nothing is at %s", file, target)
	}
	other, at = s.flat(other, at)
	all := map[string]any{}
	for key, value := range at {
		all[key] = value
	}
	for key, value := range schema {
		switch before := all[key].(type) {
		case map[string]any:
			if key == "properties" {
				merged := map[string]any{}
				for name, property := range before {
					merged[name] = property
				}
				for name, property := range value.(map[string]any) {
					merged[name] = property
				}
				value = merged
			}
		case []any:
			value = append(slices.Clone(before), value.([]any)...)
		}
		all[key] = value
	}
	delete(all, "$ref")
	return other, all
}

// Each key of the tables in raw.go is in the schema, with its spellings, and no other;
// with the type that is read, the values that are taken, and the default that is meant.
func TestSchemaHasTheKeysOfTheTables(t *testing.T) {
	s := readSchemas(t)
	for _, file := range []struct {
		name string
		keys []key
		wrap func(map[string]any) []source
	}{
		{mainSchema, (&rawConfig{}).keys(), func(doc map[string]any) []source { return []source{jsonFile(t, doc)} }},
		{dropInSchema, (&rawDropIn{}).keys(), func(doc map[string]any) []source {
			return []source{{"main", []byte(`{"resources": [{"name": "lan"}]}`)}, jsonFile(t, doc)}
		}},
	} {
		w := walker{schemaTree: s, parse: func(doc map[string]any) (*Config, error) {
			sources := file.wrap(doc)
			return parseAll(sources[0], sources[1:])
		}}
		w.object(file.name, file.name, file.keys, s.files[file.name], func(doc map[string]any) map[string]any { return doc })
	}
}

func jsonFile(t *testing.T, doc map[string]any) source {
	data, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return source{"file", data}
}

type walker struct {
	*schemaTree
	parse func(map[string]any) (*Config, error)
}

// within puts an object into the place of a document where it belongs.
type within func(object map[string]any) (document map[string]any)

// object compares a table of keys with the schema of an object.
func (w *walker) object(where, file string, keys []key, schema map[string]any, in within) {
	t := w.t
	file, schema = w.flat(file, schema)
	properties, _ := schema["properties"].(map[string]any)
	if schema["type"] != "object" || schema["additionalProperties"] != false && schema["unevaluatedProperties"] != false {
		t.Errorf("%s: the schema must be of an object without other keys", where)
	}
	var names, required []string
	for _, k := range keys {
		names = append(append(names, k.name), k.spellings...)
		if k.required {
			required = append(required, k.name)
		}
	}
	for name := range properties {
		if !slices.Contains(names, name) {
			t.Errorf("%s: the schema has a key %q that is not read", where, name)
		}
	}
	listed, _ := schema["required"].([]any)
	if got := fmt.Sprint(listed); got != fmt.Sprint(required) {
		t.Errorf("%s: required are %v, and in the schema %s", where, required, got)
	}
	for _, k := range keys {
		at := where + "." + k.name
		property, ok := properties[k.name].(map[string]any)
		if !ok {
			t.Errorf("%s is not in the schema: add it to contrib/schema/%s", at, file)
			continue
		}
		set := func(value any) map[string]any {
			object := w.least(keys)
			object[k.name] = value
			return in(object)
		}
		from, flat := w.flat(file, property)
		w.value(at, k.read, from, flat, set)
		for _, spelling := range k.spellings {
			w.spelling(at, k.name, spelling, file, flat, properties, schema)
		}
	}
}

// spelling compares another spelling of a key with the key: the same value, but not both.
func (w *walker) spelling(at, name, spelling, file string, flat map[string]any, properties, schema map[string]any) {
	other, _ := properties[spelling].(map[string]any)
	_, same := w.flat(file, other)
	want, got := withoutWords(flat), withoutWords(same)
	if !reflect.DeepEqual(want, got) {
		w.t.Errorf("%s: the spelling %q is not the same in the schema", at, spelling)
	}
	exclusion := map[string]any{"not": map[string]any{"required": []any{name, spelling}}}
	allOf, _ := schema["allOf"].([]any)
	if !slices.ContainsFunc(allOf, func(v any) bool { return reflect.DeepEqual(v, exclusion) }) {
		w.t.Errorf("%s: the schema lets %q be written beside it", at, spelling)
	}
}

func withoutWords(schema map[string]any) map[string]any {
	clone := map[string]any{}
	for key, value := range schema {
		if key != "description" {
			clone[key] = value
		}
	}
	return clone
}

// typeOf is what the schema of a decoded value has to be of.
func typeOf(as any) any {
	pointer := reflect.ValueOf(as).Pointer()
	for _, of := range []struct {
		decode any
		is     any
	}{
		{decode[string](text), "string"}, {decode[string](octal), "string"}, {decode[string](duration), "string"},
		{decode[string](number), "integer"}, {decode[bool](boolean), "boolean"}, {decode[rawPrincipal](principal), []any{"string", "integer"}},
	} {
		if reflect.ValueOf(of.decode).Pointer() == pointer {
			return of.is
		}
	}
	return nil
}

// value compares how a key is read with the schema of its value. Set is the document in
// which the key has a value.
func (w *walker) value(at string, read reading, file string, schema map[string]any, set func(any) map[string]any) {
	t := w.t
	if schema["description"] == nil {
		t.Errorf("%s has no description in the schema", at)
	}
	if fallback, ok := schema["default"]; ok {
		w.fallback(at, fallback, set)
	}
	one := func(value any) any { return value }
	if read.list {
		if schema["type"] != "array" {
			t.Errorf("%s is a list, and in the schema %v", at, schema["type"])
			return
		}
		items, _ := schema["items"].(map[string]any)
		file, schema = w.flat(file, items)
		one = func(value any) any { return []any{value} }
	}
	if read.keys != nil {
		w.object(at, file, read.keys(), schema, func(object map[string]any) map[string]any { return set(one(object)) })
		return
	}
	want := typeOf(read.as)
	if want == nil {
		t.Errorf("%s is read in a way that this test does not know: add it to typeOf", at)
	}
	if !reflect.DeepEqual(schema["type"], want) {
		t.Errorf("%s is of type %v, and in the schema %v", at, want, schema["type"])
	}
	if want == "string" {
		w.choice(at, schema, set(one("no such value")))
	}
}

// fallback: the schema's default means what leaving the key out means.
func (w *walker) fallback(at string, fallback any, set func(any) map[string]any) {
	written := set(fallback)
	c, err := w.parse(written)
	if err != nil {
		w.t.Errorf("%s: the default %v cannot be written: %v", at, fallback, err)
		return
	}
	without := dropped(written, at[strings.LastIndex(at, ".")+1:]).(map[string]any)
	want, err := w.parse(without)
	if err != nil {
		w.t.Fatalf("%s: %v", at, err)
	}
	if !reflect.DeepEqual(withoutNothing(c), withoutNothing(want)) {
		w.t.Errorf("%s: the default is not %v", at, fallback)
	}
}

// withoutNothing is a configuration without places, in which no list is empty.
func withoutNothing(c *Config) *Config {
	for i := range c.Resources {
		r := &c.Resources[i]
		r.AllowUsers, r.AllowGroups, r.Grants = append([]Allowed(nil), r.AllowUsers...), append([]Allowed(nil), r.AllowGroups...), append([]Grant(nil), r.Grants...)
	}
	return withoutPlaces(c)
}

// dropped is a document without the keys of a name, but for those that have objects.
func dropped(value any, name string) any {
	switch v := value.(type) {
	case map[string]any:
		clone := map[string]any{}
		for key, inner := range v {
			_, object := inner.(map[string]any)
			if key != name || object {
				clone[key] = dropped(inner, name)
			}
		}
		return clone
	case []any:
		clone := []any{}
		for _, inner := range v {
			clone = append(clone, dropped(inner, name))
		}
		return clone
	}
	return value
}

// choices finds what a value may be in the words for one that is not.
var choices = regexp.MustCompile(`must be ([a-z-]+(?:(?:, | or )[a-z-]+)+), not`)

// choice: where one of a few words is taken, the schema has the same.
func (w *walker) choice(at string, schema map[string]any, wrong map[string]any) {
	_, err := w.parse(wrong)
	var want []any
	if err != nil {
		if m := choices.FindStringSubmatch(err.Error()); m != nil {
			for word := range strings.SplitSeq(strings.ReplaceAll(m[1], " or ", ", "), ", ") {
				want = append(want, word)
			}
		}
	}
	got, _ := schema["enum"].([]any)
	if !reflect.DeepEqual(got, want) {
		w.t.Errorf("%s may be %v, and in the schema %v", at, want, got)
	}
}

// least is an object that has the keys that it cannot do without.
func (w *walker) least(keys []key) map[string]any {
	object := map[string]any{}
	for _, k := range keys {
		switch {
		case k.name == "max_attachments": // a grant: to somebody, of something
			object["users"], object[k.name] = []any{"u"}, 1
		case !k.required:
		case k.name == "resources":
			object[k.name] = []any{}
		case k.name == "name":
			object[k.name] = "a"
		case k.name == "resource":
			object[k.name] = "lan"
		default:
			w.t.Fatalf("this test needs a value for the key %q, which is required: add it here", k.name)
		}
	}
	return object
}

// What the project shows to people is right by the schema and by the daemon.
func TestSchemaAndExamples(t *testing.T) {
	example, err := os.ReadFile("../../contrib/example/config.json")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"contrib/example/config.json": string(example)}
	for i, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(readme), -1) {
		var doc map[string]any
		if err := json.Unmarshal([]byte(block[1]), &doc); err != nil {
			t.Errorf("block %d of JSON in the README: %v", i+1, err)
		}
		switch {
		case doc["resources"] != nil:
			shown[fmt.Sprintf("README, block %d", i+1)] = block[1]
		case doc["grants"] != nil:
			shown[fmt.Sprintf("README, block %d", i+1)] = `{"resources": [` + block[1] + `]}`
		}
	}
	if len(shown) < 3 {
		t.Errorf("found only %d", len(shown))
	}
	for what, document := range shown {
		if err := SchemaFault(t, document); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := Parse(what, []byte(document)); err != nil {
			t.Error(err)
		}
	}
	for _, what := range []string{"contrib/schema/" + mainSchema, "contrib/schema/" + dropInSchema} {
		makefile, err := os.ReadFile(filepath.Join("../..", "Makefile"))
		if err != nil || !strings.Contains(string(makefile), what) {
			t.Errorf("make install leaves %s out (%v)", what, err)
		}
	}
}

func TestSchemaOfDropIns(t *testing.T) {
	for document, right := range map[string]bool{
		`{}`: true,
		`{"resources": [{"name": "iot", "grants": [{"user": ["a"], "static_ip": ["192.0.2.7"]}]}]}`: true,
		`{"grants": [{"resource": "lan", "users": ["b"], "static_ips": ["192.0.2.7"]}]}`:            true,
		`{"grant": [{"resource": "lan", "groups": [7], "max_attachments": 1}]}`:                     true,
		`{"grants": [{"users": ["b"], "static_ips": ["192.0.2.7"]}]}`:                               false,
		`{"grants": [{"resource": "lan", "users": ["b"], "static_ipz": ["192.0.2.7"]}]}`:            false,
		`{"grants": [{"resource": "lan", "users": ["b"], "name": "x", "max_attachments": 1}]}`:      false,
		`{"grants": [], "grant": []}`: false,
		`{"state_dir": "/x"}`:         false,
		`{"resources": [{"name": "iot", "grants": [{"resource": "iot", "users": [1], "max_attachments": 1}]}]}`: false,
	} {
		if err := schemaFault(t, dropInSchema, document); (err == nil) != right {
			t.Errorf("%s: %v, want right %v", document, err, right)
		}
		var raw map[string]any
		if err := json.Unmarshal([]byte(document), &raw); err != nil {
			t.Fatal(err)
		}
		if _, err := parseAll(source{"main", []byte(`{"resources": [{"name": "lan"}]}`)}, []source{jsonFile(t, raw)}); (err == nil) != right {
			t.Errorf("%s: the daemon says %v, want right %v", document, err, right)
		}
	}
}
