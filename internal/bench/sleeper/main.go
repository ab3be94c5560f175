// Command sleeper is a CNI plugin for the end of a chain that takes its time: ADD
// waits 200 ms, or as its configuration's "delay" says, and passes on the previous
// result (CNI spec 1.1, section 2, ADD).
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

const delay = 200 * time.Millisecond

func main() {
	var config struct {
		PrevResult json.RawMessage `json:"prevResult"`
		Delay      string          `json:"delay"`
	}
	if err := json.NewDecoder(os.Stdin).Decode(&config); err != nil {
		fmt.Printf(`{"cniVersion":"1.0.0","code":6,"msg":%q}`, err)
		os.Exit(1)
	}
	if os.Getenv("CNI_COMMAND") == "ADD" {
		wait, err := time.ParseDuration(config.Delay)
		if err != nil {
			wait = delay
		}
		time.Sleep(wait)
		os.Stdout.Write(config.PrevResult)
	}
}
