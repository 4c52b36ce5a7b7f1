// Package metricsauth lets only those read metrics whom the API server says may: a bearer token is reviewed
// (TokenReview), and then whether its user may get /metrics (SubjectAccessReview).
//
// controller-runtime has such a filter too. It brings the API server's own machinery along (gRPC, CEL, tracing), which
// makes the operator half as large again in memory; what is needed of it is the two questions below.
package metricsauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// How long an answer holds, and how many are kept.
const (
	answerHolds = 10 * time.Second
	maxAnswers  = 1000
)

// reviewer asks, and remembers the answers for a moment.
type reviewer struct {
	client client.Client
	now    func() time.Time

	mu      sync.Mutex
	answers map[[32]byte]answer
}

type answer struct {
	status int
	until  time.Time
}

// Filter is for controller-runtime's metrics server.
func Filter(config *rest.Config, httpClient *http.Client) (metricsserver.Filter, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(authenticationv1.AddToScheme(scheme), authorizationv1.AddToScheme(scheme)); err != nil {
		return nil, err
	}
	c, err := client.New(config, client.Options{HTTPClient: httpClient, Scheme: scheme})
	if err != nil {
		return nil, err
	}
	r := &reviewer{client: c, now: time.Now, answers: map[[32]byte]answer{}}
	return func(log logr.Logger, next http.Handler) (http.Handler, error) {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			status, err := r.judge(request)
			switch {
			case err != nil:
				log.Error(err, "cannot ask the API server who reads the metrics")
				http.Error(w, "the API server does not answer", http.StatusInternalServerError)
			case status != http.StatusOK:
				http.Error(w, http.StatusText(status), status)
			default:
				next.ServeHTTP(w, request)
			}
		}), nil
	}, nil
}

// judge returns 200, 401 or 403.
func (r *reviewer) judge(request *http.Request) (int, error) {
	token, ok := strings.CutPrefix(request.Header.Get("Authorization"), "Bearer ")
	if !ok || token == "" {
		return http.StatusUnauthorized, nil
	}
	id := sha256.Sum256([]byte(request.URL.Path + "\x00" + token))
	r.mu.Lock()
	known, found := r.answers[id]
	r.mu.Unlock()
	if found && r.now().Before(known.until) {
		return known.status, nil
	}
	status, err := r.ask(request.Context(), token, request.URL.Path)
	if err != nil {
		return 0, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.answers) >= maxAnswers {
		clear(r.answers)
	}
	r.answers[id] = answer{status, r.now().Add(answerHolds)}
	return status, nil
}

func (r *reviewer) ask(ctx context.Context, token, path string) (int, error) {
	review := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token}}
	if err := r.client.Create(ctx, review); err != nil {
		return 0, err
	}
	if !review.Status.Authenticated {
		return http.StatusUnauthorized, nil
	}
	user := review.Status.User
	extra := map[string]authorizationv1.ExtraValue{}
	for key, value := range user.Extra {
		extra[key] = authorizationv1.ExtraValue(value)
	}
	access := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user.Username, UID: user.UID, Groups: user.Groups, Extra: extra,
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: path, Verb: "get"},
	}}
	if err := r.client.Create(ctx, access); err != nil {
		return 0, err
	}
	if !access.Status.Allowed {
		return http.StatusForbidden, nil
	}
	return http.StatusOK, nil
}
