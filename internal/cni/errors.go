package cni

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound says that the folder holds no configuration for the resource.
	ErrNotFound = errors.New("no network configuration")
	// ErrInvalidConfig says that a network configuration cannot be used as it is
	// written: the administrator has to correct it. The error is a *ConfigError.
	ErrInvalidConfig = errors.New("network configuration is not valid")
	// ErrInvalidInvocation says that a container id, interface name, namespace path
	// or argument is not one that may be given to a plugin. Nothing was run.
	ErrInvalidInvocation = errors.New("not a valid CNI invocation")
	// ErrPluginMissing says that a plugin of the chain, or the IPAM plugin that one
	// names, is in none of the plugin folders.
	ErrPluginMissing = errors.New("CNI plugin not found")
	// ErrPluginUnsafe says that a plugin or its folder can be changed by somebody
	// other than the administrator, so that it is not run.
	ErrPluginUnsafe = errors.New("CNI plugin not safe to run")
	// ErrTimeout says that a plugin was killed because the time given to the
	// invocation was over.
	ErrTimeout = errors.New("CNI plugin took too long")
	// ErrNoSuchAddress says that the network has no place for an address that was asked
	// for. The error is an *AddressError.
	ErrNoSuchAddress = errors.New("the network cannot give this address")
	// ErrNoCheck says that the version of the network configuration has no CHECK.
	ErrNoCheck = errors.New("the network cannot be checked")
)

// ConfigError says where and why a network configuration cannot be used. It is
// ErrInvalidConfig to errors.Is.
type ConfigError struct {
	File         string // file, or resource if it came from no file
	Line, Column int    // both from 1, column in characters; 0 if the place is not known
	Reason       string
}

// Error names the file, the place and what is wrong there.
func (e *ConfigError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("cannot use network configuration %s: %s", e.File, e.Reason)
	}
	return fmt.Sprintf("cannot use network configuration %s: line %d, column %d: %s", e.File, e.Line, e.Column, e.Reason)
}

// Unwrap makes a ConfigError ErrInvalidConfig.
func (e *ConfigError) Unwrap() error { return ErrInvalidConfig }

// PluginError is the failure of one plugin run: what the plugin said (CNI spec
// 1.1, section 5, "Error"), or what it did in place of saying something.
type PluginError struct {
	Plugin  string // file name, which is the configuration's "type"
	Command string // ADD, DEL or CHECK

	// Code is the plugin's own code, 0 if it gave none.
	Code uint
	// Message and Details are the plugin's own words, or in their absence what was
	// seen from outside. At most 1 KiB each, on one line, printable.
	Message, Details string
	// Stderr is the end of what the plugin wrote there, at most 4 KiB.
	Stderr string
	// TimedOut: the plugin was killed, or never started, because time was over.
	TimedOut bool

	cause error // the context's, or that of starting the process; nil if the plugin ran to its end
}

// Error says which plugin failed at what, and why, in the plugin's own words.
func (e *PluginError) Error() string {
	text := fmt.Sprintf("CNI plugin %s failed on %s: %s", e.Plugin, e.Command, e.Message)
	if e.Details != "" {
		text += ": " + e.Details
	}
	return text
}

// Unwrap gives ErrTimeout for a timeout, and the context's error or the one of
// starting the process if there was one.
func (e *PluginError) Unwrap() []error {
	var causes []error
	if e.TimedOut {
		causes = append(causes, ErrTimeout)
	}
	if e.cause != nil {
		causes = append(causes, e.cause)
	}
	return causes
}

// maxMessage bounds what a plugin's words take in errors and logs.
const maxMessage = 1 << 10

// oneLine makes a plugin's words fit to be shown: they end on a user's terminal
// and in the log, where control characters could forge lines or colours.
func oneLine(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < 0x20 || r == 0x7f || r >= 0x80 && r < 0xa0:
			return '\uFFFD'
		}
		return r
	}, s)
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "…"
	}
	return s
}
