package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/cni"
	"github.com/net-porter/net-porter/internal/dhcp"
	"github.com/net-porter/net-porter/internal/dhcp/grant"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/peer"
	"github.com/net-porter/net-porter/internal/policy"
)

// AttachContainer answers POST /v1/networks/{resource}/attach.
func (s *Server) AttachContainer(w http.ResponseWriter, r *http.Request, resource api.Resource) {
	d := s.decide("attach", caller(r), resource)
	defer func() { d.done() }()
	d.end(w, r, s.attach(w, r, d))
}

// attach goes the way of a request: well-formed, may they, is it theirs, make it, answer.
func (s *Server) attach(w http.ResponseWriter, r *http.Request, d *decision) error {
	leave, ok := s.inFlight.enter(d.id)
	if !ok {
		return newProblem(api.Busy, "too many attachments are in the making, of yours or of everybody's: wait for some to be ready")
	}
	defer leave()
	var body api.AttachRequest
	if err := s.decodeBody(w, r, &body); err != nil {
		return err
	}
	d.begin()
	in, err := checkAttach(body)
	if err != nil {
		return err
	}
	d.container, d.containerName, d.ifname = in.containerID, in.containerName, in.interfaceName

	rules, use, err := s.catalog.permitted(d.resource, d.id)
	if err != nil {
		d.denied(string(use.Reason))
		return err
	}
	d.known = true
	network, err := s.catalog.network(d.resource)
	if err != nil {
		return err
	}
	key := attachment.Key{UID: d.id.UID, ContainerID: in.containerID, Interface: in.interfaceName}
	replayed, err := s.checkStatic(d, rules, network, key, in)
	if err != nil {
		return err
	}
	namespace, err := s.open(r.Context(), d.id, in.netns)
	if err != nil {
		if isRefusedNamespace(err) {
			d.denied("netns")
		}
		return err
	}
	defer namespace.Close()
	if replayed != nil && namespace.ID() != *replayed {
		d.denied(string(policy.ReasonStaticAddress))
		return staticProblem(d.resource)
	}
	request := attachment.Request{
		Key: key, Container: in.containerName, User: s.userName(r.Context(), d.id.UID),
		Resource: d.resource, Network: network, Namespace: namespace,
	}
	if replayed != nil {
		request.Wanted = in.ips
	} else if len(in.ips) > 0 {
		request.Address = in.ips[0]
	}
	request.Args = cniArgs(request, in)
	s.catalog.settings[d.resource].apply(&request)
	if len(in.ports) > 0 && network.HasCapability("portMappings") {
		release, err := s.publish(&request, in.ports)
		if err != nil {
			return err
		}
		defer release()
	}
	record, err := s.attachments.Attach(r.Context(), request)
	if err != nil {
		return addressProblem(request.Address, err)
	}
	d.made(s.attachments.View(record))
	return s.deliver(w, r, record, namespace)
}

// checkStatic refuses addresses that nobody granted, and no DHCP server will decide on.
// For addresses which the same container had a moment ago it returns the namespace in
// which it had them.
func (s *Server) checkStatic(d *decision, rules policy.Resource, network *cni.Network, key attachment.Key, in *attachInput) (*netns.ID, error) {
	if len(in.ips) == 0 && len(in.mac) == 0 {
		return nil, nil
	}
	had, replay := s.attachments.Replays(key, d.resource, in.ips, in.mac)
	byDHCP := slices.ContainsFunc(network.DHCPConfigs(), dhcp.GrantsIPv4)
	q := policy.Request{StaticIPs: in.ips, StaticMAC: in.mac, ServerDecides: byDHCP}
	verdict := policy.Attach(subject(d.id), rules, q)
	if verdict.Allowed {
		return nil, nil // had or not: a container that starts again has another namespace
	}
	q.Replay = replay
	if policy.Attach(subject(d.id), rules, q).Allowed {
		return &had, nil
	}
	d.denied(string(verdict.Reason))
	if byDHCP {
		return nil, newProblem(api.AddressNotPermitted, "resource "+d.resource+" gets addresses by DHCP: ask for one IPv4 address with --ip at most, and run the container without --ip6 and --mac-address")
	}
	return nil, staticProblem(d.resource)
}

// addressProblem names the address that was asked for where that is what failed.
func addressProblem(wanted netip.Addr, err error) error {
	p := newProblem(api.AddressUnavailable, "")
	p.cause = err
	switch {
	case !wanted.IsValid() || errors.Is(err, attachment.ErrAbandoned):
		return err
	case errors.Is(err, grant.ErrConflict):
		p.detail = fmt.Sprintf("%s, which was asked for with --ip, is used by another machine on this network: choose another address, or run the container without --ip", wanted)
	case errors.Is(err, grant.ErrOther):
		p.detail = fmt.Sprintf("the DHCP server does not grant %s, which was asked for with --ip; it may be in use, reserved for another machine, or outside of what the server gives out: choose another address, or run the container without --ip", wanted)
	default:
		return err
	}
	return p
}

func staticProblem(resource string) error {
	return newProblem(api.AddressNotPermitted, "resource "+resource+" gives addresses itself, and no address or MAC of your choice is granted to you: run the container without --ip, --ip6 and --mac-address")
}

// open opens the namespace with the caller's eyes and proves that it is theirs.
func (s *Server) open(ctx context.Context, id peer.Identity, path string) (*netns.Namespace, error) {
	return s.namespaces.Open(ctx, netns.Caller{
		UID: id.UID, GID: id.GID, Groups: id.Groups, PID: id.PID, Alive: id.Alive,
	}, path)
}

// isRefusedNamespace says whether the proof said no, or found nothing to prove.
func isRefusedNamespace(err error) bool {
	return isAny(err, netns.ErrNotOwned, netns.ErrHostNamespace, netns.ErrNotFound, netns.ErrNotNetns)
}

// deliver sends the result. A caller that is gone by now will never tear down what
// it did not learn of, so it is undone.
func (s *Server) deliver(w http.ResponseWriter, r *http.Request, record *attachment.Record, namespace *netns.Namespace) error {
	err := context.Cause(r.Context())
	if err == nil {
		result := resultOf(s.attachments.View(record))
		s.hostDNS.fill(&result.DNS)
		err = writeJSON(w, result)
	}
	if err == nil {
		err = http.NewResponseController(w).Flush()
	}
	if err == nil {
		return nil
	}
	if undoErr := s.attachments.Detach(r.Context(), record.Key, namespace); undoErr != nil {
		s.log.Error("cannot undo an attachment whose caller hung up", "attachment", record.Key.String(), "error", undoErr)
	}
	return attachment.ErrAbandoned
}

// cniArgs are the CNI_ARGS of an attachment. All values have been checked; a user
// name comes from NSS and is left out where CNI_ARGS could not carry it.
func cniArgs(q attachment.Request, in *attachInput) [][2]string {
	name := in.containerName
	if name == "" {
		name = in.containerID[:min(len(in.containerID), 12)]
	}
	user := q.User
	if !namePattern.MatchString(user) {
		user = uidText(q.UID)
	}
	args := [][2]string{
		{"K8S_POD_NAME", name},
		{"K8S_POD_NAMESPACE", user},
		{"K8S_POD_INFRA_CONTAINER_ID", in.containerID},
	}
	if in.hostname != "" {
		args = append(args, [2]string{"NET_PORTER_HOSTNAME", in.hostname})
	}
	if len(in.mac) > 0 {
		args = append(args, [2]string{"MAC", in.mac.String()})
	}
	return args
}
