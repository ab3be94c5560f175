package testlab

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// Ping sends ICMP echo requests from the LAN's side until addr answers, and fails the
// test when it does not.
func (l *LAN) Ping(addr netip.Addr) {
	l.t.Helper()
	if err := l.TryPing(addr); err != nil {
		l.t.Fatalf("testlab: no reply from %s: %v", addr, err)
	}
}

// TryPing is Ping for what may fail. It may be called from any goroutine.
func (l *LAN) TryPing(addr netip.Addr) error { return l.Do(func() error { return ping(addr) }) }

func ping(addr netip.Addr) error {
	conn, err := net.ListenPacket("ip4:icmp", "0.0.0.0")
	if err != nil {
		return err
	}
	defer conn.Close()
	request := []byte{8, 0, 0, 0, 0x4e, 0x50, 0, 1} // echo (RFC 792)
	check := ^uint16(8<<8 + 0x4e50 + 1)
	request[2], request[3] = byte(check>>8), byte(check)
	reply := make([]byte, 1500)
	for end := time.Now().Add(waitBound); time.Now().Before(end); {
		if _, err := conn.WriteTo(request, &net.IPAddr{IP: addr.AsSlice()}); err != nil {
			return err
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		for {
			n, _, err := conn.ReadFrom(reply)
			if err != nil {
				break // time for another request
			}
			if n >= 8 && reply[0] == 0 && bytes.Equal(reply[4:8], request[4:8]) {
				return nil
			}
		}
	}
	return fmt.Errorf("no reply within %s", waitBound)
}
