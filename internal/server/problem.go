package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/netns"
)

// kinds gives every problem code its HTTP status and its title (RFC 9457, section 3.1).
var kinds = map[api.ProblemCode]struct {
	status int
	title  string
}{
	api.ResourceNotFound:    {http.StatusNotFound, "No such resource for you"},
	api.NotPermitted:        {http.StatusForbidden, "Not permitted"},
	api.NetnsNotFound:       {http.StatusNotFound, "No network namespace there"},
	api.NetnsNotOwned:       {http.StatusForbidden, "The network namespace is not yours"},
	api.AddressNotPermitted: {http.StatusForbidden, "The address is not granted to you"},
	api.AddressUnavailable:  {http.StatusConflict, "The address cannot be had"},
	api.QuotaExceeded:       {http.StatusForbidden, "You have as many attachments as you may"},
	api.AlreadyAttached:     {http.StatusConflict, "Already attached"},
	api.AttachmentNotFound:  {http.StatusNotFound, "No such attachment of yours"},
	api.InvalidRequest:      {http.StatusBadRequest, "The request is not valid"},
	api.CniFailed:           {http.StatusBadGateway, "The CNI plugins failed"},
	api.DhcpNoOffer:         {http.StatusGatewayTimeout, "No address from DHCP"},
	api.Timeout:             {http.StatusGatewayTimeout, "It took too long"},
	api.Busy:                {http.StatusTooManyRequests, "Too much at once"},
	api.ResourceUnavailable: {http.StatusServiceUnavailable, "The resource cannot be used now"},
	api.Internal:            {http.StatusInternalServerError, "The daemon failed"},
}

// problem is an error as the caller sees it. Cause is for the log only: it may tell
// of files and users that are not the caller's.
type problem struct {
	code   api.ProblemCode
	status int // the code's own where 0
	detail string
	cause  error
	// retryAfter, with busy, is how long it takes until the request may succeed; 0: a moment.
	retryAfter time.Duration
}

func (p *problem) Error() string {
	if p.cause != nil {
		return p.cause.Error()
	}
	return p.detail
}

func (p *problem) Unwrap() error { return p.cause }

func newProblem(code api.ProblemCode, detail string) *problem {
	return &problem{code: code, detail: detail}
}

// Explain puts an error into words for the caller whom it concerns.
func Explain(err error) string { return problemOf(err).detail }

// problemOf says what an error means to the caller. It is the one place where the
// errors of the packages below become problems.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	with := func(code api.ProblemCode, detail string) *problem {
		return &problem{code: code, detail: detail, cause: err}
	}
	switch {
	// Whatever else it came to, its caller has no interest in it any more.
	case errors.Is(err, attachment.ErrAbandoned):
		return with(api.Timeout, "the caller hung up before the attachment was made")
	case errors.Is(err, attachment.ErrForeignID):
		return with(api.InvalidRequest, attachment.ErrForeignID.Error())
	case errors.Is(err, attachment.ErrInterfered):
		return with(api.CniFailed, err.Error())
	case errors.Is(err, netns.ErrInvalidPath):
		return with(api.InvalidRequest, err.Error())
	case errors.Is(err, netns.ErrCallerHidden):
		return with(api.InvalidRequest, err.Error())
	case errors.Is(err, netns.ErrNotOwned), errors.Is(err, netns.ErrHostNamespace):
		return with(api.NetnsNotOwned, err.Error())
	case errors.Is(err, netns.ErrNotFound), errors.Is(err, netns.ErrNotNetns), errors.Is(err, netns.ErrCallerGone):
		return with(api.NetnsNotFound, err.Error())
	// Before what it is beside: that time was over.
	case errors.Is(err, fair.ErrBusy):
		return with(api.Busy, "net-porter is busy with attachments of yours or of others, and it was not your turn within the time that there was to wait: try again in a moment")
	case errors.Is(err, netns.ErrBusy):
		return with(api.Busy, err.Error())
	case errors.Is(err, netns.ErrTimeout):
		return with(api.Timeout, err.Error())
	case isAny(err, attachment.ErrJournal, unix.ENOSPC, unix.EDQUOT, unix.EROFS):
		return with(api.Internal, "net-porter cannot keep its records, so that nothing can be attached or detached for certain: the administrator has to see whether the disk of its state folder is full or read-only (journalctl -u net-porter)")
	case errors.Is(err, attachment.ErrNotEnforced):
		return with(api.Busy, "the configuration of net-porter was changed while the container was being attached: try again")
	case errors.Is(err, attachment.ErrAlreadyAttached):
		return with(api.AlreadyAttached, "the container already has this interface in this namespace: detach it first, or choose another interface name")
	}
	return pluginProblem(err, with)
}

