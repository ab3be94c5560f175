package journald

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// journal takes entries as systemd-journald does.
type journal struct {
	t    *testing.T
	conn *net.UnixConn
	path string
}

func newJournal(t *testing.T) *journal {
	t.Helper()
	j := &journal{t: t, path: filepath.Join(t.TempDir(), "socket")}
	var err error
	if j.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.conn.Close() })
	return j
}

// next is the next entry's fields; a field that is there twice fails the test.
func (j *journal) next() map[string]string {
	j.t.Helper()
	if err := j.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil { // what was not sent never comes
		j.t.Fatal(err)
	}
	data, oob := make([]byte, 1<<20), make([]byte, 1<<10)
	n, oobn, _, _, err := j.conn.ReadMsgUnix(data, oob)
	if err != nil {
		j.t.Fatal(err)
	}
	if data = data[:n]; oobn > 0 {
		data = j.file(oob[:oobn])
	}
	fields := map[string]string{}
	for len(data) > 0 {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		name, value, short := strings.Cut(string(line), "=")
		if !short {
			size := binary.LittleEndian.Uint64(rest)
			value, rest = string(rest[8:8+size]), rest[8+size:]
			if rest[0] != '\n' {
				j.t.Fatalf("%s has no end", name)
			}
			rest = rest[1:]
		}
		if _, there := fields[name]; there {
			j.t.Errorf("%s is there twice", name)
		}
		fields[name], data = value, rest
	}
	return fields
}

// file reads an entry that came as a file, which has to be sealed.
func (j *journal) file(oob []byte) []byte {
	j.t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		j.t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		j.t.Fatal(err)
	}
	f := os.NewFile(uintptr(fds[0]), "entry")
	defer f.Close()
	const want = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0); err != nil || seals&want != want {
		j.t.Errorf("the file has the seals %#x (%v)", seals, err)
	}
	data := make([]byte, 1<<22)
	n, err := f.ReadAt(data, 0)
	if n == 0 {
		j.t.Fatal(err)
	}
	return data[:n]
}

// lines are as the daemon's.
func lines(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

func (j *journal) logger() *slog.Logger {
	j.t.Helper()
	h, err := newHandler(j.path, lines, io.Discard)
	if err != nil {
		j.t.Fatal(err)
	}
	return slog.New(h)
}

type marked struct{}

func (marked) MessageID() string    { return "0123456789abcdef0123456789abcdef" }
func (marked) LogValue() slog.Value { return slog.StringValue("made") }

func want(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, value := range want {
		if got[name] != value {
			t.Errorf("%s is %q, want %q", name, got[name], value)
		}
	}
	for name, value := range got {
		if _, there := want[name]; !there {
			t.Errorf("%s is there, %q", name, value)
		}
	}
}

func TestFields(t *testing.T) {
	j := newJournal(t)
	log := j.logger()
	log.Debug("not for the journal")
	log.With("resource", "lan").WithGroup("g").Warn("made it, at last",
		"event", marked{}, "uid", 1000, "empty", "", "error", errors.New("no"), "address", netip.MustParseAddr("192.0.2.1"),
		"took", 1500*time.Microsecond, "config", json.RawMessage(`{"a":1}`), slog.Group("env", "A_B", "x y"))
	want(t, j.next(), map[string]string{
		"MESSAGE": `level=WARN msg="made it, at last" resource=lan g.event=made g.uid=1000 g.empty="" g.error=no g.address=192.0.2.1 g.took=1.5ms ` +
			`g.config="{\"a\":1}" g.env.A_B="x y"`,
		"PRIORITY": "4", "SYSLOG_IDENTIFIER": "net-porter", "MESSAGE_ID": marked{}.MessageID(),
		"NET_PORTER_RESOURCE": "lan", "NET_PORTER_G_EVENT": "made", "NET_PORTER_G_UID": "1000", "NET_PORTER_G_ERROR": "no",
		"NET_PORTER_G_ADDRESS": "192.0.2.1", "NET_PORTER_G_TOOK": "1.5ms", "NET_PORTER_G_CONFIG": `{"a":1}`,
		"NET_PORTER_G_ENV_A_B": "x y",
	})
	for level, priority := range map[slog.Level]string{slog.LevelInfo: "6", slog.LevelError: "3"} {
		log.Log(t.Context(), level, "x")
		want(t, j.next(), map[string]string{"MESSAGE": "level=" + level.String() + " msg=x", "PRIORITY": priority, "SYSLOG_IDENTIFIER": "net-porter"})
	}
	// One logger's attributes are not its sibling's.
	base := log.With("a", "1", "b", "2", "c", "3")
	first, second := base.With("d", "first"), base.With("d", "second")
	first.Info("x")
	second.Info("x")
	if a, b := j.next()["NET_PORTER_D"], j.next()["NET_PORTER_D"]; a != "first" || b != "second" {
		t.Errorf("the siblings said %q and %q", a, b)
	}
}

// What a user chose stays the value of its field, whatever it looks like, and a line on
// the administrator's terminal that does nothing to it.
func TestNoFieldCanBeInjected(t *testing.T) {
	j := newJournal(t)
	log := j.logger()
	for _, hostile := range []string{
		"x\nMESSAGE=all is well", "\nPRIORITY=0\n", "a\nNET_PORTER_UID\n\x04\x00\x00\x00\x00\x00\x00\x000000\n", "=\n", "\n\n",
		"\x1b]0;pwned\a\x1b[2J", "\xff\xfe not text", "x uid=0 outcome=ok", `x" uid=0 "`, "\u202e right to left", strings.Repeat("\n", 1<<16), "\x00",
	} {
		log.Info("attach", "uid", 1000, "cgroup", hostile)
		got := j.next()
		if got["NET_PORTER_CGROUP"] != hostile {
			t.Errorf("%.40q came as %.40q", hostile, got["NET_PORTER_CGROUP"])
		}
		delete(got, "NET_PORTER_CGROUP")
		want(t, got, map[string]string{
			"MESSAGE":  fmt.Sprintf("level=INFO msg=attach uid=1000 cgroup=%q", hostile),
			"PRIORITY": "6", "SYSLOG_IDENTIFIER": "net-porter", "NET_PORTER_UID": "1000",
		})
	}
	log.Info("a message\nUID=0", strings.Repeat("né=\n", 40), "x")
	got := j.next()
	for name := range got {
		if len(name) > maxName || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789") != "" {
			t.Errorf("there is a field %q", name)
		}
	}
	if strings.Contains(got["MESSAGE"], "\n") || len(got) != 4 {
		t.Errorf("got %q", got)
	}
}

