package config_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/config"
)

// beyondSchema are the cases that a JSON Schema cannot tell: those of values that depend on
// others, of bytes, and of what JSON decoders do not show.
var beyondSchema = []string{
	"one user's share is more than all", "more requests than connections",
	"duplicate key", "escaped duplicate", "same name", "same principal", "plugin dir twice", "long state_dir",
	"invisible character", "uid that wraps to root", "timeout of a day", "dhcp timeout too short", "dhcp timeout too long",
	"dhcp timeout as long as the default of cni.timeout", "dhcp timeout longer than cni.timeout", "ipv6_wait too long", "ipv6_wait as long as cni.timeout",
}

// The texts are what users see; they are part of the interface.
func TestErrorTexts(t *testing.T) {
	resource := func(s string) string { return `{"resources": [` + s + `]}` }
	with := func(s string) string { return `{"resources": [], ` + s + `}` }
	long := strings.Repeat("x", 70)
	cases := []struct{ name, text, want string }{
		// Syntax.
		{"empty", "", `c:1:1: the file is empty (the shortest configuration is {"resources": []})`},
		{"blank", " \n\n", `c:1:1: the file is empty (the shortest configuration is {"resources": []})`},
		{"BOM", "\xef\xbb\xbf{}", `c:1:1: the file starts with a byte order mark, which JSON does not allow (save it as UTF-8 without BOM)`},
		{"UTF-16", "\xff\xfe{\x00", `c:1:1: the file is UTF-16, not UTF-8 (save it as UTF-8 without BOM)`},
		{"not UTF-8", "{\"st\xe9\": 1}", `c:1:5: byte 0xe9 is not valid UTF-8 (save it as UTF-8)`},
		{"column in characters", `{"é": 1 x`, `c:1:8: expected ',' or '}' after the value of "é", found "x" (a comma is probably missing here)`},
		{"line comment", "{ // LAN\n}", `c:1:3: JSON has no comments (remove the comment)`},
		{"block comment", "/* LAN */ {}", `c:1:1: JSON has no comments (remove the comment)`},
		{"hash comment", "{}\n# LAN", `c:2:1: JSON has no comments (remove the comment)`},
		{"trailing data", "{}\n}", `c:2:1: unexpected '}' after the end of the configuration (one JSON object is the whole file; a brace may be closed too early)`},
		{"second document", `{} {}`, `c:1:4: unexpected '{' after the end of the configuration (one JSON object is the whole file; a brace may be closed too early)`},
		{"missing comma in list", `{"resources": ["a" "b"]}`, `c:1:19: expected ',' or ']' after this list item, found '"' (a comma is probably missing here)`},
		{"missing comma before number", `[1 2]`, `c:1:3: expected ',' or ']' after this list item, found "2" (a comma is probably missing here)`},
		{"trailing comma in object", "{\"log\": {},\n}", `c:1:11: nothing follows this comma but '}' (remove this comma)`},
		{"trailing comma in list", `[1,]`, `c:1:3: nothing follows this comma but ']' (remove this comma)`},
		{"missing colon", `{"log" {}}`, `c:1:7: expected ':' after the key "log", found '{' (a colon is probably missing here)`},
		{"bare key", `{log: {}}`, `c:1:2: expected a key, found "log" (keys are written in double quotes)`},
		{"single quotes", `{"state_dir": '/x'}`, `c:1:15: expected a value, found '\'' (a string is written in double quotes)`},
		{"Python's literal", `{"a": True}`, `c:1:7: "True" is not a JSON value (write true)`},
		{"bare string", `{"a": info}`, `c:1:7: "info" is not a JSON value (a string is written in double quotes)`},
		{"bad number", `{"a": 0660}`, `c:1:7: "0660" is not a number (a string is written in double quotes)`},
		{"unclosed object", `{"log": {`, `c:1:10: the file ends within the '{' of line 1, column 9 (a closing bracket is probably missing)`},
		{"unclosed list", "[\n1", `c:2:2: the file ends within the '[' of line 1, column 1 (a closing bracket is probably missing)`},
		{"wrong bracket", `{"a": [1}`, `c:1:9: expected ',' or ']' after this list item, found '}'`},
		{"unclosed string", "{\"a\": \"x,\n\"b\": 1}", `c:1:7: this string does not end on its line (a closing quote is probably missing)`},
		{"tab in string", "[\"a\tb\"]", `c:1:4: a string holds the control character 0x09 (write it as \u0009)`},
		{"bad escape", `["DOM\jo"]`, `c:1:6: this is not an escape sequence of JSON (a backslash itself is written \\)`},
		{"half a surrogate", `["\ud800"]`, `c:1:3: this is half of a surrogate pair, not a character`},
		{"too deep", strings.Repeat("[", 40), `c:1:33: values are nested more than 32 deep`},
		{"too large", strings.Repeat(" ", 1<<20+1), `c: the file is larger than 1024 KiB (is this the configuration file?)`},

		// Keys and types.
		{"not an object", `[]`, `c:1:1: must be an object, not a list`},
		{"no resources", `{}`, `c:1:1: the key "resources" is missing`},
		{"mistyped key", with(`"domain_soket": {}`), `c:1:19: unknown key "domain_soket" (did you mean "domain_socket"?)`},
		{"key in other case", `{"Resources": [], "resources": []}`, `c:1:2: unknown key "Resources" (did you mean "resources"?)`},
		{"mistyped inner key", resource(`{"name": "a", "alow_users": []}`), `c:1:30: unknown key "alow_users" in resources[0] (did you mean "allow_users"?)`},
		{"part of a key", resource(`{"name": "a", "users": []}`), `c:1:30: unknown key "users" in resources[0] (did you mean "allow_users"?)`},
		{"strange key", with(`"log": {"xyzzy": 1}`), `c:1:27: unknown key "xyzzy" in log (known keys: "level", "format", "dump_env")`},
		{"terminal escape in key", with(`"\u001b[2J": 1`), `c:1:19: unknown key "\x1b[2J" (known keys: "domain_socket", "metrics", "cni", "state_dir", "resources", "limits", "log", "max_attachments_per_user")`},
		{"duplicate key", "{\"resources\": [],\n\"resources\": []}", `c:2:1: the key "resources" is written twice (it is on line 1 already)`},
		{"both spellings", resource(`{"name": "a", "allow_users": [], "allow_user": []}`), `c:1:49: the key is written twice: "allow_user" is another spelling of "allow_users" (it is on line 1 already)`},
		{"escaped duplicate", `{"resources": [], "\u0072esources": []}`, `c:1:19: the key "resources" is written twice (it is on line 1 already)`},
		{"null", with(`"state_dir": null`), `c:1:32: state_dir must be a string, not null (leave the key out to get the default)`},
		{"number for string", with(`"state_dir": 1`), `c:1:32: state_dir must be a string, not the number 1 (put it in quotes)`},
		{"string for object", with(`"log": "debug"`), `c:1:26: log must be an object, not the string "debug"`},
		{"string for list", resource(`{"name": "a", "allow_users": "podman"}`), `c:1:45: resources[0].allow_users must be a list, not the string "podman" (put it in [ ])`},
		{"object for list", `{"resources": {"name": "a"}}`, `c:1:15: resources must be a list, not an object (put it in [ ])`},
		{"string for boolean", with(`"log": {"dump_env": {"enabled": "true"}}`), `c:1:51: log.dump_env.enabled must be true or false, not the string "true" (write true without the quotes)`},
		{"no name", resource(`{"allow_users": []}`), `c:1:16: resources[0] has no key "name"`},

		// Values.
		{"mode as number", with(`"domain_socket": {"mode": 660}`), `c:1:45: domain_socket.mode must be a string of octal digits such as "0660", not the number 660 (put it in quotes)`},
		{"mode with x", with(`"domain_socket": {"mode": "0770"}`), `c:1:45: domain_socket.mode may hold read and write bits only, not "0770" (did you mean "0660"?)`},
		{"set-uid mode", with(`"domain_socket": {"mode": "4660"}`), `c:1:45: domain_socket.mode may hold read and write bits only, not "4660" (did you mean "0660"?)`},
		{"mode without owner", with(`"domain_socket": {"mode": "0060"}`), `c:1:45: domain_socket.mode must let the owner read and write, unlike "0060" (did you mean "0660"?)`},
		{"mode not octal", with(`"domain_socket": {"mode": "0690"}`), `c:1:45: domain_socket.mode must be three or four octal digits, not "0690" (such as "0660")`},
		{"socket is a directory", with(`"domain_socket": {"path": "/run/"}`), `c:1:45: domain_socket.path is the path of a directory: "/run/" (add the file's name)`},
		{"relative path", with(`"cni": {"config_dir": "cni.d"}`), `c:1:41: cni.config_dir must be an absolute path, not "cni.d" (write it from the root, starting with '/')`},
		{"dots in path", with(`"cni": {"config_dir": "/etc/../x"}`), `c:1:41: cni.config_dir may not contain "..": "/etc/../x" (write the path that is meant)`},
		{"NUL in path", with(`"state_dir": "/a\u0000b"`), `c:1:32: state_dir holds a control character: "/a\x00b"`},
		{"empty path", with(`"state_dir": ""`), `c:1:32: state_dir is empty (leave the key out to get the default)`},
		{"root directory", with(`"state_dir": "//."`), `c:1:32: state_dir may not be the root directory`},
		{"long state_dir", with(`"state_dir": "/` + strings.Repeat("x", 97) + `"`), `c:1:32: state_dir is 98 bytes long; at most 97 fit, since sockets are made in it (the address of a unix socket is that short)`},
		{"no plugin dirs", with(`"cni": {"plugin_dirs": []}`), `c:1:42: cni.plugin_dirs is empty, so that no plugin would be found (leave the key out to get the default)`},
		{"plugin dirs in one", with(`"cni": {"plugin_dirs": ["/a:/b"]}`), `c:1:43: cni.plugin_dirs[0] may not contain ':': "/a:/b" (make each directory an item of the list)`},
		{"plugin dir twice", with(`"cni": {"plugin_dirs": ["/a", "/a/"]}`), `c:1:49: cni.plugin_dirs[1] is in the list already: "/a"`},
		{"timeout as number", with(`"cni": {"timeout": 30}`), `c:1:38: cni.timeout must be a string such as "30s", not the number 30 ("30s" for seconds)`},
		{"timeout without unit", with(`"cni": {"timeout": "30"}`), `c:1:38: cni.timeout is not a duration: "30" ("30s" for seconds)`},
		{"timeout of a day", with(`"cni": {"timeout": "24h"}`), `c:1:38: cni.timeout must be from 100ms to 2m0s, not "24h"`},
		{"negative timeout", with(`"cni": {"timeout": "-5s"}`), `c:1:38: cni.timeout must be from 100ms to 2m0s, not "-5s"`},
		{"listen without port", with(`"metrics": {"listen": "127.0.0.1"}`), `c:1:41: metrics.listen must be host:port, not "127.0.0.1" (such as "127.0.0.1:9758" or "[::1]:9758")`},
		{"listen on port 0", with(`"metrics": {"listen": ":0"}`), `c:1:41: metrics.listen must end in a port from 1 to 65535, unlike ":0" (such as "127.0.0.1:9758" or "[::1]:9758")`},
		{"listen on a URL", with(`"metrics": {"listen": "http://x:1"}`), `c:1:41: metrics.listen must be host:port, not "http://x:1" (such as "127.0.0.1:9758" or "[::1]:9758")`},
		{"log level", with(`"log": {"level": "warning"}`), `c:1:36: log.level must be debug, info, warn or error, not "warning" (did you mean "warn"?)`},
		{"log level in capitals", with(`"log": {"level": "INFO"}`), `c:1:36: log.level must be debug, info, warn or error, not "INFO" (did you mean "info"?)`},
		{"log format", with(`"log": {"format": "jsn"}`), `c:1:37: log.format must be text or json, not "jsn" (did you mean "json"?)`},

		// Limits.
		{"strange limit", with(`"limits": {"rate": 5}`), `c:1:30: unknown key "rate" in limits (did you mean "rate_per_user"?)`},
		{"mistyped limit", with(`"limits": {"plugin_run": 5}`), `c:1:30: unknown key "plugin_run" in limits (did you mean "plugin_runs"?)`},
		{"limit as string", with(`"limits": {"rate_per_user": "5"}`), `c:1:47: limits.rate_per_user must be a number, not the string "5" (write it without the quotes)`},
		{"limit null", with(`"limits": {"rate_per_user": null}`), `c:1:47: limits.rate_per_user must be a number, not null (leave the key out to get the default)`},
		{"limit of nothing", with(`"limits": {"rate_per_user": 0}`), `c:1:47: limits.rate_per_user must be a whole number from 1 to 10000, not 0`},
		{"limit below nothing", with(`"limits": {"plugin_runs": -1}`), `c:1:45: limits.plugin_runs must be a whole number from 1 to 256, not -1`},
		{"limit with fraction", with(`"limits": {"plugin_runs": 1.5}`), `c:1:45: limits.plugin_runs must be a whole number from 1 to 256, not 1.5`},
		{"limit out of all bounds", with(`"limits": {"connections_per_user": 1e99}`), `c:1:54: limits.connections_per_user must be a whole number from 4 to 4096, not 1e99`},
		{"too few connections", with(`"limits": {"connections_per_user": 3}`), `c:1:54: limits.connections_per_user must be a whole number from 4 to 4096, not 3`},
		{"one user's share is more than all", with(`"limits": {"plugin_runs_per_user": 33}`), `c:1:54: limits.plugin_runs_per_user must be at most limits.plugin_runs, which is 32 by default, not 33 (one user cannot have more than all)`},
		{"more requests than connections", with("\"limits\": {\"requests_per_user\": 9,\n\"connections_per_user\": 8}"), `c:1:51: limits.requests_per_user must be at most limits.connections_per_user, which is 8 on line 2, not 9 (each request has a connection)`},
		{"a limit at fault is one fault", with(`"limits": {"plugin_runs": 0, "plugin_runs_per_user": 99}`), `c:1:45: limits.plugin_runs must be a whole number from 1 to 256, not 0`},

		// Resources and principals.
		{"name out of the directory", resource(`{"name": "../a"}`), `c:1:25: resources[0].name must be letters, digits, '-', '_' and '.', starting with a letter or digit, not "../a" (it is the name of a file in cni.config_dir)`},
		{"dots in name", resource(`{"name": "a..b"}`), `c:1:25: resources[0].name may not contain "..": "a..b" (it is the name of a file in cni.config_dir)`},
		{"newline in name", resource(`{"name": "a\n"}`), `c:1:25: resources[0].name must be letters, digits, '-', '_' and '.', starting with a letter or digit, not "a\n" (it is the name of a file in cni.config_dir)`},
		{"empty name", resource(`{"name": ""}`), `c:1:25: resources[0].name is empty`},
		{"long name", resource(`{"name": "` + long + `"}`), `c:1:25: resources[0].name is 70 bytes long, at most 63 are possible: "` + long[:48] + `..."`},
		{"same name", resource("{\"name\": \"a\"},\n{\"name\": \"a\"}"), `c:2:10: resources[1].name is "a", which is the name of the resource on line 1 already (one resource has one entry; merge the two)`},
		{"same principal", resource(`{"name": "a", "allow_users": [7, "7"]}`), `c:1:49: resources[0].allow_users[1] is in the list already: "7"`},
		{"empty principal", resource(`{"name": "a", "allow_users": [""]}`), `c:1:46: resources[0].allow_users[0] is empty`},
		{"principal of no type", resource(`{"name": "a", "allow_users": [true]}`), `c:1:46: resources[0].allow_users[0] must be a name or a number, not true`},
		{"wildcard", resource(`{"name": "a", "allow_users": ["*"]}`), `c:1:46: resources[0].allow_users[0] is not the name of a user or group: "*" (there are no wildcards: put the users in a group and allow the group)`},
		{"sudo's group", resource(`{"name": "a", "allow_users": ["%wheel"]}`), `c:1:46: resources[0].allow_users[0] is not the name of a user or group: "%wheel" (write the bare name; groups belong in allow_groups)`},
		{"two in one", resource(`{"name": "a", "allow_users": ["a,b"]}`), `c:1:46: resources[0].allow_users[0] is not the name of a user or group: "a,b" (each name is an item of the list)`},
		{"option for a name", resource(`{"name": "a", "allow_users": ["-x"]}`), `c:1:46: resources[0].allow_users[0] is not the name of a user or group: "-x"`},
		{"invisible character", resource(`{"name": "a", "allow_users": ["a\u200bb"]}`), `c:1:46: resources[0].allow_users[0] holds a character that cannot be seen: "a\u200bb"`},
		{"newline in principal", resource(`{"name": "a", "allow_users": ["a\nroot"]}`), `c:1:46: resources[0].allow_users[0] holds a character that cannot be seen: "a\nroot"`},
		{"space at the end", resource(`{"name": "a", "allow_users": ["a "]}`), `c:1:46: resources[0].allow_users[0] starts or ends with a space: "a " (remove the space)`},
		{"uid -1", resource(`{"name": "a", "allow_users": [-1]}`), `c:1:46: resources[0].allow_users[0] must be a name or an id from 0 to 4294967294, not -1`},
		{"uid (uid_t)-1", resource(`{"name": "a", "allow_users": [4294967295]}`), `c:1:46: resources[0].allow_users[0] must be a name or an id from 0 to 4294967294, not 4294967295`},
		{"uid that wraps to root", resource(`{"name": "a", "allow_users": ["4294967296"]}`), `c:1:46: resources[0].allow_users[0] must be a name or an id from 0 to 4294967294, not 4294967296`},
		{"uid with fraction", resource(`{"name": "a", "allow_users": [0.5]}`), `c:1:46: resources[0].allow_users[0] must be a name or an id from 0 to 4294967294, not 0.5`},
		{"uid in octal", resource(`{"name": "a", "allow_users": ["0100"]}`), `c:1:46: resources[0].allow_users[0] starts with a zero: "0100" (ids are decimal; did you mean 100?)`},

		// Identity and waiting.
		{"identity by name", resource(`{"name": "a", "identity": "name"}`), `c:1:42: resources[0].identity must be container-name or container-id, not "name" (did you mean "container-name"?)`},
		{"identity with underscore", resource(`{"name": "a", "identity": "container_id"}`), `c:1:42: resources[0].identity must be container-name or container-id, not "container_id" (did you mean "container-id"?)`},
		{"identity in capitals", resource(`{"name": "a", "identity": "Container-Name"}`), `c:1:42: resources[0].identity must be container-name or container-id, not "Container-Name" (did you mean "container-name"?)`},
		{"empty identity", resource(`{"name": "a", "identity": ""}`), `c:1:42: resources[0].identity must be container-name or container-id, not ""`},
		{"identity null", resource(`{"name": "a", "identity": null}`), `c:1:42: resources[0].identity must be a string, not null (leave the key out to get the default)`},
		{"mistyped mac", resource(`{"name": "a", "mac": "rand"}`), `c:1:37: resources[0].mac must be stable or random, not "rand" (did you mean "random"?)`},
		{"mac is an address", resource(`{"name": "a", "mac": "02:00:00:00:00:01"}`), "c:1:37: resources[0].mac must be stable or random, not the address \"02:00:00:00:00:01\" (one address would be that of every container; \"stable\" gives each its own)"},
		{"dhcp switched off", resource(`{"name": "a", "dhcp": false}`), `c:1:38: resources[0].dhcp must be an object, not false`},
		{"strange dhcp key", resource(`{"name": "a", "dhcp": {"conflict": false}}`), `c:1:39: unknown key "conflict" in resources[0].dhcp (did you mean "conflict_detection"?)`},
		{"conflict detection as string", resource(`{"name": "a", "dhcp": {"conflict_detection": "false"}}`), `c:1:61: resources[0].dhcp.conflict_detection must be true or false, not the string "false" (write false without the quotes)`},
		{"dhcp timeout as number", resource(`{"name": "a", "dhcp": {"timeout": 5}}`), `c:1:50: resources[0].dhcp.timeout must be a string such as "30s", not the number 5 ("5s" for seconds)`},
		{"dhcp timeout without unit", resource(`{"name": "a", "dhcp": {"timeout": "5"}}`), `c:1:50: resources[0].dhcp.timeout is not a duration: "5" ("5s" for seconds)`},
		{"dhcp timeout too short", resource(`{"name": "a", "dhcp": {"timeout": "999ms"}}`), `c:1:50: resources[0].dhcp.timeout must be from 1s to 2m0s, not "999ms"`},
		{"dhcp timeout too long", resource(`{"name": "a", "dhcp": {"timeout": "3m"}}`), `c:1:50: resources[0].dhcp.timeout must be from 1s to 2m0s, not "3m"`},
		{"dhcp timeout as long as the default of cni.timeout", resource(`{"name": "a", "dhcp": {"timeout": "30s"}}`), `c:1:50: resources[0].dhcp.timeout must be shorter than cni.timeout, which is 30s by default, not "30s" (an attach as a whole ends then; make cni.timeout longer or this one shorter)`},
		{"dhcp timeout longer than cni.timeout", "{\"resources\": [{\"name\": \"a\", \"dhcp\": {\"timeout\": \"15s\"}}],\n\"cni\": {\"timeout\": \"5s\"}}", `c:1:50: resources[0].dhcp.timeout must be shorter than cni.timeout, which is 5s on line 2, not "15s" (an attach as a whole ends then; make cni.timeout longer or this one shorter)`},
		{"cni.timeout at fault is one fault", `{"cni": {"timeout": "90"}, "resources": [{"name": "a", "dhcp": {"timeout": "1m"}, "ipv6_wait": "9s"}]}`, `c:1:21: cni.timeout is not a duration: "90" ("90s" for seconds)`},
		{"cni.timeout of a wrong type is one fault", `{"cni": {"timeout": 90}, "resources": [{"name": "a", "dhcp": {"timeout": "1m"}}]}`, `c:1:21: cni.timeout must be a string such as "30s", not the number 90 ("90s" for seconds)`},
		{"ipv6_wait as number", resource(`{"name": "a", "ipv6_wait": 0}`), `c:1:43: resources[0].ipv6_wait must be a string such as "30s", not the number 0 ("0s" for seconds)`},
		{"ipv6_wait negative", resource(`{"name": "a", "ipv6_wait": "-1ns"}`), `c:1:43: resources[0].ipv6_wait must be from 0s to 10s, not "-1ns"`},
		{"ipv6_wait too long", resource(`{"name": "a", "ipv6_wait": "11s"}`), `c:1:43: resources[0].ipv6_wait must be from 0s to 10s, not "11s"`},
		{"ipv6_wait as long as cni.timeout", `{"cni": {"timeout": "2s"}, "resources": [{"name": "a", "ipv6_wait": "2s"}]}`, `c:1:69: resources[0].ipv6_wait must be shorter than cni.timeout, which is 2s on line 1, not "2s" (an attach as a whole ends then; make cni.timeout longer or this one shorter)`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Parse("c", []byte(c.text))
			if err == nil || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
			var e *config.Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%T is not a *config.Error", err)
			}
			if json.Valid([]byte(c.text)) && (config.SchemaFault(t, c.text) == nil) != slices.Contains(beyondSchema, c.name) {
				t.Errorf("the schema says %v", config.SchemaFault(t, c.text))
			}
		})
	}
}
