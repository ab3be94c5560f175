package cni

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// File is the path of the file that Load has read, "" for what came from elsewhere.
func (n *Network) File() string { return n.file }

// NamePlace is where the network's own name was written; 0, 0 where that is not known.
func (n *Network) NamePlace() (line, column int) { return n.place([]string{"name"}) }

// MasterPlace is where a link of Masters was written; 0, 0 where that is not known.
func (n *Network) MasterPlace(master string) (line, column int) {
	i := slices.IndexFunc(n.chain, func(l link) bool { return l.master == master })
	if i < 0 {
		return 0, 0
	}
	key := "master"
	if n.chain[i].pluginType == "host-device" {
		key = "device"
	}
	return n.place([]string{"plugins", strconv.Itoa(i), key})
}

// IPAMPlace is where the chain's first "ipam" of a type was written; 0, 0 where that is
// not known.
func (n *Network) IPAMPlace(ipamType string) (line, column int) {
	i := slices.IndexFunc(n.chain, func(l link) bool { return l.ipamType == ipamType })
	if i < 0 {
		return 0, 0
	}
	return n.place([]string{"plugins", strconv.Itoa(i), "ipam"})
}

// place is where what has a path was written, or else what would hold it.
func (n *Network) place(path []string) (line, column int) {
	if n.source == nil {
		return 0, 0
	}
	places := placesOf(n.source)
	if _, isList := places["plugins"]; !isList && path[0] == "plugins" { // a single plugin
		path = path[2:]
	}
	for ; len(path) > 0; path = path[:len(path)-1] {
		if offset, ok := places[strings.Join(path, "\x00")]; ok {
			return lineColumn(n.source, offset+1)
		}
	}
	return 1, 1
}

// placesOf gives the offset of each key and of each item of a list, by their path. The
// configuration is one that decodeTree takes.
func placesOf(data []byte) map[string]int64 {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	places := map[string]int64{}
	next := func() int64 {
		at := dec.InputOffset()
		for at < int64(len(data)) && strings.IndexByte(" \t\r\n,:", data[at]) >= 0 {
			at++
		}
		return at
	}
	var walk func(path []string)
	walk = func(path []string) {
		token, err := dec.Token()
		if err != nil {
			return
		}
		switch token {
		case json.Delim('{'):
			for dec.More() {
				at := next()
				key, err := dec.Token()
				name, _ := key.(string)
				if err != nil {
					return
				}
				below := append(slices.Clone(path), name)
				places[strings.Join(below, "\x00")] = at
				walk(below)
			}
			_, _ = dec.Token()
		case json.Delim('['):
			for i := 0; dec.More(); i++ {
				below := append(slices.Clone(path), strconv.Itoa(i))
				places[strings.Join(below, "\x00")] = next()
				walk(below)
			}
			_, _ = dec.Token()
		}
	}
	walk(nil)
	return places
}
