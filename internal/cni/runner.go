package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/faultpoint"
)

// Options say how a Runner runs plugins.
type Options struct {
	// PluginDirs are absolute paths, searched in order. One that does not exist is
	// passed over; one that others than root may write to is refused.
	PluginDirs []string
	// CacheDir keeps the results of ADD for CHECK and DEL. Absolute; made if it is
	// not there (mode 0700).
	CacheDir string
	// Timeout is for a whole chain, on top of the context's own deadline.
	Timeout time.Duration
	// DumpEnv logs, for each plugin run, the CNI environment and the configuration.
	DumpEnv bool
	// Logger is slog.Default's if nil.
	Logger *slog.Logger
	// Turns, if not nil, is where each chain waits for its user's turn, before Timeout
	// begins. Work on a context that has a turn does not wait again.
	Turns *fair.Queue
	// Observe, if not nil, is told of every plugin run. It is called concurrently.
	Observe func(plugin, command string, d time.Duration, err error)
}

// Runner runs the plugins of networks. It may be used concurrently, but calls for
// the same container and interface must not overlap: the caller holds a lock.
type Runner struct {
	options Options
	current atomic.Pointer[Settings]
}

// NewRunner checks the options and makes the cache folder. It also marks every open
// descriptor of the process close-on-exec (close_range(2), Linux 5.11): Go does so
// with its own, but one inherited from the daemon's parent would reach plugins.
func NewRunner(options Options) (*Runner, error) {
	r := &Runner{}
	if err := r.Change(Settings{PluginDirs: options.PluginDirs, Timeout: options.Timeout, DumpEnv: options.DumpEnv}); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(options.CacheDir) {
		return nil, fmt.Errorf("cannot use cache folder %q: it must be an absolute path", options.CacheDir)
	}
	if err := os.MkdirAll(options.CacheDir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make CNI's cache folder: %w", err)
	}
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot keep open files from CNI plugins: %w", err)
	}
	if options.Logger == nil {
		options.Logger = slog.Default()
	}
	r.options = options
	return r, nil
}

// Add runs the chain with ADD and returns the last plugin's result (CNI spec 1.1,
// section 5, "Add Success"). What was made before a failure stays: call Del, on a
// context of its own. Nothing is run if a plugin of the chain is missing.
//
// Errors: ErrInvalidInvocation, ErrPluginMissing, ErrPluginUnsafe, *PluginError
// (also ErrTimeout), and those of fair.Queue.
func (r *Runner) Add(ctx context.Context, n *Network, inv Invocation) (*types100.Result, error) {
	if err := inv.validate("ADD"); err != nil {
		return nil, err
	}
	s := r.settings(n)
	if err := n.Check(s.PluginDirs); err != nil {
		return nil, err
	}
	ctx, leave, err := r.turn(ctx, inv, fair.Make)
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	cache := r.cacheDir(inv)
	faultpoint.Hit("before cache folder")
	if err := os.Mkdir(cache, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("cannot make the attachment's cache folder: %w", err)
	}
	faultpoint.Hit("after cache folder")
	lib := libcni.NewCNIConfigWithCacheDir(s.PluginDirs, cache, &pluginExec{runner: r, settings: s})
	result, err := lib.AddNetworkList(ctx, n.list, inv.runtimeConf())
	if err != nil {
		return nil, plain(err)
	}
	current, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("cannot read the result of network %s: %w", n.Name, err)
	}
	return current, nil
}

// Check runs the chain with CHECK: an error says that the interface is no longer as
// ADD left it, or that a plugin could not tell. Networks with "disableCheck" are
// always well; those of a cniVersion before 0.4.0 cannot be checked, which is ErrNoCheck.
func (r *Runner) Check(ctx context.Context, n *Network, inv Invocation) error {
	if err := inv.validate("CHECK"); err != nil {
		return err
	}
	s := r.settings(n)
	if err := n.Check(s.PluginDirs); err != nil {
		return err
	}
	if version := n.list.CNIVersion; strings.HasPrefix(version, "0.3.") {
		return fmt.Errorf("%w: \"cniVersion\" %s has none, and 0.4.0 is the first that has", ErrNoCheck, version)
	}
	ctx, leave, err := r.turn(ctx, inv, fair.Make)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	lib := libcni.NewCNIConfigWithCacheDir(s.PluginDirs, r.cacheDir(inv), &checkExec{pluginExec{runner: r, settings: s}, inv.Current})
	if err := lib.CheckNetworkList(ctx, n.list, withCachedCapabilities(lib, n, inv)); err != nil {
		return plain(err)
	}
	return nil
}

// Del runs the chain with DEL in reverse order, and goes on where libcni would stop:
// a plugin that fails, is missing or uses up its share of the time keeps no other
// from being run, and all errors are joined. To undo what is not there is no error,
// so that Del may be repeated until it succeeds.
//
// With an empty NetNS, plugins that cannot do without a namespace are passed over,
// for what they made went with it, and their IPAM plugins are run in their place.
func (r *Runner) Del(ctx context.Context, n *Network, inv Invocation) error {
	if err := inv.validate("DEL"); err != nil {
		return err
	}
	s := r.settings(n)
	ctx, leave, err := r.turn(ctx, inv, fair.Remove)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	cache := r.cacheDir(inv)
	del := &delExec{pluginExec: pluginExec{runner: r, settings: s}, left: len(n.chain)}
	lib := libcni.NewCNIConfigWithCacheDir(s.PluginDirs, cache, del)
	if err := lib.DelNetworkList(ctx, n.list, withCachedCapabilities(lib, n, inv)); err != nil {
		return errors.Join(append(del.errs, del.unseen(err))...)
	}
	faultpoint.Hit("before cache removal")
	err = os.RemoveAll(cache)
	faultpoint.Hit("after cache removal")
	if err != nil {
		return fmt.Errorf("cannot remove the attachment's cache folder: %w", err)
	}
	return nil
}

// turn waits for a turn of the user who is in the container id.
func (r *Runner) turn(ctx context.Context, inv Invocation, kind fair.Kind) (context.Context, func(), error) {
	text, _, _ := strings.Cut(inv.ContainerID, ".")
	uid, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: container id %s does not begin with a uid", ErrInvalidInvocation, quoteName(inv.ContainerID))
	}
	return r.options.Turns.Enter(ctx, uint32(uid), kind)
}

func (r *Runner) cacheDir(inv Invocation) string {
	return filepath.Join(r.options.CacheDir, inv.cacheName())
}

// withCachedCapabilities gives DEL and CHECK the capability arguments of ADD unless
// the caller has some: portmap removes nothing without them. A cache that cannot be
// read, as after a power failure, is as good as none.
func withCachedCapabilities(lib *libcni.CNIConfig, n *Network, inv Invocation) *libcni.RuntimeConf {
	conf := inv.runtimeConf()
	if conf.CapabilityArgs != nil {
		return conf
	}
	if _, cached, err := lib.GetNetworkListCachedConfig(n.list, conf); err == nil && cached != nil {
		conf.CapabilityArgs = cached.CapabilityArgs
	}
	return conf
}

// plain drops libcni's wording around a plugin's failure, which says the same again.
func plain(err error) error {
	var failure *PluginError
	if errors.As(err, &failure) {
		return failure
	}
	return err
}
