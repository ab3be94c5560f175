// Command sleeper is a CNI plugin for the end of a chain that takes its time: ADD
// waits 200 ms and passes on the previous result (CNI spec 1.1, section 2, ADD).
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
	}
	if err := json.NewDecoder(os.Stdin).Decode(&config); err != nil {
		fmt.Printf(`{"cniVersion":"1.0.0","code":6,"msg":%q}`, err)
		os.Exit(1)
	}
	if os.Getenv("CNI_COMMAND") == "ADD" {
		time.Sleep(delay)
		os.Stdout.Write(config.PrevResult)
	}
}