// pluginProblem is problemOf for what comes out of running plugins.
func pluginProblem(err error, with func(api.ProblemCode, string) *problem) *problem {
	const ask = "; the administrator finds more in the log of net-porter (journalctl -u net-porter)"
	switch {
	case errors.Is(err, grant.ErrConflict):
		return with(api.AddressUnavailable, "the DHCP server grants addresses that another machine on this network uses, and was told so: try again, and have the network's administrator look for a machine with a fixed address inside the DHCP server's range")
	case errors.Is(err, dhcp.ErrUnheard):
		return with(api.AddressUnavailable, "the container was granted an address, but the network's DHCP server, asked from the host, did not confirm it, so that it may be made up: stop what answers DHCP in your containers; if nothing does, the administrator has to see why the server's answers do not reach the host on the network's parent link")
	case errors.Is(err, grant.ErrNoOffer) && errors.Is(err, dhcp.ErrIPv6):
		return with(api.DhcpNoOffer, "no DHCPv6 server answered on this network within the time allowed, and the resource asks for an IPv6 address (\"ipv6\": true in its ipam): the administrator has to see to a DHCPv6 server that has addresses left, or to take that key out")
	case errors.Is(err, grant.ErrNoOffer):
		return with(api.DhcpNoOffer, "no DHCP server answered on this network within the time allowed: check that one serves it, that it has addresses left, and that the parent link has a carrier")
	case errors.Is(err, grant.ErrNoAck), errors.Is(err, grant.ErrNak):
		return with(api.DhcpNoOffer, "the DHCP server offered an address and then did not grant it: look at the DHCP server's log")
	case errors.Is(err, grant.ErrLinkDown):
		return with(api.ResourceUnavailable, "the network's parent link is down or has no carrier: ask the administrator to look at it")
	case errors.Is(err, cni.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return with(api.Timeout, "the CNI plugins did not finish within the time allowed and were stopped"+ask)
	case errors.Is(err, cni.ErrPluginMissing), errors.Is(err, cni.ErrPluginUnsafe):
		return with(api.ResourceUnavailable, "a CNI plugin that this resource needs is missing or not safe to run"+ask)
	}
	if plugin, ok := errors.AsType[*cni.PluginError](err); ok {
		// Details and stderr tell of the host's files; they are in the log.
		return with(api.CniFailed, fmt.Sprintf("the CNI plugin %s failed: %s", plugin.Plugin, plugin.Message)+ask)
	}
	return with(api.Internal, "something went wrong inside the daemon, and not by your fault"+ask)
}

// isAny says whether err is one of the sentinel errors.
func isAny(err error, sentinels ...error) bool {
	return slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// write answers with the problem.
func (p *problem) write(w http.ResponseWriter) {
	kind := kinds[p.code]
	status := p.status
	if status == 0 {
		status = kind.status
	}
	if answer, ok := w.(*codeWriter); ok {
		answer.code = p.code
	}
	if p.code == api.Busy {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter(p.retryAfter)))
	}
	_ = writeBody(w, status, api.ProblemMediaType, api.Problem{
		Type: api.ProblemTypePrefix + string(p.code), Title: kind.title,
		Status: status, Detail: p.detail, Code: p.code,
	})
}
