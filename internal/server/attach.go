package server

import (
	"context"
	"errors"
	"net/http"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/audit"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/peer"
)

// AttachContainer answers POST /v1/networks/{resource}/attach.
func (s *Server) AttachContainer(w http.ResponseWriter, r *http.Request, resource api.Resource) {
	d := s.decide(opAttach, caller(r), resource)
	defer func() { d.done() }()
	d.end(w, r, s.attach(w, r, d))
}

// attach goes the way of a request: well-formed, may they, is it theirs, make it, answer.
func (s *Server) attach(w http.ResponseWriter, r *http.Request, d *decision) error {
	leave, err := s.admit(d.id)
	if err != nil {
		return err
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
	d.askedIPs, d.askedMAC = joinAddresses(in.ips, ","), in.mac.String()

	offered := s.catalog.Load()
	d.configuration = offered.number
	rules, use, err := offered.permitted(d.resource, d.id)
	if err != nil {
		d.denied(string(use.Reason))
		return err
	}
	d.known, d.rules = true, use.Rules
	network, err := offered.network(d.resource)
	if err != nil {
		return err
	}
	key := attachment.Key{UID: d.id.UID, ContainerID: in.containerID, Interface: in.interfaceName}
	asked, err := s.askedFor(d, rules, network, key, in)
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
	d.netns = namespace.ID().String()
	if asked.in != nil && namespace.ID() != *asked.in {
		if !asked.verdict.Allowed {
			d.denied(string(asked.verdict.Reason))
			return addressDenied(d.resource, asked.verdict)
		}
		if err := asked.choose(network, in); err != nil {
			return err
		}
	}
	request := attachment.Request{
		Key: key, Container: in.containerName, User: s.userName(r.Context(), d.id.UID),
		Resource: d.resource, Network: asked.network, Namespace: namespace,
		GIDs: subject(d.id).GIDs, Wanted: asked.hints, Address: asked.ofServer,
		Claims: attachment.Claims{IPs: asked.static, MostOnResource: use.Most, MostInAll: offered.mostPerUser},
	}
	if len(asked.mac) > 0 {
		request.Claims.MAC = asked.mac.String()
		if asked.ownMAC {
			request.StaticMAC = asked.mac.String()
		}
	}
	request.Args = cniArgs(request, in)
	offered.settings[d.resource].apply(&request)
	if len(in.ports) > 0 && network.HasCapability("portMappings") {
		release, err := s.publish(&request, in.ports)
		if err != nil {
			return err
		}
		defer release()
	}
	record, err := s.attachments.Attach(r.Context(), request)
	if err != nil {
		if errors.Is(err, attachment.ErrQuota) {
			d.denied("quota")
		}
		return addressProblem(asked, err)
	}
	if err := s.stillPermitted(r.Context(), d, record); err != nil {
		return err
	}
	d.made(s.attachments.View(record))
	return s.deliver(w, r, record, namespace)
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
	if undoErr := s.attachments.DetachRecord(r.Context(), record, namespace); undoErr != nil {
		s.log.Error("cannot undo an attachment whose caller hung up; it is tried again", audit.ReleaseFailed.Attr(), "uid", record.UID, "resource", record.Resource,
			"container", record.ContainerID, "container_name", record.Container, "interface", record.Interface, "error", undoErr)
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
	if q.Claims.MAC != "" {
		args = append(args, [2]string{"MAC", q.Claims.MAC})
	}
	return args
}
