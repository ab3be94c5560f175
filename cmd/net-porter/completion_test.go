package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/net-porter/net-porter/internal/testlab"
)

// Bash, with the script that packages install, completes commands, flags and the names
// of what the daemon has for who asks.
func TestBashCompletes(t *testing.T) {
	d := testlab.NewDaemon(t, testlab.WithResources(
		testlab.Resource{Name: "lan-of-roots", Users: []testlab.User{{UID: 0}}},
		testlab.Resource{Name: "lan-of-others", Users: []testlab.User{{UID: 60400}}},
	))
	d.Start()
	for line, want := range map[string][]string{
		"net-porter atta":                               {"attach", "attachments"},
		"net-porter check --no":                         {"--no-host"},
		"net-porter attach --socket " + d.Socket + " l": {"lan-of-roots"},
		"net-porter detach --socket /nobody-listens ":   {"--container-id"}, // which it cannot do without
		"net-porter completion ":                        {"bash", "fish", "zsh"},
	} {
		if got := completed(t, line); !slices.Equal(got, want) {
			t.Errorf("%q is completed by %q, want %q", line, got, want)
		}
	}
}

// completed is what bash offers for the last word of a line.
func completed(t *testing.T, line string) []string {
	t.Helper()
	script := `
		. /usr/share/bash-completion/bash_completion
		compopt() { :; } # which only works while somebody presses tab
		net-porter() { ` + asProgram + `=1 "$PROGRAM" "$@"; }
		. ../../contrib/completion/net-porter.bash
		COMP_LINE=$LINE COMP_POINT=${#LINE}
		read -ra COMP_WORDS <<<"$LINE"
		[[ $LINE != *' ' ]] || COMP_WORDS+=("")
		COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
		__start_net-porter net-porter
		printf '%s\n' "${COMPREPLY[@]}"`
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(os.Environ(), "LINE="+line, fmt.Sprintf("PROGRAM=/proc/%d/exe", os.Getpid()))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("bash: %v: %s", err, stderr.String())
	}
	var words []string
	for word := range strings.Lines(string(out)) {
		word, _, _ = strings.Cut(strings.TrimSpace(word), " ") // without its description
		if word != "" {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return words
}
