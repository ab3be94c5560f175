// Package server owns the daemon's HTTP API: routes, who may call them, the checks
// at their edge, and the socket that it listens on.
package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/net-porter/net-porter/internal/api"
	"github.com/net-porter/net-porter/internal/api/apiserver"
	"github.com/net-porter/net-porter/internal/attachment"
	"github.com/net-porter/net-porter/internal/fair"
	"github.com/net-porter/net-porter/internal/metrics"
	"github.com/net-porter/net-porter/internal/netns"
	"github.com/net-porter/net-porter/internal/nss"
	"github.com/net-porter/net-porter/internal/peer"
)

// UserNames gives users their names; *nss.Resolver is one.
type UserNames interface {
	UserByID(ctx context.Context, uid uint32) (nss.User, error)
}

// Namespaces opens network namespaces for callers; *netns.Opener is one.
type Namespaces interface {
	Open(ctx context.Context, caller netns.Caller, path string) (*netns.Namespace, error)
}

// Options are what a Server works with.
type Options struct {
	Configuration
	Attachments *attachment.Manager
	Namespaces  Namespaces
	Users       UserNames
	// Turns is the queue of those who want plugins to run: Configure and the end of Serve
	// reach it, and Attachments works by it. It may be nil.
	Turns   *fair.Queue
	Metrics *metrics.Metrics
	// Health is how the daemon is; nil: well.
	Health  func() Health
	Version string
	Logger  *slog.Logger
}

// Server answers the API of openapi/net-porter.yaml.
type Server struct {
	catalog     atomic.Pointer[catalog] // a request takes it once
	attachments *attachment.Manager
	namespaces  Namespaces
	users       UserNames
	metrics     *metrics.Metrics
	scrapes     http.Handler // of metrics, as many at a time as it lets be
	health      func() Health
	version     string
	log         *slog.Logger
	bodyTimeout time.Duration
	// headerTimeout is defaultHeaderTimeout but in tests.
	headerTimeout time.Duration
	limits        connectionLimit
	inFlight      inFlight
	begun         *buckets // requests that work on attachments
	asked         *buckets // requests that only ask
	turns         *fair.Queue
	work          work
	revocations   *fair.Lanes[revocable]
	denials       refusals // of what is not allowed
	failures      refusals // of what did not come about
	checks        refusals // no refusals, and as cheap to ask for
	hostPorts     hostPorts
	hostDNS       hostDNS
	needed        recordedNeeds
	monitor       *monitor
}

// New makes a Server.
func New(o Options) *Server {
	s := &Server{
		attachments: o.Attachments, namespaces: o.Namespaces, users: o.Users,
		metrics: o.Metrics, scrapes: o.Metrics.Handler(), health: o.Health, version: o.Version, log: o.Logger,
		headerTimeout: defaultHeaderTimeout, bodyTimeout: defaultBodyTimeout, hostDNS: newHostDNS(),
		begun: newBuckets(time.Now, 0, 0), asked: newBuckets(time.Now, 0, 0), turns: o.Turns,
		revocations: fair.NewLanes[revocable](revokeAtOnce),
		denials:     newRefusals(time.Now), failures: newRefusals(time.Now), checks: newRefusals(time.Now),
	}
	s.monitor = newMonitor(s)
	_ = s.Configure(o.Configuration) // Monitor tells of each resource that cannot be used
	return s
}

var _ apiserver.ServerInterface = (*Server)(nil)

// Handler is the whole API. Requests have to come from connections of a
// peer.Listener, with peer.ConnContext as the server's ConnContext.
func (s *Server) Handler() http.Handler {
	router := chi.NewRouter()
	router.Use(s.count, s.recoverPanics, s.requireIdentity, s.paceOthers(router), s.refuseBrowsers)
	router.NotFound(func(w http.ResponseWriter, r *http.Request) {
		p := newProblem(api.InvalidRequest, "there is nothing under this path; GET /openapi.yaml tells what there is")
		p.status = http.StatusNotFound
		p.write(w)
	})
	router.MethodNotAllowed(func(w http.ResponseWriter, r *http.Request) {
		p := newProblem(api.InvalidRequest, fmt.Sprintf("this path does not take %.16q; GET /openapi.yaml tells what it takes", r.Method))
		p.status = http.StatusMethodNotAllowed
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			if router.Match(chi.NewRouteContext(), method, r.URL.Path) {
				w.Header().Add("Allow", method)
			}
		}
		p.write(w)
	})
	return apiserver.HandlerWithOptions(s, apiserver.ChiServerOptions{
		BaseRouter: router,
		ErrorHandlerFunc: func(w http.ResponseWriter, r *http.Request, err error) {
			// The route's handler, which may be one that calls admit, is not reached.
			s.paced(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				p := newProblem(api.InvalidRequest, "the path is not well-formed")
				p.cause = err
				p.write(w)
			})).ServeHTTP(w, r)
		},
	})
}

// caller is who makes the request; requireIdentity has made sure that it is known.
func caller(r *http.Request) peer.Identity {
	id, _ := peer.FromContext(r.Context())
	return id
}

// userName is the caller's name, or the empty string for a uid without one.
func (s *Server) userName(ctx context.Context, uid uint32) string {
	u, err := s.users.UserByID(ctx, uid)
	if err != nil {
		return ""
	}
	return u.Name
}

func writeJSON(w http.ResponseWriter, v any) error {
	return writeBody(w, http.StatusOK, "application/json", v)
}

// writeBody answers with v as JSON and says how long it is: else the answer would end
// with the handler, which may have things to do that the caller need not wait for.
func writeBody(w http.ResponseWriter, status int, contentType string, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode the answer: %w", err)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, err = w.Write(body)
	return err
}