// What no datagram has room for comes as a file.
func TestLargeEntries(t *testing.T) {
	j := newJournal(t)
	large := strings.Repeat("stack\n", 1<<17)
	j.logger().Error("panic", "stack", large)
	if got := j.next(); got["NET_PORTER_STACK"] != large || got["PRIORITY"] != "3" {
		t.Errorf("of %d bytes there are %d", len(large), len(got["NET_PORTER_STACK"]))
	}
}

// A journal that goes takes no record with it, and one that comes back is found.
func TestJournalThatGoes(t *testing.T) {
	j := newJournal(t)
	var stderr bytes.Buffer
	h, err := newHandler(j.path, lines, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(h).With("a", 1).WithGroup("g")
	j.conn.Close()
	_ = os.Remove(j.path)
	log.Info("meanwhile", "b", 2)
	if stderr.String() != "level=INFO msg=meanwhile a=1 g.b=2\n" {
		t.Errorf("on stderr there is %q", stderr.String())
	}
	if j.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: j.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	log.Info("again")
	if got := j.next()["MESSAGE"]; got != "level=INFO msg=again a=1" {
		t.Errorf("got %q", got)
	}
	if _, err := newHandler(j.path+"x", lines, io.Discard); err == nil {
		t.Error("a journal that is not there is one")
	}
}

func TestIsJournal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	for stream, want := range map[string]bool{
		fmt.Sprintf("%d:%d", st.Dev, st.Ino):   true,
		fmt.Sprintf("%d:%d", st.Dev, st.Ino+1): false, // inherited, and stderr is another by now
		fmt.Sprintf("%d:%d0", st.Dev, st.Ino):  false,
		fmt.Sprintf("%d", st.Dev):              false,
		"":                                     false,
	} {
		t.Setenv("JOURNAL_STREAM", stream)
		if IsJournal(f) != want {
			t.Errorf("JOURNAL_STREAM=%q: %v", stream, !want)
		}
	}
}

// A logger is used by many at once.
func TestAtOnce(t *testing.T) {
	j := newJournal(t)
	log := j.logger()
	const each = 50
	for who := range 4 {
		go func() {
			for n := range each {
				log.LogAttrs(context.Background(), slog.LevelInfo, "x", slog.Int("who", who), slog.Int("n", n))
			}
		}()
	}
	seen := map[string]bool{}
	for range 4 * each {
		got := j.next()
		seen[got["NET_PORTER_WHO"]+"/"+got["NET_PORTER_N"]] = true
	}
	if len(seen) != 4*each {
		t.Errorf("%d of %d came", len(seen), 4*each)
	}
}
