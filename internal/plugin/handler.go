package plugin

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/netavark"
	"github.com/net-porter/net-porter/internal/version"
)

// requestTimeout bounds one call of the daemon with its repetitions. The daemon has
// shorter deadlines of its own (cni.timeout, two minutes at most, for the plugins and
// again for their undo): only a daemon that hangs with what it has taken meets this one.
// Podman itself waits for ever.
const requestTimeout = 5 * time.Minute

const (
	// patience is how long the daemon may take to take a request. Podman holds its user's
	// network lock meanwhile.
	patience = time.Minute
	// createPatience is the same for the question of create, which goes on without an answer.
	createPatience = 10 * time.Second
)

// handler carries out netavark's commands.
type handler struct {
	stderr  io.Writer
	timeout time.Duration // for one call of the daemon
	// patience and createPatience bound how long a request may wait to be taken.
	patience, createPatience time.Duration
	// pause waits between two attempts to reach the daemon.
	pause func(context.Context) error
	// wait waits where the daemon is busy, and now tells for how long that goes on.
	wait func(context.Context, time.Duration) error
	now  func() time.Time
	// netavarkDirs are searched for netavark, in this order.
	netavarkDirs    []string
	netavarkTimeout time.Duration // for `netavark --version`
}

var _ netavark.Handler = (*handler)(nil)

func newHandler(stderr io.Writer) *handler {
	return &handler{
		stderr:   stderr,
		timeout:  requestTimeout,
		patience: patience, createPatience: createPatience,
		pause: pause,
		wait:  wait,
		now:   time.Now,
		// podman's helper_binaries_dir (containers.conf(5)).
		netavarkDirs:    NetavarkDirs(),
		netavarkTimeout: netavarkTimeout,
	}
}

// Info names the build's version.
func (h *handler) Info() netavark.Info {
	return netavark.Info{Version: version.String(), APIVersion: netavark.APIVersion}
}

// Setup attaches the container, and replies what it has got. When the reply cannot
// be made the attachment is taken back: netavark sends no teardown after a setup
// that failed.
func (h *handler) Setup(ctx context.Context, netns string, exec *netavark.Exec) (*netavark.StatusBlock, error) {
	target, err := findTarget(&exec.Network)
	if err != nil {
		return nil, err
	}
	client, err := h.client(target.socket, h.patience)
	if err != nil {
		return nil, err
	}
	result, err := client.attach(ctx, target.resource, attachRequest(netns, exec))
	if err != nil {
		return nil, err
	}
	status, err := statusBlock(exec.NetworkOptions.InterfaceName, result)
	if err == nil && ctx.Err() != nil {
		err = errInterrupted
	}
	if err != nil {
		if undo := client.detach(context.WithoutCancel(ctx), target.resource, detachRequest(netns, exec)); undo != nil {
			h.warn("the interface could not be taken back: %v", undo)
		}
		return nil, err
	}
	return status, nil
}

// Teardown detaches the container. What goes wrong is only a warning: the daemon
// releases by itself what belongs to a namespace that is gone.
func (h *handler) Teardown(ctx context.Context, netns string, exec *netavark.Exec) {
	if err := h.teardown(ctx, netns, exec); err != nil {
		h.warn("container %s was not detached, the daemon will release what it had: %v", name(exec), err)
	}
}

func (h *handler) teardown(ctx context.Context, netns string, exec *netavark.Exec) error {
	target, err := findTarget(&exec.Network)
	if err != nil {
		return err
	}
	client, err := h.client(target.socket, h.patience)
	if err != nil {
		return err
	}
	return client.detach(ctx, target.resource, detachRequest(netns, exec))
}

func name(exec *netavark.Exec) string {
	if exec.ContainerName != "" {
		return plain(exec.ContainerName)
	}
	return plain(exec.ContainerID)
}

// warn writes one line to stderr, which reaches the person who called podman.
func (h *handler) warn(format string, args ...any) {
	fmt.Fprintf(h.stderr, "net-porter: warning: %s\n", fmt.Sprintf(format, args...))
}

func detachRequest(netns string, exec *netavark.Exec) api.DetachRequest {
	request := api.DetachRequest{
		ContainerID:   exec.ContainerID,
		InterfaceName: exec.NetworkOptions.InterfaceName,
	}
	// It is only a hint here, and must not be why a detach is refused.
	if filepath.IsAbs(netns) && len(netns) <= maxNetns {
		request.Netns = netns
	}
	return request
}
